//! Why an instance does not get its ports, in Nova's classes and sentences (`nova.exception`).

use common::ids::InstanceUuid;
use common::openstack;

use super::{metadata, plan, wiring};

/// An error of an instance's network; each reads as a sentence for the user whose instance it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such port.
    #[error("Port id {0} could not be found.")]
    PortNotFound(String),
    /// The port is another instance's.
    #[error("Port {0} is still in use.")]
    PortInUse(String),
    /// The port is another project's.
    #[error("Port {port} not usable for instance {instance}.")]
    PortNotUsable {
        /// The port.
        port: String,
        /// The instance.
        instance: InstanceUuid,
    },
    /// The port has the DNS name of another host.
    #[error(
        "Port {port} not usable for instance {instance}. Value {name} assigned to dns_name attribute does not match \
         instance's hostname {hostname}"
    )]
    PortNotUsableDns {
        /// The port.
        port: String,
        /// The instance.
        instance: InstanceUuid,
        /// Its name in DNS.
        name: String,
        /// The instance's.
        hostname: String,
    },
    /// Neutron could not bind the port to this host.
    #[error("Binding failed for port {0}, please check neutron logs for more information.")]
    PortBindingFailed(String),
    /// The project has all the ports that it may have.
    #[error("Maximum number of ports exceeded")]
    PortLimitExceeded,
    /// There is no such network, or the project may not use it.
    #[error("Network {0} could not be found.")]
    NetworkNotFound(String),
    /// Nothing was asked for, and there are several networks.
    #[error("Multiple possible networks found, use a Network ID to be more specific.")]
    NetworkAmbiguous,
    /// Nothing was asked for, and there is no network.
    #[error("No specific network was requested and none are available for project '{0}'.")]
    NoNetwork(String),
    /// The network leads out of the cloud, and only administrators may use it.
    #[error("It is not allowed to create an interface on external network {0}")]
    ExternalNetworkAttachForbidden(String),
    /// Neutron is not prepared to make a network by itself.
    #[error("Unable to automatically allocate a network for project {0}")]
    UnableToAutoAllocate(String),
    /// The network has no subnet, or no port security, so that security groups mean nothing there.
    #[error(
        "Network requires port_security_enabled and subnet associated in order to apply security groups (network {0})."
    )]
    SecurityGroupCannotBeApplied(String),
    /// There is no such group.
    #[error("Security group {0} not found.")]
    SecurityGroupNotFound(String),
    /// Several groups have that name.
    #[error("Multiple security groups found matching '{0}'. Use an ID to be more specific.")]
    NoUniqueMatch(String),
    /// No address is left.
    #[error("No fixed IP addresses available for network: {0}")]
    NoMoreFixedIps(String),
    /// Somebody has the address.
    #[error("Fixed IP {0} is already in use.")]
    FixedIpAlreadyInUse(String),
    /// The address is of a segment that this host is not in.
    #[error("The fixed IP associated with port {0} is not compatible with the host.")]
    FixedIpInvalidOnHost(String),
    /// The request makes no sense.
    #[error("Invalid input received: {0}")]
    InvalidInput(String),
    /// The network guarantees bandwidth, which only ports that the user made can have.
    #[error(
        "Using networks with QoS policy is not supported for instance {instance}. (Network ID is {network})"
    )]
    QosNotSupported {
        /// The network.
        network: String,
        /// The instance.
        instance: InstanceUuid,
    },
    /// The instance has no such address.
    #[error("Instance {instance} does not have fixed IP '{address}'.")]
    FixedIpNotFound {
        /// The address.
        address: String,
        /// The instance.
        instance: InstanceUuid,
    },
    /// The network has no subnet of which the instance could have an address.
    #[error("Network could not be found for instance {0}.")]
    NetworkNotFoundForInstance(InstanceUuid),
    /// Neutron did not report the ports as plugged (Nova: VirtualInterfaceCreateException).
    #[error("Virtual Interface creation failed: {0}")]
    NotPlugged(String),
    /// Neutron refused or did not answer.
    #[error(transparent)]
    Neutron(#[from] openstack::Error),
    /// Neutron's answer makes no port.
    #[error("what Neutron says of port {port} cannot be used")]
    Malformed {
        /// The port.
        port: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The port cannot become a NIC.
    #[error(transparent)]
    Plan(#[from] plan::Error),
    /// The kernel or the switch.
    #[error(transparent)]
    Wiring(#[from] wiring::Error),
    /// The way to the metadata service.
    #[error(transparent)]
    Metadata(#[from] metadata::Error),
}

impl Error {
    /// Class in `nova.exception` and HTTP code.
    pub fn class(&self) -> (&'static str, u16) {
        match self {
            Self::PortNotFound(_) => ("PortNotFound", 404),
            Self::PortInUse(_) => ("PortInUse", 400),
            Self::PortNotUsable { .. } => ("PortNotUsable", 400),
            Self::PortNotUsableDns { .. } => ("PortNotUsableDNS", 400),
            Self::PortBindingFailed(_) | Self::Plan(plan::Error::BindingFailed { .. }) => {
                ("PortBindingFailed", 400)
            }
            Self::PortLimitExceeded => ("PortLimitExceeded", 413),
            Self::NetworkNotFound(_) => ("NetworkNotFound", 404),
            Self::NetworkAmbiguous => ("NetworkAmbiguous", 400),
            Self::NoNetwork(_) => ("InterfaceAttachFailedNoNetwork", 400),
            Self::ExternalNetworkAttachForbidden(_) => ("ExternalNetworkAttachForbidden", 403),
            Self::UnableToAutoAllocate(_) => ("UnableToAutoAllocateNetwork", 400),
            Self::SecurityGroupCannotBeApplied(_) => ("SecurityGroupCannotBeApplied", 400),
            Self::SecurityGroupNotFound(_) => ("SecurityGroupNotFound", 404),
            Self::NoUniqueMatch(_) => ("NoUniqueMatch", 409),
            Self::NoMoreFixedIps(_) => ("NoMoreFixedIps", 500),
            Self::FixedIpAlreadyInUse(_) => ("FixedIpAlreadyInUse", 500),
            Self::FixedIpInvalidOnHost(_) => ("FixedIpInvalidOnHost", 400),
            Self::InvalidInput(_) => ("InvalidInput", 400),
            Self::QosNotSupported { .. } => ("NetworksWithQoSPolicyNotSupported", 400),
            Self::FixedIpNotFound { .. } => ("FixedIpNotFoundForInstance", 404),
            Self::NetworkNotFoundForInstance(_) => ("NetworkNotFoundForInstance", 404),
            Self::NotPlugged(_) => ("VirtualInterfaceCreateException", 500),
            _ => ("NovaException", 500),
        }
    }

    /// Another host would fail, too: what Nova turns into a BuildAbortException (`_build_and_run_instance`).
    pub fn fails_everywhere(&self) -> bool {
        matches!(
            self,
            Self::NoMoreFixedIps(_)
                | Self::ExternalNetworkAttachForbidden(_)
                | Self::NotPlugged(_)
                | Self::FixedIpInvalidOnHost(_)
                | Self::UnableToAutoAllocate(_)
                | Self::QosNotSupported { .. }
                | Self::InvalidInput(_)
        )
    }

    /// No host can plug the port as Neutron has it (Nova: VirtualInterfacePlugException).
    pub fn is_unpluggable(&self) -> bool {
        matches!(self, Self::Plan(plan::Error::BindingFailed { .. } | plan::Error::Unbound { .. }))
    }

    /// Neutron could not be reached, so that to ask again may help.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Neutron(openstack::Error::Unreachable { .. }) => true,
            Self::Neutron(openstack::Error::Api(error)) => matches!(error.status, 502..=504),
            _ => false,
        }
    }
}
