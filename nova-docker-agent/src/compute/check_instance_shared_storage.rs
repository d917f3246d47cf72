//! Whether another host's instances lie on this host's disk: containers never share theirs.

use serde::Deserialize;

use super::{Call, Method};
use crate::error::Error;
use crate::instance::guards::Guards;

/// The arguments: what the asking driver wrote is its own.
#[derive(Deserialize)]
pub struct CheckInstanceSharedStorage {}

impl Method for CheckInstanceSharedStorage {
    const NAME: &'static str = "check_instance_shared_storage";
    const GUARDS: Guards = Guards::NONE;
    type Reply = bool;

    async fn run(self, _call: &Call) -> Result<bool, Error> {
        Ok(false)
    }
}
