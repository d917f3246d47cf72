//! Hypervisors.

use common::openstack::http::Request;
use reqwest::Method;
use serde::Deserialize;

use super::{COMPUTE, Cloud, Error};

#[derive(Deserialize)]
struct Hypervisors {
    hypervisors: Vec<Hypervisor>,
}

#[derive(Deserialize)]
struct Hypervisor {
    hypervisor_hostname: String,
    state: String,
}

impl Cloud {
    /// Whether the scheduler can reach any hypervisor: it is mapped to a cell, and its compute service is up.
    ///
    /// # Errors
    /// When nova-api does not answer.
    pub(crate) async fn has_hypervisor(&self) -> Result<bool, Error> {
        Ok(!self.hypervisors_up().await?.is_empty())
    }

    /// Names of the hypervisors that are mapped and up.
    ///
    /// # Errors
    /// When nova-api does not answer.
    pub(crate) async fn hypervisors_up(&self) -> Result<Vec<String>, Error> {
        let list = Request::new(Method::GET, "/os-hypervisors").microversion(COMPUTE);
        let found: Hypervisors = self.compute.json(&list).await?;
        let up = found.hypervisors.into_iter().filter(|hypervisor| hypervisor.state == "up");
        Ok(up.map(|hypervisor| hypervisor.hypervisor_hostname).collect())
    }
}
