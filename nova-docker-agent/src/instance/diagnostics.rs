//! What an instance has used, in the two shapes in which nova-api wants it; pure but for [`gather`].
//!
//! A container has no processors of its own: its time is one number, and `num_cpus` is the flavor's.

use common::messaging::RequestContext;
use common::objects::Instance;
use serde_json::{Map, Value, json};

use super::network::network_info;
use super::spec::Demand;
use crate::agent::Agent;
use crate::error::Error;
use crate::network::model::Vif;
use crate::virt::{NicStats, PowerState, Statistics, Traffic};

/// KiB of a MiB, and bytes of either.
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// The counters of a running instance, with the MAC address of each of its NICs.
#[derive(Debug, Default)]
pub struct Diagnostics {
    statistics: Statistics,
    macs: Vec<(String, String)>,
    vcpus: u64,
    /// The flavor's, in MiB.
    memory_mb: u64,
    /// `/dev/sda` is `sda`.
    disk: String,
    config_drive: bool,
    uptime: Option<i64>,
}

/// Looks at the counters of an instance.
///
/// # Errors
/// [`Error::Refused`] as Nova's InstanceInvalidState unless it runs.
pub async fn gather(
    agent: &Agent,
    context: &RequestContext,
    instance: &Instance,
) -> Result<Diagnostics, Error> {
    let uuid = instance.instance_uuid().ok_or_else(|| Error::Arguments {
        method: "get_diagnostics".into(),
        problem: "the instance has no uuid".into(),
    })?;
    let power = agent.driver.power_state(uuid).await?.seen_in(instance.state());
    if power != PowerState::Running {
        let state = power.word();
        return Err(Error::Refused {
            class: "InstanceInvalidState",
            code: 400,
            message: format!(
                "Instance {uuid} in power state {state}. Cannot get_diagnostics while the instance is in this state."
            ),
        });
    }
    let network_info = network_info(agent, context, instance).await?;
    let macs: Vec<(String, String)> =
        network_info.iter().map(|vif| (device(vif), vif.address.clone())).collect();
    let devices: Vec<String> = macs.iter().map(|(device, _)| device.clone()).collect();
    let statistics = agent.driver.statistics(uuid, &devices).await?;
    let demand = Demand::of(instance);
    let disk = instance.root_device_name().unwrap_or("/dev/sda");
    let launched: Option<jiff::Timestamp> = instance.launched_at().and_then(|at| at.parse().ok());
    Ok(Diagnostics {
        statistics,
        macs,
        vcpus: demand.vcpus,
        memory_mb: demand.memory_mb,
        disk: disk.rsplit('/').next().unwrap_or(disk).to_owned(),
        config_drive: instance.config_drive().is_some_and(|drive| !drive.is_empty()),
        uptime: launched.map(|launched| jiff::Timestamp::now().duration_since(launched).as_secs()),
    })
}

/// The device of a port on this host.
fn device(vif: &Vif) -> String {
    vif.devname.clone().unwrap_or_else(|| format!("tap{}", vif.id).chars().take(14).collect())
}

impl Diagnostics {
    /// What API versions before 2.48 show: names and numbers as of libvirt's driver, memory in KiB.
    pub fn flat(&self) -> Value {
        let Statistics { container, nics } = &self.statistics;
        let mut numbers = Map::new();
        let mut put = |name: String, number: u64| numbers.insert(name, json!(number));
        put("cpu0_time".into(), container.cpu_time);
        put("memory".into(), self.memory_mb * KIB);
        put("memory-actual".into(), self.memory_mb * KIB);
        put("memory-rss".into(), container.memory_used / KIB);
        put(format!("{}_read", self.disk), container.disk.read_bytes);
        put(format!("{}_write", self.disk), container.disk.write_bytes);
        for (name, requests) in
            [("read", container.disk.read_requests), ("write", container.disk.write_requests)]
        {
            if let Some(requests) = requests {
                put(format!("{}_{name}_req", self.disk), requests);
            }
        }
        for NicStats { device, received, sent } in nics {
            for (way, Traffic { bytes, packets, errors, dropped }) in [("rx", received), ("tx", sent)] {
                put(format!("{device}_{way}"), *bytes);
                put(format!("{device}_{way}_packets"), *packets);
                put(format!("{device}_{way}_errors"), *errors);
                put(format!("{device}_{way}_drop"), *dropped);
            }
        }
        Value::Object(numbers)
    }

