//! Other limits for a container that exists.

use bollard::models::ContainerUpdateBody;

use super::{Engine, Error, Limits};

/// Docker's own weight of a container that has none.
const USUAL_SHARES: i64 = 1024;

impl Engine {
    /// `docker update`: gives a container, running or not, other limits.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the container; [`Error::Other`] when it uses more than it may from now on.
    pub async fn update_container(&self, name: &str, limits: &Limits) -> Result<(), Error> {
        // Here 0 says "as it is", and not "none".
        let or = |value: i64, none: i64| Some(if value == 0 { none } else { value });
        let body = ContainerUpdateBody {
            cpu_shares: or(limits.cpu_shares, USUAL_SHARES),
            cpu_period: Some(limits.cpu_period).filter(|period| *period != 0),
            cpu_quota: or(limits.cpu_quota, -1),
            memory: Some(limits.memory).filter(|bytes| *bytes != 0),
            memory_swap: or(limits.memory_swap, -1),
            pids_limit: or(limits.pids, -1),
            ..ContainerUpdateBody::default()
        };
        self.docker().update_container(name, body).await.map_err(|e| self.error(e))
    }
}
