//! Hypervisors.

use common::openstack::http::Request;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

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

#[derive(Deserialize)]
struct Services {
    services: Vec<ComputeService>,
}

#[derive(Deserialize)]
struct ComputeService {
    id: String,
}

impl Cloud {
    /// Takes a compute service that is gone for good out of Nova, with its hypervisor and its place in placement.
    ///
    /// # Errors
    /// When nova-api refuses, as it does while servers are on the host.
    pub(crate) async fn forget_compute(&self, host: &str) -> Result<(), Error> {
        let path = format!("/os-services?binary=nova-compute&host={host}");
        let found: Services =
            self.compute.json(&Request::new(Method::GET, &path).microversion(COMPUTE)).await?;
        for service in found.services {
            let path = format!("/os-services/{}", service.id);
            self.compute.send(&Request::new(Method::DELETE, &path).microversion(COMPUTE)).await?;
        }
        Ok(())
    }

    /// Keeps the scheduler from putting servers on a host.
    ///
    /// # Errors
    /// When nova-api refuses.
    pub(crate) async fn disable_compute(&self, host: &str, reason: &str) -> Result<(), Error> {
        self.change_compute(host, &json!({"status": "disabled", "disabled_reason": reason})).await
    }

    /// Lets the scheduler put servers on a host.
    ///
    /// # Errors
    /// When nova-api refuses.
    pub(crate) async fn enable_compute(&self, host: &str) -> Result<(), Error> {
        self.change_compute(host, &json!({"status": "enabled"})).await
    }

    async fn change_compute(&self, host: &str, change: &serde_json::Value) -> Result<(), Error> {
        let path = format!("/os-services?binary=nova-compute&host={host}");
        let found: Services =
            self.compute.json(&Request::new(Method::GET, &path).microversion(COMPUTE)).await?;
        for service in found.services {
            let path = format!("/os-services/{}", service.id);
            let request = Request::new(Method::PUT, &path).microversion(COMPUTE).json(change.clone());
            self.compute.send(&request).await?;
        }
        Ok(())
    }

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
