//! Which release of Nova answers, and what the agent tells it to be (OBJECTS §3).
//!
//! The version of a compute service decides which RPCs the whole cloud sends, so the agent must never announce more
//! than the control plane has, nor less than the other computes.

use std::fmt;

/// The version of a compute service by release; the newest the agent was written against stands last.
const KNOWN: &[(i64, &str)] = &[
    (66, "2023.2"),
    (67, "2024.1 or 2024.2"),
    (68, "2025.1"),
    (70, "2025.2"),
    (72, "2026.1"),
    (74, "2026.2"),
];

/// From this version on the file `compute_id` is a must (Nova: NODE_IDENTITY_VERSION).
pub const NODE_IDENTITY: i64 = 65;

/// What the agent announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// `Service.version`
    pub service_version: i64,
    /// The release it stands for.
    pub release: &'static str,
}

/// Why no profile fits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The control plane is older than anything the agent knows.
    #[error(
        "this control plane is too old: its conductor has service version {conductor}, the oldest that is served is \
         {oldest} (Nova 2023.2)"
    )]
    TooOld {
        /// What the conductor has.
        conductor: i64,
        /// What the agent needs.
        oldest: i64,
    },
    /// Other computes are newer than what may be announced.
    #[error(
        "the other compute services of this cloud have service version {computes}, and this agent would announce \
         {announced}; upgrade the agent or set [docker] service_version"
    )]
    OthersAreNewer {
        /// The lowest among the others.
        computes: i64,
        /// What the agent would announce.
        announced: i64,
    },
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (Nova {})", self.service_version, self.release)
    }
}

/// Chooses what to announce.
///
/// # Arguments
/// * `conductor`: lowest service version among the conductors.
/// * `computes`: lowest among the computes, 0 when there is none.
/// * `wanted`: what the operator set instead.
///
/// # Errors
/// [`Error`].
pub fn choose(conductor: i64, computes: i64, wanted: Option<u32>) -> Result<Profile, Error> {
    let oldest = KNOWN[0];
    let ceiling = wanted.map_or(conductor, i64::from);
    let Some((version, release)) = KNOWN.iter().rev().find(|(version, _)| *version <= ceiling).copied()
    else {
        return Err(Error::TooOld { conductor: ceiling, oldest: oldest.0 });
    };
    // 69, 71 and 73 were never the last of a release; a conductor from a development branch has them.
    let service_version = if wanted.is_some() { ceiling } else { version.max(ceiling.min(newest())) };
    if computes > service_version {
        return Err(Error::OthersAreNewer { computes, announced: service_version });
    }
    Ok(Profile { service_version, release })
}

/// The newest version the agent was written against.
pub fn newest() -> i64 {
    KNOWN.last().map_or(0, |(version, _)| *version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_release_gets_its_own_version() {
        for (conductor, version, release) in [
            (66, 66, "2023.2"),
            (67, 67, "2024.1 or 2024.2"),
            (70, 70, "2025.2"),
            (72, 72, "2026.1"),
            (74, 74, "2026.2"),
        ] {
            let profile = choose(conductor, 0, None).unwrap();
            assert_eq!((profile.service_version, profile.release), (version, release));
        }
    }

    #[test]
    fn a_newer_control_plane_gets_the_newest_version_we_know() {
        assert_eq!(choose(80, 74, None).unwrap().service_version, 74);
    }

    #[test]
    fn an_old_control_plane_is_refused_with_both_numbers() {
        let error = choose(61, 0, None).unwrap_err().to_string();
        assert!(error.contains("61") && error.contains("66"), "{error}");
    }

    #[test]
    fn we_do_not_announce_less_than_the_other_computes() {
        assert_eq!(choose(80, 76, None), Err(Error::OthersAreNewer { computes: 76, announced: 74 }));
        assert_eq!(choose(73, 72, None).unwrap().service_version, 73);
    }

    #[test]
    fn the_operator_has_the_last_word() {
        assert_eq!(choose(74, 0, Some(72)).unwrap().service_version, 72);
    }
}
