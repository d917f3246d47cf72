//! What only the operator gives to a container: the flavor's `docker:` extra specs. Pure; the table is in the README
//! ("Describing a container").

use std::collections::BTreeMap;

use common::docker::Ulimit;

use super::{Error, extra_specs, wishes};
use crate::config::Docker;

/// What all names begin with.
const PREFIX: &str = "docker:";

/// What the name of a process limit begins with.
const ULIMIT: &str = "docker:ulimit_";

/// What `setrlimit` knows, in Docker's words.
const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Beyond these a container would see something else than it is meant to.
const NOT_FOR_TMPFS: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Bytes of a mebibyte.
const MIB: i64 = 1024 * 1024;

/// What a flavor grants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Grants {
    /// Bytes; 0 means Docker's.
    pub(super) shm_size: i64,
    /// Instead of the agent's `pids_limit`.
    pub(super) pids_limit: Option<i64>,
    pub(super) ulimits: Vec<Ulimit>,
    /// Path to options.
    pub(super) tmpfs: BTreeMap<String, String>,
    pub(super) cap_add: Vec<String>,
}

/// Reads what the flavor grants.
///
/// # Errors
/// [`Error::InvalidSpec`] names the first extra spec that cannot be followed, or that this host's options forbid.
pub(super) fn read(specs: &BTreeMap<String, String>, options: &Docker) -> Result<Grants, Error> {
    let mut grants = Grants::default();
    for (name, text) in specs.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        let wrong = |why: String| extra_specs::wrong(name, text, &why);
        let number = |low, high| extra_specs::number(specs, name, low..=high).map(Option::unwrap_or_default);
        match name.as_str() {
            "docker:shm_size_mb" => grants.shm_size = number(1, 1 << 20)? * MIB,
            "docker:pids_limit" => grants.pids_limit = Some(number(16, 4_194_304)?),
            "docker:tmpfs" => grants.tmpfs = tmpfs(text).map_err(wrong)?,
            "docker:cap_add" => {
                grants.cap_add = wishes::capabilities(text).map_err(wrong)?;
                let allowed = &options.allowed_capabilities;
                if let Some(more) = grants.cap_add.iter().find(|name| !allowed.contains(name)) {
                    return Err(wrong(format!(
                        "this host does not allow {more} ([docker] allowed_capabilities)"
                    )));
                }
            }
            other => match other.strip_prefix(ULIMIT) {
                Some(limit) => grants.ulimits.push(ulimit(limit, text).map_err(wrong)?),
                None => return Err(wrong("no such extra spec is known".into())),
            },
        }
    }
    Ok(grants)
}

/// `PATH=MiB`, separated by commas.
fn tmpfs(text: &str) -> Result<BTreeMap<String, String>, String> {
    let one = |item: &str| {
        let (path, size) = item.split_once('=').unwrap_or((item, ""));
        let path = wishes::absolute(path)?;
        let inside = |folder: &str| path == folder || path.starts_with(&format!("{folder}/"));
        if path.trim_matches('/').is_empty() || NOT_FOR_TMPFS.into_iter().any(inside) {
            return Err(format!("{path} is no place for it"));
        }
        let size: u32 = size.parse().map_err(|_| format!("{item:?} is not PATH=MEBIBYTES"))?;
        Ok((path, format!("size={size}m")))
    };
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(one).collect()
}

/// `SOFT` or `SOFT:HARD`; -1 means none.
fn ulimit(name: &str, text: &str) -> Result<Ulimit, String> {
    if !ULIMITS.contains(&name) {
        return Err(format!("there is no limit of the name {name}"));
    }
    let (soft, hard) = text.split_once(':').unwrap_or((text, text));
    let number = |text: &str| text.trim().parse::<i64>().ok().filter(|number| *number >= -1);
    let (Some(soft), Some(hard)) = (number(soft), number(hard)) else {
        return Err("must be SOFT or SOFT:HARD, numbers from 0 or -1 for none".into());
    };
    if hard != -1 && (soft > hard || soft == -1) {
        return Err("its soft limit is above the hard one".into());
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support;

    fn grants(pairs: &[(&str, &str)]) -> Result<Grants, String> {
        let mut options = test_support::config().docker;
        options.allowed_capabilities = vec!["NET_ADMIN".into()];
        let specs = pairs.iter().map(|&(key, value)| (key.into(), value.into())).collect();
        read(&specs, &options).map_err(|error| error.to_string())
    }

    #[test]
    fn everything_that_a_flavor_can_grant() {
        let all = grants(&[
            ("docker:cap_add", "cap_net_admin"),
            ("docker:pids_limit", "4096"),
            ("docker:shm_size_mb", "256"),
            ("docker:tmpfs", "/run=16, /var/cache/app=64"),
            ("docker:ulimit_nofile", "1024:65536"),
            ("docker:ulimit_memlock", "-1"),
            ("quota:cpu_shares", "64"),
        ]);
        insta::assert_debug_snapshot!(all.unwrap());
        assert_eq!(grants(&[]), Ok(Grants::default()));
    }

    #[test]
    fn what_cannot_be_granted_is_named() {
        for (name, value, why) in [
            (
                "docker:cap_add",
                "SYS_ADMIN",
                "this host does not allow SYS_ADMIN ([docker] allowed_capabilities)",
            ),
            ("docker:cap_add", "ALL", "this host does not allow ALL ([docker] allowed_capabilities)"),
            ("docker:privileged", "true", "no such extra spec is known"),
            ("docker:runtime", "kata", "no such extra spec is known"),
            ("docker:shm_size_mb", "64m", "must be a number from 1 to 1048576"),
            ("docker:pids_limit", "-1", "must be a number from 16 to 4194304"),
            ("docker:ulimit_files", "5", "there is no limit of the name files"),
            ("docker:ulimit_nofile", "9:5", "its soft limit is above the hard one"),
            ("docker:ulimit_nofile", "many", "must be SOFT or SOFT:HARD, numbers from 0 or -1 for none"),
            ("docker:tmpfs", "/run", "\"/run\" is not PATH=MEBIBYTES"),
            ("docker:tmpfs", "/proc/sys=1", "/proc/sys is no place for it"),
            ("docker:tmpfs", "/=1", "/ is no place for it"),
            ("docker:tmpfs", "run=1", "\"run\" does not begin with / or has .. in it"),
        ] {
            assert_eq!(
                grants(&[(name, value)]).unwrap_err(),
                format!("the flavor's {name} is {value}, but {why}")
            );
        }
    }
}
