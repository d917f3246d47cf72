//! Who logs in to the cloud, the administrator and the user that `demo` makes: as variables of a shell (openrc), and as
//! `clouds.yaml` of the OpenStack clients and SDKs. The only place that shows a password, where it was asked for.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use common::openstack::{Credentials, Domain};
use common::secret::Secret;
use serde_json::json;

use crate::bootstrap::secrets;
use crate::plan::platform::{ADMIN_SECRET, DEMO_SECRET, Platform};
use crate::settings::Settings;

/// The user that `demo` makes, and its project.
pub(crate) const DEMO: &str = "demo";
/// The administrator's name in `clouds.yaml`.
const ADMIN_CLOUD: &str = "octopenstack";

/// Why nobody can log in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Secrets(#[from] secrets::Error),
    #[error("the platform {0} does not exist yet; `octopenstack up` makes it")]
    NoPlatform(String),
    #[error("no service has a catalogue entry of type identity")]
    NoIdentity,
    #[error("there is no user demo yet; `octopenstack demo` makes it")]
    NoDemo,
    #[error("no login of {user} is known; there are those of {}", known.join(" and "))]
    Unknown { user: String, known: Vec<String> },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// One of them.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    /// Name in `clouds.yaml`.
    cloud: String,
    user: String,
    project: String,
    password: Secret,
    auth_url: String,
    region: String,
}

impl Login {
    /// The platform's administrator.
    pub(crate) fn admin(settings: &Settings) -> Result<Self, Error> {
        let admin = &settings.config.configuration.admin;
        Self::of(settings, ADMIN_CLOUD, (&admin.user, &admin.project), ADMIN_SECRET)
    }

    /// The user that `demo` makes, whether it did or not.
    pub(crate) fn demo(settings: &Settings) -> Result<Self, Error> {
        Self::of(settings, DEMO, (DEMO, DEMO), DEMO_SECRET)
    }

    /// Those there are: the file of the demo's user tells that it was made.
    pub(crate) fn all(settings: &Settings) -> Result<Vec<Self>, Error> {
        let mut all = vec![Self::admin(settings)?];
        if openrc_file(settings, DEMO).exists() {
            all.push(Self::demo(settings)?);
        }
        Ok(all)
    }

    /// The one of that user; the administrator's when none is named.
    pub(crate) fn named(settings: &Settings, user: Option<&str>) -> Result<Self, Error> {
        let Some(user) = user else { return Self::admin(settings) };
        let all = Self::all(settings)?;
        let known = || all.iter().map(|login| login.user.clone()).collect();
        match all.iter().find(|login| login.user == user) {
            Some(login) => Ok(login.clone()),
            None if user == DEMO => Err(Error::NoDemo),
            None => Err(Error::Unknown { user: user.to_owned(), known: known() }),
        }
    }

    fn of(
        settings: &Settings,
        cloud: &str,
        (user, project): (&str, &str),
        secret: &str,
    ) -> Result<Self, Error> {
        let platform = Platform::new(&settings.config, &settings.profiles);
        let secrets = secrets::read(&settings.paths.secrets())?;
        let password = secrets.get(secret).ok_or_else(|| Error::NoPlatform(settings.project().to_owned()))?;
        Ok(Login {
            cloud: cloud.to_owned(),
            user: user.to_owned(),
            project: project.to_owned(),
            password: password.clone(),
            auth_url: public_identity(&platform).ok_or(Error::NoIdentity)?,
            region: settings.config.configuration.region.clone(),
        })
    }

    /// For this program's own session.
    pub(crate) fn credentials(&self) -> Credentials {
        Credentials {
            auth_url: self.auth_url.clone(),
            username: self.user.clone(),
            password: self.password.clone(),
            project_name: self.project.clone(),
            user_domain: Domain::Id("default".to_owned()),
            project_domain: Domain::Id("default".to_owned()),
            cafile: None,
            insecure: false,
        }
    }

    /// The user's password, to make the user with.
    pub(crate) fn password(&self) -> &Secret {
        &self.password
    }

