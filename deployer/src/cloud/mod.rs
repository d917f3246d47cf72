//! The cloud as its administrator uses it, over the public endpoints: what `demo` and `bench` need of Nova, Glance and
//! Neutron.

mod flavors;
mod hypervisors;
mod images;
mod keypairs;
pub(crate) mod networks;
mod projects;
mod quotas;
mod servers;

use common::openstack::{Credentials, EndpointFilter, Service, Session};

pub(crate) use quotas::Quota;
pub(crate) use servers::{Access, NewServer, Server};

/// Newest compute microversion of Nova 34 that the deployer was written against.
const COMPUTE: &str = "compute 2.96";

/// What can go wrong while the cloud is used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A service refused a request or did not answer.
    #[error(transparent)]
    OpenStack(#[from] common::openstack::Error),
    /// Nova gave the server up.
    #[error("server {name} went to ERROR: {fault}")]
    Failed {
        /// The server's name.
        name: String,
        /// Nova's fault message.
        fault: String,
    },
    /// A project that is not there.
    #[error("Keystone knows no project {0}")]
    NoProject(String),
    /// Nova did not get there in time.
    #[error("server {name} is {status} (task {task}) and not {wanted} after {seconds} s")]
    Deadline {
        /// The server's name.
        name: String,
        /// Its status now.
        status: String,
        /// Its task now.
        task: String,
        /// What was waited for.
        wanted: &'static str,
        /// How long.
        seconds: u64,
    },
}

/// An administrator's session.
#[derive(Clone)]
pub(crate) struct Cloud {
    compute: Service,
    identity: Service,
    image: Service,
    network: Service,
}

impl Cloud {
    /// A session that logs in when it is first used, and finds the services' public URLs in the catalogue.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub(crate) fn new(credentials: Credentials, region: &str) -> Result<Self, Error> {
        let session = Session::new(credentials)?;
        let public = || EndpointFilter {
            region_name: Some(region.to_owned()),
            valid_interfaces: vec!["public".to_owned()],
            endpoint_override: None,
        };
        let service = |kind| session.service(kind, public());
        Ok(Self {
            compute: service("compute"),
            identity: service("identity"),
            image: service("image"),
            network: service("network"),
        })
    }
}
