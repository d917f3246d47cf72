//! Sets the password of the guest's administrator, with the guest's own tools.

use common::objects::Instance;
use common::objects::fields::TaskState;
use common::secret::Secret;
use serde::{Deserialize, Deserializer};

use super::{Call, Method};
use crate::conductor::Expect;
use crate::error::Error;
use crate::instance::guards::Guards;
use crate::virt::{PasswordError, PowerState};

/// Whose password it is, unless the image's property `os_admin_user` says otherwise (Nova: `_get_guest_admin_user`).
const ADMINISTRATOR: &str = "root";

/// The arguments.
#[derive(Deserialize)]
pub struct SetAdminPassword {
    /// The instance.
    pub instance: Instance,
    /// The new password.
    #[serde(deserialize_with = "secret")]
    pub new_pass: Secret,
}

/// Whatever it is, it does not get into an error's text.
pub(super) fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    let text = value.as_str().ok_or_else(|| serde::de::Error::custom("new_pass is no text"))?;
    Ok(Secret::new(text))
}

impl Method for SetAdminPassword {
    const NAME: &'static str = "set_admin_password";
    const GUARDS: Guards = Guards::REF;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(mut self, call: &Call) -> Result<(), Error> {
        let agent = &call.agent;
        let acting = agent.acting(&self.instance).await?;
        let set = match agent.driver.power_state(acting.uuid()).await? {
            PowerState::Running => {
                let user = self.instance.system_metadata().remove("image_os_admin_user");
                let user = user.as_deref().unwrap_or(ADMINISTRATOR);
                tokio::select! {
                    biased;
                    // A guest that does not answer must not keep its user from deleting it.
                    () = acting.cancelled() => return Err(Error::Cancelled),
                    set = agent.driver.set_password(acting.uuid(), user, &self.new_pass) => set,
                }
            }
            _ => Err(PasswordError::NotRunning(acting.uuid())),
        };
        self.instance.set_task(None);
        let expect = Expect::one_of(&[Some(TaskState::UpdatingPassword)]);
        agent.conductor.save(&call.context, &mut self.instance, expect).await?;
        agent.tracker.refresh_state(&self.instance);
        set.map_err(|error| refusal(&acting.uuid().to_string(), &error))
    }
}

/// What nova-api answers with HTTP 409, and why.
fn refusal(instance: &str, error: &PasswordError) -> Error {
    let (class, code, message) = match error {
        PasswordError::NotSupported => {
            ("SetAdminPasswdNotSupported", 400, format!("Set admin password is not supported: {error}"))
        }
        _ => (
            "InstancePasswordSetFailed",
            500,
            format!("Failed to set admin password on {instance} because {error}"),
        ),
    };
    Error::Refused { class, code, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_password_that_is_none_is_refused_without_repeating_it() {
        let instance = json!({"nova_object.name": "Instance", "nova_object.namespace": "nova",
            "nova_object.version": "2.8", "nova_object.data": {}});
        let error =
            serde_json::from_value::<SetAdminPassword>(json!({"instance": instance, "new_pass": [4711]}));
        assert_eq!(error.err().unwrap().to_string(), "new_pass is no text");
    }

    #[test]
    fn an_image_without_tools_is_told_apart_from_one_that_refuses() {
        let class = |error| match refusal("i", &error) {
            Error::Refused { class, message, .. } => (class, message),
            other => panic!("{other}"),
        };
        assert_eq!(class(PasswordError::NotSupported).0, "SetAdminPasswdNotSupported");
        let refused = class(PasswordError::Refused { tool: "chpasswd", code: 1 });
        assert_eq!(refused.0, "InstancePasswordSetFailed");
        assert_eq!(
            refused.1,
            "Failed to set admin password on i because chpasswd ended with code 1 in the container"
        );
    }
}
