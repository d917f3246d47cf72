//! The console's proxy asks, with a good token in its hand, whether the port in it is still that instance's.

use common::objects::Instance;
use serde::Deserialize;
use serde_json::Value;

use super::{Call, Method};
use crate::error::Error;
use crate::instance::guards::Guards;

/// Arguments of `validate_console_port`.
#[derive(Deserialize)]
pub struct ValidateConsolePort {
    instance: Instance,
    /// A text, or a number.
    port: Value,
    console_type: String,
}

impl Method for ValidateConsolePort {
    const NAME: &'static str = "validate_console_port";
    const GUARDS: Guards = Guards::F;
    type Reply = bool;

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(self, call: &Call) -> Result<bool, Error> {
        if self.console_type != "serial" {
            return Err(Error::Refused {
                class: "ConsoleTypeUnavailable",
                code: 400,
                message: format!("Unavailable console type {}.", self.console_type),
            });
        }
        let uuid = call.agent.acting_uuid(&self.instance)?;
        let port = self.port.as_str().map_or_else(|| self.port.to_string(), str::to_owned);
        Ok(call.agent.consoles.admit(uuid, &port).await)
    }
}
