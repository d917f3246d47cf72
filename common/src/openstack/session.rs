//! Login at Keystone and what comes of it: a token, the service catalogue, and a new token in time.

use std::path::PathBuf;

use crate::secret::Secret;

/// What a user logs in with (keystoneauth's password plug-in, v3).
#[derive(Debug, Clone)]
pub struct Credentials {
    /// `auth_url`, with or without `/v3`.
    pub auth_url: String,
    /// `username`
    pub username: String,
    /// `password`
    pub password: Secret,
    /// `project_name`
    pub project_name: String,
    /// `user_domain_id` or `user_domain_name`
    pub user_domain: Domain,
    /// `project_domain_id` or `project_domain_name`
    pub project_domain: Domain,
    /// `cafile`: trust these certificate authorities (PEM) instead of the system's.
    pub cafile: Option<PathBuf>,
    /// `insecure`: do not check certificates.
    pub insecure: bool,
}

/// A Keystone domain, by whatever the operator named it with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Domain {
    /// By its id.
    Id(String),
    /// By its name.
    Name(String),
}

/// Which endpoint of the catalogue a client of one service asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointFilter {
    /// `region_name`; any region when absent.
    pub region_name: Option<String>,
    /// `valid_interfaces`: the first that the catalogue has wins.
    pub valid_interfaces: Vec<String>,
    /// `endpoint_override`: this URL instead of the catalogue's.
    pub endpoint_override: Option<String>,
}
