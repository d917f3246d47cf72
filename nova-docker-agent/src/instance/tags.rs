//! The user's names for NICs, as the guest's metadata shows them (Nova: `Instance.device_metadata`).

use common::ids::InstanceUuid;
use common::messaging::RequestContext;
use common::objects::{Instance, Versioned};
use serde_json::{Value, json};

use super::guards::Subject;
use crate::agent::Agent;
use crate::conductor::Expect;
use crate::error::Error;

/// Notes NICs by MAC address and tag. Costs nothing without tags. `first`: the instance has no tagged device yet.
///
/// # Errors
/// What the conductor says.
pub async fn add(
    agent: &Agent,
    context: &RequestContext,
    uuid: InstanceUuid,
    (tagged, first): (&[(&str, &str)], bool),
) -> Result<(), Error> {
    if tagged.is_empty() {
        return Ok(());
    }
    let mut instance = match first {
        true => Subject::new(uuid).bare(),
        false => agent.conductor.instance(context, uuid, &["device_metadata"]).await?,
    };
    let devices = tagged.iter().fold(devices(&instance), |devices, (mac, tag)| with(devices, mac, tag));
    save(agent, context, &mut instance, devices).await
}

/// Forgets a NIC. `instance`: as it came; its devices are only looked at when it has any.
///
/// # Errors
/// What the conductor says.
pub async fn remove(
    agent: &Agent,
    context: &RequestContext,
    (instance, mac): (&Instance, &str),
) -> Result<(), Error> {
    let Some(uuid) = instance.instance_uuid().filter(|_| instance.device_metadata().is_some()) else {
        return Ok(());
    };
    let mut instance = agent.conductor.instance(context, uuid, &["device_metadata"]).await?;
    let before = devices(&instance);
    let after = without(before.clone(), mac);
    if before == after {
        return Ok(());
    }
    save(agent, context, &mut instance, after).await
}

async fn save(
    agent: &Agent,
    context: &RequestContext,
    instance: &mut Instance,
    devices: Vec<Value>,
) -> Result<(), Error> {
    instance.object_mut().clear_changes();
    let data = json!({ "devices": devices });
    instance.set_device_metadata(json!({
        "nova_object.name": "InstanceDeviceMetadata", "nova_object.namespace": "nova", "nova_object.version": "1.0",
        "nova_object.data": data, "nova_object.changes": ["devices"],
    }));
    Ok(agent.conductor.save(context, instance, Expect::ANY).await?)
}

fn devices(instance: &Instance) -> Vec<Value> {
    let devices = instance.device_metadata().and_then(|all| all["nova_object.data"]["devices"].as_array());
    devices.cloned().unwrap_or_default()
}

fn with(devices: Vec<Value>, mac: &str, tag: &str) -> Vec<Value> {
    let mut devices = without(devices, mac);
    devices.push(json!({
        "nova_object.name": "NetworkInterfaceMetadata", "nova_object.namespace": "nova", "nova_object.version": "1.2",
        "nova_object.data": {"mac": mac, "tags": [tag]}, "nova_object.changes": ["mac", "tags"],
    }));
    devices
}

fn without(mut devices: Vec<Value>, mac: &str) -> Vec<Value> {
    devices.retain(|device| device["nova_object.data"]["mac"] != mac);
    devices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nic_has_one_entry() {
        let disk = json!({"nova_object.name": "DiskMetadata", "nova_object.data": {"serial": "s"}});
        let devices = with(with(vec![disk.clone()], "fa:16:3e:00:00:01", "a"), "fa:16:3e:00:00:01", "b");
        assert_eq!(devices.len(), 2);
        assert_eq!(devices[1]["nova_object.data"]["tags"], json!(["b"]));
        assert_eq!(without(devices, "fa:16:3e:00:00:01"), [disk]);
    }
}
