//! Key pairs in Nova.

use common::openstack::http::Request;
use common::secret::Secret;
use reqwest::Method;
use serde_json::{Value, json};

use super::{COMPUTE, Cloud, Error};

/// The last microversion with which Nova makes keys itself (2.92 only takes public ones).
const GENERATES: &str = "compute 2.91";

impl Cloud {
    /// Whether Nova has a key pair of that name for this user.
    ///
    /// # Errors
    /// When nova-api does not answer.
    pub(crate) async fn has_keypair(&self, name: &str) -> Result<bool, Error> {
        let path = format!("/os-keypairs/{name}");
        match self.compute.send(&Request::new(Method::GET, &path).microversion(COMPUTE)).await {
            Ok(_) => Ok(true),
            Err(error) if error.status() == Some(404) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets Nova make a key pair in place of one of the same name, and returns the private key, which Nova does not keep.
    ///
    /// # Errors
    /// When nova-api refuses.
    pub(crate) async fn new_keypair(&self, name: &str) -> Result<Secret, Error> {
        let path = format!("/os-keypairs/{name}");
        match self.compute.send(&Request::new(Method::DELETE, &path).microversion(COMPUTE)).await {
            Err(error) if error.status() != Some(404) => return Err(error.into()),
            _ => {}
        }
        let body = json!({ "keypair": { "name": name, "type": "ssh" } });
        let request = Request::new(Method::POST, "/os-keypairs").microversion(GENERATES).json(body);
        let made: Value = self.compute.json(&request).await?;
        Ok(Secret::new(made["keypair"]["private_key"].as_str().unwrap_or_default().to_owned()))
    }
}
