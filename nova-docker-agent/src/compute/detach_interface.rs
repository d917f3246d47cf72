//! Takes a port from an instance: the NIC goes, a port that Nova made is deleted, one that the user made is free again.

use common::objects::Instance;
use serde::Deserialize;

use super::{Call, Method};
use crate::error::Error;
use crate::instance::detaching;
use crate::instance::guards::Guards;

/// The arguments.
#[derive(Deserialize)]
pub struct DetachInterface {
    /// The instance.
    pub instance: Instance,
    /// The port.
    pub port_id: String,
}

impl Method for DetachInterface {
    const NAME: &'static str = "detach_interface";
    const GUARDS: Guards = Guards::EF;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(self, call: &Call) -> Result<(), Error> {
        // What failed is told, and may be asked for again; only what was killed is finished at the next start.
        let told = |_: &Error| false;
        detaching::detach(&call.agent, &call.context, (&self.instance, &self.port_id), told).await
    }
}
