//! Flavors.

use common::openstack::http::Request;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::{COMPUTE, Cloud, Error};

#[derive(Deserialize)]
struct Flavors {
    flavors: Vec<Flavor>,
}

#[derive(Deserialize)]
struct Created {
    flavor: Flavor,
}

#[derive(Deserialize)]
struct Flavor {
    id: String,
    name: String,
}

impl Cloud {
    /// The id of the flavor of that name, made when there is none. Memory in MiB, disk in GiB.
    ///
    /// # Errors
    /// When nova-api refuses.
    pub(crate) async fn ensure_flavor(
        &self,
        name: &str,
        vcpus: u32,
        ram: u32,
        disk: u32,
    ) -> Result<String, Error> {
        let list = Request::new(Method::GET, "/flavors").microversion(COMPUTE);
        let flavors: Flavors = self.compute.json(&list).await?;
        if let Some(flavor) = flavors.flavors.into_iter().find(|flavor| flavor.name == name) {
            return Ok(flavor.id);
        }
        let body = json!({"flavor": {"name": name, "vcpus": vcpus, "ram": ram, "disk": disk}});
        let create = Request::new(Method::POST, "/flavors").microversion(COMPUTE).json(body);
        let created: Created = self.compute.json(&create).await?;
        Ok(created.flavor.id)
    }
}