    /// Nova's object `Diagnostics`, for 2.48 and later: memory in MiB. Its `driver` may only be one that Nova knows.
    pub fn object(&self) -> Value {
        let Statistics { container, .. } = &self.statistics;
        let nics: Vec<Value> = self.macs.iter().map(|nic| self.nic(nic)).collect();
        let disk = container.disk;
        object(
            "Diagnostics",
            json!({
                "state": PowerState::Running.word(),
                "driver": "libvirt",
                "hypervisor": "docker",
                "hypervisor_os": "linux",
                "uptime": self.uptime,
                "config_drive": self.config_drive,
                "num_cpus": self.vcpus,
                "num_nics": nics.len(),
                "num_disks": 1,
                "memory_details": object(
                    "MemoryDiagnostics",
                    json!({"maximum": self.memory_mb, "used": container.memory_used / MIB}),
                ),
                "cpu_details": [object(
                    "CpuDiagnostics",
                    json!({"id": 0, "time": container.cpu_time, "utilisation": null}),
                )],
                "nic_details": nics,
                "disk_details": [object(
                    "DiskDiagnostics",
                    json!({
                        "read_bytes": disk.read_bytes, "read_requests": disk.read_requests,
                        "write_bytes": disk.write_bytes, "write_requests": disk.write_requests,
                        "errors_count": null,
                    }),
                )],
            }),
        )
    }

    /// A NIC that is not plugged has no counters.
    fn nic(&self, (device, mac): &(String, String)) -> Value {
        let found = self.statistics.nics.iter().find(|nic| nic.device == *device);
        let mut data = json!({"mac_address": mac, "rx_rate": null, "tx_rate": null});
        for (way, traffic) in [("rx", found.map(|nic| nic.received)), ("tx", found.map(|nic| nic.sent))] {
            data[format!("{way}_octets")] = json!(traffic.map(|traffic| traffic.bytes));
            data[format!("{way}_packets")] = json!(traffic.map(|traffic| traffic.packets));
            data[format!("{way}_errors")] = json!(traffic.map(|traffic| traffic.errors));
            data[format!("{way}_drop")] = json!(traffic.map(|traffic| traffic.dropped));
        }
        object("NicDiagnostics", data)
    }
}

/// An object of version 1.0 that is only answered, never saved.
fn object(name: &str, data: Value) -> Value {
    json!({
        "nova_object.name": name, "nova_object.namespace": "nova", "nova_object.version": "1.0",
        "nova_object.data": data,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::docker::{DiskStats, Stats};

    fn diagnostics() -> Diagnostics {
        let disk =
            DiskStats { read_bytes: 1, read_requests: Some(2), write_bytes: 3, write_requests: Some(4) };
        let container = Stats { cpu_time: 42, memory_used: 5 * MIB + 7, disk };
        let received = Traffic { bytes: 10, packets: 11, errors: 12, dropped: 13 };
        let nic = NicStats { device: "tap1".into(), received, sent: Traffic::default() };
        let mac = |device: &str, mac: &str| (device.to_owned(), mac.to_owned());
        Diagnostics {
            statistics: Statistics { container, nics: vec![nic] },
            macs: vec![mac("tap1", "fa:16:3e:00:00:01"), mac("tap2", "fa:16:3e:00:00:02")],
            vcpus: 2,
            memory_mb: 64,
            disk: "sda".into(),
            config_drive: false,
            uptime: Some(9),
        }
    }

    #[test]
    fn the_old_shape_is_flat() {
        let flat = diagnostics().flat();
        for (name, number) in [
            ("cpu0_time", 42),
            ("memory", 64 * 1024),
            ("memory-rss", 5 * 1024),
            ("sda_write_req", 4),
            ("tap1_rx", 10),
            ("tap1_rx_drop", 13),
            ("tap1_tx", 0),
        ] {
            assert_eq!(flat[name], number, "{name}");
        }
        assert!(flat.get("tap2_rx").is_none());
    }

    #[test]
    fn the_new_shape_is_nova_s_object() {
        let object = diagnostics().object();
        let data = &object["nova_object.data"];
        assert_eq!(
            (&data["num_cpus"], &data["num_nics"], &data["num_disks"]),
            (&json!(2), &json!(2), &json!(1))
        );
        assert_eq!(data["memory_details"]["nova_object.data"], json!({"maximum": 64, "used": 5}));
        let nic = |at: usize| &data["nic_details"][at]["nova_object.data"];
        assert_eq!((&nic(0)["rx_octets"], &nic(0)["mac_address"]), (&json!(10), &json!("fa:16:3e:00:00:01")));
        assert_eq!(nic(1)["rx_octets"], Value::Null);
        // Nova refuses any other word.
        assert_eq!((&data["state"], &data["driver"]), (&json!("running"), &json!("libvirt")));
    }
}
