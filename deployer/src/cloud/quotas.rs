//! Nova's quotas of a project.

use common::openstack::http::Request;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{COMPUTE, Cloud, Error};

/// What a project may have of Nova; -1 is no limit. Memory in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Quota {
    instances: i64,
    cores: i64,
    ram: i64,
}

impl Quota {
    /// No limit at all.
    pub(crate) const UNLIMITED: Self = Self { instances: -1, cores: -1, ram: -1 };
    /// Room for trying things, and an end to it: ten servers, of the demo's flavors.
    pub(crate) const DEMO: Self = Self { instances: 10, cores: 10, ram: 2048 };
}

#[derive(Deserialize)]
struct Quotas {
    quota_set: Quota,
}

#[derive(Deserialize)]
struct Projects {
    projects: Vec<Project>,
}

#[derive(Deserialize)]
struct Project {
    id: String,
}

impl Cloud {
    /// The id of a project by its name.
    ///
    /// # Errors
    /// [`Error::NoProject`], and when Keystone refuses.
    pub(crate) async fn project_id(&self, project: &str) -> Result<String, Error> {
        let path = format!("/projects?name={project}");
        let found: Projects = self.identity.json(&Request::new(Method::GET, &path)).await?;
        let project_of_name = found.projects.into_iter().next();
        project_of_name.map(|project| project.id).ok_or_else(|| Error::NoProject(project.to_owned()))
    }

    /// Gives the project (by its name) another quota and returns the one it had.
    ///
    /// # Errors
    /// [`Error::NoProject`], and when Keystone or Nova refuses.
    pub(crate) async fn change_quota(&self, project: &str, quota: Quota) -> Result<Quota, Error> {
        let id = self.project_id(project).await?;
        let path = format!("/os-quota-sets/{id}");
        let before: Quotas =
            self.compute.json(&Request::new(Method::GET, &path).microversion(COMPUTE)).await?;
        let change = Request::new(Method::PUT, &path).microversion(COMPUTE).json(json!({"quota_set": quota}));
        self.compute.send(&change).await?;
        Ok(before.quota_set)
    }
}
