//! Projects and users in Keystone.

use common::openstack::http::Request;
use common::secret::Secret;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Cloud, Error};

/// What a user may do in a project of his own.
const ROLE: &str = "member";

impl Cloud {
    /// Makes a project of that name in the default domain; `false` when there is one.
    ///
    /// # Errors
    /// When Keystone refuses.
    pub(crate) async fn ensure_project(&self, name: &str, description: &str) -> Result<bool, Error> {
        if self.identity_id("projects", name).await?.is_some() {
            return Ok(false);
        }
        let body = json!({ "project": { "name": name, "domain_id": "default", "description": description } });
        self.identity.send(&Request::new(Method::POST, "/projects").json(body)).await?;
        Ok(true)
    }

    /// Makes a user with the role `member` in a project (by its name). The password of a user that is there stays.
    ///
    /// # Errors
    /// [`Error::NoProject`], and when Keystone refuses.
    pub(crate) async fn ensure_member(
        &self,
        name: &str,
        password: &Secret,
        project: &str,
    ) -> Result<(), Error> {
        let project = self.project_id(project).await?;
        let user = match self.identity_id("users", name).await? {
            Some(user) => user,
            None => {
                let user = json!({ "name": name, "domain_id": "default", "password": password.reveal(),
                    "default_project_id": project });
                let request = Request::new(Method::POST, "/users").json(json!({ "user": user }));
                let made: Value = self.identity.json(&request).await?;
                made["user"]["id"].as_str().unwrap_or_default().to_owned()
            }
        };
        if let Some(role) = self.identity_id("roles", ROLE).await? {
            let grant = format!("/projects/{project}/users/{user}/roles/{role}");
            self.identity.send(&Request::new(Method::PUT, &grant)).await?;
        }
        Ok(())
    }

    /// The id of what has that name among `projects`, `users` or `roles`.
    async fn identity_id(&self, kind: &str, name: &str) -> Result<Option<String>, Error> {
        let found: Value =
            self.identity.json(&Request::new(Method::GET, &format!("/{kind}?name={name}"))).await?;
        Ok(found[kind][0]["id"].as_str().map(str::to_owned))
    }
}
