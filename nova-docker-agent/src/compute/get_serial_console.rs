//! A console in the user's browser: where it is, and the right to open it.

use std::time::Duration;

use common::objects::fields::VmState;
use common::objects::{ConsoleAuthToken, Instance, Versioned};
use serde::{Deserialize, Serialize};

use super::{Call, Method};
use crate::error::Error;
use crate::instance::guards::Guards;
use crate::virt::PowerState;

/// The only type that a container has.
const SERIAL: &str = "serial";

/// Arguments of `get_serial_console`.
#[derive(Deserialize)]
pub struct GetSerialConsole {
    instance: Instance,
    #[serde(default)]
    console_type: String,
}

/// Nova's `get_connection_info`.
#[derive(Serialize)]
pub struct ConnectInfo {
    host: String,
    port: u16,
    internal_access_path: Option<String>,
    token: String,
    access_url: String,
}

impl Method for GetSerialConsole {
    const NAME: &'static str = "get_serial_console";
    const GUARDS: Guards = Guards::F;
    type Reply = ConnectInfo;

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(self, call: &Call) -> Result<ConnectInfo, Error> {
        let agent = &call.agent;
        let serial = &agent.config.serial_console;
        if !serial.enabled || self.console_type != SERIAL {
            return Err(unavailable(&self.console_type));
        }
        let uuid = agent.acting_uuid(&self.instance)?;
        if agent.driver.power_state(uuid).await? == PowerState::NoState {
            return Err(missing(uuid, &self.instance));
        }
        let patience = Duration::from_secs(agent.config.console_token_ttl);
        let place = (serial.proxyclient_address, serial.port_range.clone());
        let port = agent.consoles.reserve(uuid, place, patience).await.map_err(|error| Error::Refused {
            class: "SerialPortNumberLimitExceeded",
            code: 500,
            message: format!("No serial port for the console: {error}"),
        })?;
        let mut token = ConsoleAuthToken::empty();
        token.set_console_type(SERIAL);
        token.set_host(serial.proxyclient_address.to_string().as_str());
        token.set_port(i64::from(port));
        token.set_internal_access_path(None::<&str>);
        token.set_instance_uuid(uuid.to_string().as_str());
        token.set_access_url_base(serial.base_url.as_str());
        agent.conductor.authorize_console(&call.context, &mut token, patience).await?;
        let secret = token.token().unwrap_or_default().to_owned();
        let access_url = format!("{}?token={secret}", serial.base_url);
        let host = serial.proxyclient_address.to_string();
        Ok(ConnectInfo { host, port, internal_access_path: None, token: secret, access_url })
    }
}

fn unavailable(console_type: &str) -> Error {
    Error::Refused {
        class: "ConsoleTypeUnavailable",
        code: 400,
        message: format!("Unavailable console type {console_type}."),
    }
}

/// What Nova says of an instance that has no guest.
fn missing(uuid: common::ids::InstanceUuid, instance: &Instance) -> Error {
    let (class, code, message) = match instance.state() {
        VmState::Building => ("InstanceNotReady", 409, format!("Instance {uuid} is not ready")),
        _ => ("InstanceNotFound", 404, format!("Instance {uuid} could not be found.")),
    };
    Error::Refused { class, code, message }
}
