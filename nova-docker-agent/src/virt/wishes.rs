//! How people describe a container: by properties of its image, and over them by metadata of the server, under the same
//! names. Pure; the table is in the README ("Describing a container").
//!
//! Only what stands here can be wished for, so that a tenant's container can never do more than the operator's: there is no
//! name for privileges, devices, mounts, namespaces or limits. Whatever else begins with `docker_` ends the build with its
//! name, and so does a name that the operator does not allow.

use std::str::FromStr;

use common::docker::Healthcheck;
use nix::sys::signal::Signal;

use super::{Error, InstanceSpec, command_line};
use crate::config::Docker;

/// What all names begin with.
pub(crate) const PREFIX: &str = "docker_";

/// What the name of an environment variable begins with.
const ENV: &str = "docker_env_";

/// Nova's own property, which says the same as `docker_command`.
pub(crate) const COMMAND_LINE: &str = "os_command_line";

/// Every name; that of a variable stands for all of them.
pub(crate) const NAMES: [&str; 11] = [
    "docker_command",
    "docker_entrypoint",
    ENV,
    "docker_user",
    "docker_workdir",
    "docker_tty",
    "docker_init",
    "docker_stop_signal",
    "docker_healthcheck",
    "docker_cap_drop",
    "docker_no_new_privileges",
];

/// What a container shall have instead of what its image says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) command: Option<Vec<String>>,
    pub(super) entrypoint: Option<Vec<String>>,
    /// `KEY=value`
    pub(super) env: Vec<String>,
    pub(super) user: Option<String>,
    pub(super) working_dir: Option<String>,
    pub(super) tty: bool,
    pub(super) init: bool,
    pub(super) stop_signal: Option<String>,
    pub(super) healthcheck: Option<Healthcheck>,
    pub(super) cap_drop: Vec<String>,
    pub(super) no_new_privileges: bool,
}

/// Where a wish comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Image,
    Server,
}

/// Reads all wishes of an instance.
///
/// # Errors
/// [`Error::InvalidSpec`] names the first one that cannot be fulfilled, or must not.
pub(super) fn read(instance: &InstanceSpec, options: &Docker) -> Result<Wishes, Error> {
    let mut wishes = Wishes::default();
    let given = [
        (Source::Image, &instance.image_properties, &options.allowed_image_properties),
        (Source::Server, &instance.metadata, &options.allowed_server_metadata),
    ];
    // A rescue is there to put right what the server's own description has broken.
    let followed = given.into_iter().filter(|(source, ..)| *source == Source::Image || !instance.rescue);
    for (source, values, allowed) in followed {
        let wrong = |name: &str, why: &str| Error::InvalidSpec(format!("the {} {name} {why}", source.noun()));
        // First, so that docker_command wins.
        let command_line = values.get_key_value(COMMAND_LINE);
        let ours = values.iter().filter(|(name, _)| name.starts_with(PREFIX));
        for (name, value) in command_line.into_iter().chain(ours) {
            let general =
                general(name).ok_or_else(|| wrong(name, "describes nothing that a user may set"))?;
            if !allowed.iter().any(|allowed| allowed == general) {
                let option = source.option();
                return Err(wrong(name, &format!("is not allowed on this host ([docker] {option})")));
            }
            wishes.take(name, value).map_err(|why| wrong(name, &format!("cannot be followed: {why}")))?;
        }
    }
    Ok(wishes)
}

/// The one of [`NAMES`] that a name falls under.
fn general(name: &str) -> Option<&'static str> {
    let name = match name {
        COMMAND_LINE => "docker_command",
        variable if variable.starts_with(ENV) => ENV,
        other => other,
    };
    NAMES.into_iter().find(|known| *known == name)
}

impl Source {
    fn noun(self) -> &'static str {
        match self {
            Self::Image => "image property",
            Self::Server => "server metadata",
        }
    }

    fn option(self) -> &'static str {
        match self {
            Self::Image => "allowed_image_properties",
            Self::Server => "allowed_server_metadata",
        }
    }
}

