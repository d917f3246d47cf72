//! The only errors that leave the agent; each knows how Nova calls it.
//!
//! Towards a caller an error is an exception class that nova-api can rebuild (RPC-SURFACE §0.3, §7); towards the user
//! it is a sentence in the instance's fault and in the action's event.

use common::error_chain::Chain;
use common::messaging::RemoteError;

use crate::{conductor, image, network, virt};

/// Why an RPC was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The conductor.
    #[error(transparent)]
    Conductor(#[from] conductor::Error),
    /// The hypervisor.
    #[error(transparent)]
    Virt(#[from] virt::Error),
    /// The image.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// The ports.
    #[error(transparent)]
    Network(#[from] network::Error),
    /// A disk that moves.
    #[error(transparent)]
    Disk(#[from] crate::disk::Error),
    /// Placement.
    #[error(transparent)]
    Placement(#[from] common::openstack::Error),
    /// A container cannot do this, or this agent cannot yet (Python's NotImplementedError).
    #[error("{0}")]
    NotImplemented(String),
    /// A refusal that nova-api has an HTTP answer for.
    #[error("{message}")]
    Refused {
        /// Class in `nova.exception`.
        class: &'static str,
        /// HTTP code.
        code: u16,
        /// The sentence.
        message: String,
    },
    /// The arguments are not those of the method.
    #[error("the arguments of {method} cannot be used: {problem}")]
    Arguments {
        /// The method.
        method: String,
        /// What is wrong.
        problem: String,
    },
    /// Nobody serves this method.
    #[error("there is no RPC method {0}")]
    NoSuchMethod(String),
    /// The user deletes the instance meanwhile.
    #[error("the instance is being deleted")]
    Cancelled,
}

impl Error {
    /// The instance has no row any more.
    pub fn is_instance_not_found(&self) -> bool {
        match self {
            Self::Conductor(error) => error.is_instance_not_found(),
            Self::Refused { class, .. } => *class == "InstanceNotFound",
            _ => false,
        }
    }

    /// Somebody else changed the task state meanwhile.
    pub fn is_unexpected_task_state(&self) -> bool {
        match self {
            Self::Conductor(error) => error.is_unexpected_task_state(),
            Self::Cancelled => true,
            _ => false,
        }
    }

    /// The user deletes the instance meanwhile, or it is gone.
    pub fn is_being_deleted(&self) -> bool {
        match self {
            Self::Conductor(error) => error.is_being_deleted() || error.is_instance_not_found(),
            Self::Cancelled => true,
            _ => false,
        }
    }

    /// True for what is no failure but a limit of the agent or a mistake of the user.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::NotImplemented(_)
            | Self::Refused { .. }
            | Self::Arguments { .. }
            | Self::NoSuchMethod(_) => true,
            Self::Network(error) => error.class().1 < 500,
            _ => false,
        }
    }

    /// HTTP code of a fault (`exc.code`, else 500).
    pub fn code(&self) -> u16 {
        match self {
            Self::Refused { code, .. } => *code,
            Self::Network(error) => error.class().1,
            _ => 500,
        }
    }

    /// The sentence for the user.
    pub fn sentence(&self) -> String {
        match self {
            // What the conductor said is more to the point than that it said something.
            Self::Conductor(error) => {
                error.remote().map_or_else(|| Chain(error).to_string(), |remote| remote.message.clone())
            }
            Self::Disk(error) => Chain(error).to_string(),
            // Which request failed is told with why.
            Self::Network(error) => Chain(error).to_string(),
            Self::Image(error @ image::Error::Upload { .. }) => Chain(error).to_string(),
            other => other.to_string(),
        }
    }

    /// The exception a caller gets.
    pub fn to_remote(&self) -> RemoteError {
        match self {
            Self::NotImplemented(message) => RemoteError::builtin("NotImplementedError", message.clone()),
            Self::Refused { class, code, message } => RemoteError::nova(class, message.clone(), *code),
            Self::NoSuchMethod(method) => RemoteError::no_such_method(method),
            Self::Arguments { .. } => RemoteError::builtin("TypeError", self.to_string()),
            // nova-api rebuilds classes of these modules only; of others it would not even show the message.
            Self::Conductor(error) => error
                .remote()
                .filter(|remote| ["nova.exception", "builtins"].contains(&remote.module.as_str()))
                .cloned()
                .unwrap_or_else(|| RemoteError::nova("NovaException", self.sentence(), 500)),
            Self::Virt(virt::Error::NotFound { uuid }) => {
                RemoteError::nova("InstanceNotFound", format!("Instance {uuid} could not be found."), 404)
            }
            Self::Network(error) => {
                let (class, code) = error.class();
                RemoteError::nova(class, self.sentence(), code)
            }
            Self::Virt(_) | Self::Image(_) | Self::Disk(_) | Self::Placement(_) | Self::Cancelled => {
                RemoteError::nova("NovaException", self.sentence(), 500)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_the_agent_is_a_501_for_nova_api() {
        let remote = Error::NotImplemented("pause is not supported".into()).to_remote();
        assert_eq!((remote.module.as_str(), remote.class.as_str()), ("builtins", "NotImplementedError"));
        assert!(remote.kwargs.is_empty());
    }

    #[test]
    fn a_refusal_keeps_its_class_and_code() {
        let error = Error::Refused { class: "ConsoleTypeUnavailable", code: 400, message: "none".into() };
        assert_eq!(error.to_remote().class, "ConsoleTypeUnavailable");
        assert_eq!((error.code(), error.is_refusal()), (400, true));
    }
}
