//! The host and the guest follow the ports: NICs that changed are plugged again, those of ports that are gone are taken out,
//! and the guest reads its addresses and name servers anew.

use common::error_chain::Chain;
use common::ids::InstanceUuid;
use common::messaging::RequestContext;

use super::network;
use crate::agent::Agent;
use crate::error::Error;
use crate::network::model::{NetworkInfo, Vif};

/// Makes the instance's NICs, and what its guest is told, those of `now`. Waits for an operation on it to end.
///
/// # Errors
/// What conductor, kernel or switch say; the first of several.
pub async fn follow(
    agent: &Agent,
    context: &RequestContext,
    uuid: InstanceUuid,
    (before, now): (&NetworkInfo, &NetworkInfo),
) -> Result<(), Error> {
    let gone: Vec<&Vif> = before.iter().filter(|vif| now.iter().all(|other| other.id != vif.id)).collect();
    let rewired: Vec<&Vif> = now.iter().filter(|vif| is_rewired(before, vif)).collect();
    // The name does not matter here.
    let told = |ports: &[Vif]| agent.driver.guest_files("guest", ports);
    let news = told(before) != told(now);
    if gone.is_empty() && rewired.is_empty() && !news {
        return Ok(());
    }
    let _acting = agent.locks.act(uuid).await;
    // Who acted meanwhile has seen to what he changed.
    let current = network::cached(agent, context, uuid).await?;
    let mut result = Ok(());
    for vif in gone.into_iter().filter(|vif| current.iter().all(|other| other.id != vif.id)) {
        result = result.and(agent.nics.detach(uuid, vif.id).await);
    }
    for vif in rewired {
        if let Some(index) = current.iter().position(|other| other == vif) {
            result = result.and(agent.nics.attach(uuid, vif, &current[..index]).await);
        }
    }
    if news && !current.is_empty() {
        let instance = agent.conductor.instance(context, uuid, &[]).await?;
        tell(agent, (uuid, instance.hostname().unwrap_or_default()), &current);
    }
    result
}

/// Tells the guest the addresses and name servers that it has now. It is not worth a failed operation.
pub fn tell(agent: &Agent, guest: (InstanceUuid, &str), now: &[Vif]) {
    if let Err(error) = agent.driver.tell_guest_again(guest, now) {
        tracing::warn!(instance_uuid = %guest.0, error = %Chain(&error), "the guest does not know its addresses");
    }
}

/// Whether a port is new, or its addresses, MAC or MTU changed, so that its NIC has to be plugged.
fn is_rewired(before: &NetworkInfo, vif: &Vif) -> bool {
    let mtu = |vif: &Vif| vif.network.meta.get("mtu").cloned();
    before.iter().find(|old| old.id == vif.id).is_none_or(|old| {
        !old.fixed_ips().eq(vif.fixed_ips()) || old.address != vif.address || mtu(old) != mtu(vif)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn vif(id: u8, address: &str, mac: &str, mtu: u32) -> Value {
        json!({"id": format!("00000000-0000-4000-8000-0000000000{id:02x}"), "address": mac,
               "network": {"subnets": [{"cidr": "10.0.0.0/24", "ips": [{"address": address}]}], "meta": {"mtu": mtu}}})
    }

    fn ports(vifs: &[Value]) -> NetworkInfo {
        serde_json::from_value(vifs.iter().cloned().collect()).unwrap()
    }

    #[test]
    fn a_nic_is_plugged_again_when_the_guest_must_see_another_one() {
        let before = ports(&[vif(1, "10.0.0.1", "fa:16:3e:00:00:01", 1442)]);
        let rewired = |id, address, mac, mtu| is_rewired(&before, &ports(&[vif(id, address, mac, mtu)])[0]);
        assert!(!rewired(1, "10.0.0.1", "fa:16:3e:00:00:01", 1442));
        assert!(rewired(2, "10.0.0.1", "fa:16:3e:00:00:01", 1442));
        assert!(rewired(1, "10.0.0.2", "fa:16:3e:00:00:01", 1442));
        assert!(rewired(1, "10.0.0.1", "fa:16:3e:00:00:02", 1442));
        assert!(rewired(1, "10.0.0.1", "fa:16:3e:00:00:01", 1400));
    }
}