impl Wishes {
    /// Notes one wish, over an earlier one of the same name.
    fn take(&mut self, name: &str, value: &str) -> Result<(), String> {
        if value.contains('\0') {
            return Err("it has a character of value 0".into());
        }
        let words = || command_line::split(value).map_err(str::to_owned);
        match name {
            COMMAND_LINE | "docker_command" => {
                self.command = Some(words()?).filter(|words| !words.is_empty())
            }
            "docker_entrypoint" => self.entrypoint = Some(words()?),
            "docker_user" => self.user = Some(user(value)?),
            "docker_workdir" => self.working_dir = Some(absolute(value)?),
            "docker_tty" => self.tty = boolean(value)?,
            "docker_init" => self.init = boolean(value)?,
            "docker_stop_signal" => self.stop_signal = Some(signal(value)?),
            "docker_healthcheck" => {
                let command = if value == "none" { Vec::new() } else { words()? };
                self.healthcheck = Some(Healthcheck { command, ..Healthcheck::default() });
            }
            "docker_cap_drop" => self.cap_drop = capabilities(value)?,
            "docker_no_new_privileges" => self.no_new_privileges = boolean(value)?,
            variable => self.set_variable(variable.strip_prefix(ENV).unwrap_or(variable), value)?,
        }
        Ok(())
    }

    fn set_variable(&mut self, name: &str, value: &str) -> Result<(), String> {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(good) {
            return Err(format!("{name:?} is no name of an environment variable"));
        }
        self.env.retain(|other| other.split_once('=').is_none_or(|(other, _)| other != name));
        self.env.push(format!("{name}={value}"));
        Ok(())
    }
}

fn boolean(value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" | "on" => Ok(true),
        "false" | "no" | "0" | "off" | "" => Ok(false),
        _ => Err(format!("{value:?} is neither true nor false")),
    }
}

fn user(value: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '$');
    let parts: Vec<&str> = value.split(':').collect();
    if parts.len() > 2 || parts.iter().any(|part| part.is_empty() || !part.chars().all(good)) {
        return Err(format!("{value:?} is neither USER nor USER:GROUP, by names or numbers"));
    }
    Ok(value.to_owned())
}

/// A path of the container.
pub(super) fn absolute(value: &str) -> Result<String, String> {
    match value.starts_with('/') && !value.split('/').any(|part| part == "..") {
        true => Ok(value.to_owned()),
        false => Err(format!("{value:?} does not begin with / or has .. in it")),
    }
}

/// As dockerd takes them: `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`.
fn signal(value: &str) -> Result<String, String> {
    let name = value.strip_prefix("SIG").unwrap_or(value);
    let real_time = ["RTMIN+", "RTMAX-"].iter().find_map(|begin| name.strip_prefix(begin));
    let number =
        |text: &str, highest: u8| text.parse::<u8>().is_ok_and(|number| number <= highest && number > 0);
    let known = Signal::from_str(&format!("SIG{name}")).is_ok()
        || real_time.is_some_and(|offset| number(offset, 30))
        || number(value, 64);
    if known { Ok(value.to_owned()) } else { Err(format!("{value:?} is no signal")) }
}

/// Names of capabilities, separated by commas or blanks, with or without `CAP_`; `ALL`.
pub(crate) fn capabilities(value: &str) -> Result<Vec<String>, String> {
    let names = value.split([',', ' ']).map(str::trim).filter(|name| !name.is_empty());
    let name = |name: &str| {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let good = bare.chars().all(|c| c.is_ascii_uppercase() || c == '_') && !bare.is_empty();
        if good { Ok(bare.to_owned()) } else { Err(format!("{name:?} is no capability")) }
    };
    names.map(name).collect()
}

#[cfg(test)]
mod tests;
