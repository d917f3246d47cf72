//! What an instance has used, for API versions before 2.48: names and numbers.

use common::objects::Instance;
use serde::Deserialize;
use serde_json::Value;

use super::{Call, Method};
use crate::error::Error;
use crate::instance::diagnostics;
use crate::instance::guards::Guards;

/// The arguments.
#[derive(Deserialize)]
pub struct GetDiagnostics {
    /// The instance.
    pub instance: Instance,
}

impl Method for GetDiagnostics {
    const NAME: &'static str = "get_diagnostics";
    const GUARDS: Guards = Guards::F;
    type Reply = Value;

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(self, call: &Call) -> Result<Value, Error> {
        Ok(diagnostics::gather(&call.agent, &call.context, &self.instance).await?.flat())
    }
}