    /// Lines for a shell to read.
    pub(crate) fn openrc(&self) -> String {
        let variables = [
            ("OS_AUTH_TYPE", "password"),
            ("OS_AUTH_URL", &self.auth_url),
            ("OS_IDENTITY_API_VERSION", "3"),
            ("OS_USERNAME", &self.user),
            ("OS_PASSWORD", self.password.reveal()),
            ("OS_PROJECT_NAME", &self.project),
            ("OS_USER_DOMAIN_NAME", "Default"),
            ("OS_PROJECT_DOMAIN_NAME", "Default"),
            ("OS_REGION_NAME", &self.region),
            ("OS_INTERFACE", "public"),
        ];
        let line = |(name, value): (&str, &str)| format!("export {name}='{}'", value.replace('\'', "'\\''"));
        variables.map(line).join("\n")
    }
}

/// `clouds.yaml` with these logins. Every value is a JSON text, which YAML reads as such.
pub(crate) fn clouds(logins: &[Login]) -> String {
    let mut text = String::from("# Clouds for the OpenStack clients and SDKs. Holds passwords.\nclouds:\n");
    for login in logins {
        text += &format!(
            "  {}:\n    auth:\n      auth_url: {}\n      username: {}\n      password: {}\n      project_name: {}\n      \
             user_domain_name: Default\n      project_domain_name: Default\n    region_name: {}\n    interface: public\n    \
             identity_api_version: 3\n",
            json!(login.cloud),
            json!(login.auth_url),
            json!(login.user),
            json!(login.password.reveal()),
            json!(login.project),
            json!(login.region),
        );
    }
    text
}

/// Where [`write`] puts `clouds.yaml`.
pub(crate) fn clouds_file(settings: &Settings) -> PathBuf {
    settings.paths.state.join("clouds.yaml")
}

/// Where [`write`] puts the variables of a user.
pub(crate) fn openrc_file(settings: &Settings, user: &str) -> PathBuf {
    settings.paths.state.join(format!("{user}-openrc.sh"))
}

/// Writes `clouds.yaml` and a `<user>-openrc.sh` for each into the platform's folder, readable by their owner only.
pub(crate) fn write(settings: &Settings, logins: &[Login]) -> Result<(), Error> {
    let files = logins.iter().map(|login| (openrc_file(settings, &login.user), login.openrc() + "\n"));
    for (path, text) in files.chain([(clouds_file(settings), clouds(logins))]) {
        // A second `up` leaves the file as it is.
        if std::fs::read_to_string(&path).is_ok_and(|there| there == text) {
            continue;
        }
        secret_file(&path, &text).map_err(|source| Error::Write { path, source })?;
    }
    Ok(())
}

/// Writes a file for its owner only, from the first byte on, in place of what was there.
pub(crate) fn secret_file(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let _ = std::fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(new, path)
}

/// Keystone's public URL with its path.
fn public_identity(platform: &Platform) -> Option<String> {
    let api = platform.services[platform.identity.as_ref()?].api.as_ref()?;
    let path = api.catalogue.as_ref().map_or("", |catalogue| catalogue.path.as_str());
    Some(format!("{}{path}", platform.public_url(api)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(user: &str, password: &str) -> Login {
        Login {
            cloud: if user == DEMO { DEMO.into() } else { ADMIN_CLOUD.into() },
            user: user.into(),
            project: user.into(),
            password: Secret::new(password),
            auth_url: "http://127.0.0.1:5000/v3".into(),
            region: "RegionOne".into(),
        }
    }

    #[test]
    fn a_shell_gets_a_strange_password_as_it_is() {
        let password = "it's \"$HOME\" `x` \\";
        let script = format!("{}\nprintf %s \"$OS_PASSWORD\"", login("admin", password).openrc());
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), password);
    }

    #[test]
    fn clouds_yaml_names_both() {
        insta::assert_snapshot!(clouds(&[login("admin", "it's \"x\": #1"), login(DEMO, "pw")]));
    }
}
