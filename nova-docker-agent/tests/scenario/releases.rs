//! Control planes of several releases: what the agent announces to each, and that it sends none an object of a later one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::messaging::{Client, RequestContext, Target};
use common::objects::manifest;
use serde_json::{Map, Value, json};

use crate::support::neutron::NETWORK;
use crate::support::nova::Database;
use crate::{Cloud, HOST};

/// A release, by what its conductor knows: the service version, and the classes that are others than in 2025.1
/// (`object_data` of Nova's own tests of that release).
struct Release {
    name: &'static str,
    version: i64,
    classes: &'static [(&'static str, &'static str)],
}

const RELEASES: [Release; 4] = [
    Release { name: "2025.1", version: 68, classes: &[] },
    Release { name: "2025.2", version: 70, classes: &[("ImageMetaProps", "1.42")] },
    Release { name: "2026.1", version: 72, classes: &[("ImageMetaProps", "1.42")] },
    Release {
        name: "2026.2",
        version: 74,
        classes: &[("ImageMetaProps", "1.44"), ("ShareMappingList", "1.1")],
    },
];

/// The classes of 2025.1 that a compute service has to do with.
const OF_2025_1: &[(&str, &str)] = &[
    ("BlockDeviceMapping", "1.21"),
    ("BlockDeviceMappingList", "1.18"),
    ("ComputeNode", "1.19"),
    ("ComputeNodeList", "1.17"),
    ("ConsoleAuthToken", "1.3"),
    ("DeviceBus", "1.0"),
    ("DiskMetadata", "1.0"),
    ("Flavor", "1.2"),
    ("HVSpec", "1.2"),
    ("ImageMeta", "1.8"),
    ("ImageMetaProps", "1.39"),
    ("Instance", "2.8"),
    ("InstanceAction", "1.2"),
    ("InstanceActionEvent", "1.4"),
    ("InstanceDeviceMetadata", "1.0"),
    ("InstanceExternalEvent", "1.5"),
    ("InstanceFault", "1.2"),
    ("InstanceGroup", "1.11"),
    ("InstanceInfoCache", "1.5"),
    ("InstanceList", "2.6"),
    ("Migration", "1.8"),
    ("MigrationContext", "1.2"),
    ("MigrationList", "1.5"),
    ("NetworkInterfaceMetadata", "1.2"),
    ("NetworkRequest", "1.3"),
    ("NetworkRequestList", "1.1"),
    ("PCIDeviceBus", "1.0"),
    ("RequestSpec", "1.15"),
    ("Service", "1.22"),
    ("ShareMapping", "1.2"),
    ("ShareMappingList", "1.0"),
    ("VirtualInterface", "1.3"),
    ("VirtualInterfaceList", "1.0"),
];

impl Release {
    fn classes(&self) -> BTreeMap<&str, &str> {
        OF_2025_1.iter().chain(self.classes).copied().collect()
    }

    /// Fails when the conductor of this release could not read an object, or a version that is asked for.
    fn assert_reads(&self, class: &str, version: &str) {
        let parts = |text: &str| text.split('.').map(|part| part.parse::<u32>().unwrap()).collect::<Vec<_>>();
        let classes = self.classes();
        let known = classes.get(class).unwrap_or_else(|| panic!("{class} is in no table of this test"));
        let (sent, known) = (parts(version), parts(known));
        assert!(sent[0] == known[0] && sent[1] <= known[1], "{}: {class} {version}", self.name);
    }

    fn assert_reads_all(&self, value: &Value) {
        match value {
            Value::Object(fields) => {
                let text = |key| fields.get(key).and_then(Value::as_str);
                if let (Some(class), Some(version)) = (text("nova_object.name"), text("nova_object.version"))
                {
                    self.assert_reads(class, version);
                }
                if let Some(asked) = fields.get("object_versions").and_then(Value::as_object) {
                    self.assert_reads_manifest(asked);
                }
                fields.values().for_each(|value| self.assert_reads_all(value));
            }
            Value::Array(values) => values.iter().for_each(|value| self.assert_reads_all(value)),
            _ => {}
        }
    }

    fn assert_reads_manifest(&self, asked: &Map<String, Value>) {
        for (class, version) in asked {
            self.assert_reads(class, version.as_str().unwrap());
        }
    }
}

/// Boots with a port, fails a boot that is given back, and deletes: each conductor can read what it gets.
async fn live_a_life(cloud: &Cloud) {
    cloud.boot_on(&[json!({"network_id": NETWORK, "tag": "front"})]).await;
    cloud.until_plugged(1).await;
    cloud.event("network-vif-plugged", "00000001-0000-4000-8000-000000000000", "completed").await;
    cloud.until("vm_state", "active").await;
    cloud.until_event_ends().await;
    cloud.ask("terminate_instance", "deleting", json!({"bdms": null})).await;
    cloud.nova.until("the row is gone", |db| db.instances.is_empty()).await;
    cloud.docker(|docker| docker.refuse_start = Some((500, "out of luck")));
    let retry = json!({"retry": {"num_attempts": 1, "hosts": [["h1", "h1"]]}});
    cloud.boot(|args| args["filter_properties"] = retry).await;
    cloud.nova.until("the build is given back", |db| db.find("build_instances").is_some()).await;
}

#[tokio::test]
async fn each_release_gets_its_own_version_and_no_object_of_a_later_one() {
    for release in &RELEASES {
        let cloud = Cloud::new(HOST).await;
        cloud.nova.with(|db| db.conductors = release.version);
        cloud.agent(&cloud.life).await.unwrap();
        let announced = cloud.nova.with(|db| db.service.clone().unwrap()["version"].clone());
        assert_eq!(announced, json!(release.version), "{}", release.name);
        live_a_life(&cloud).await;
        let sent = cloud.nova.with(|db: &mut Database| {
            db.log.iter().chain(&db.fanouts).map(|sent| sent.args.clone()).collect::<Vec<_>>()
        });
        assert!(sent.len() > 30, "{}", sent.len());
        sent.iter().for_each(|args| release.assert_reads_all(args));
        release.assert_reads_manifest(manifest::all().as_object().unwrap());
    }
}

/// From 6.5 on (2026.1) resizes come by this way; earlier senders do not use it.
#[tokio::test]
async fn the_second_topic_is_served() {
    let cloud = Cloud::running(HOST).await;
    let broker = Arc::new(cloud.nova.broker.clone());
    let client = Client::start(broker, "nova", Duration::from_secs(5), &cloud.life).await.unwrap();
    let target = Target::topic("compute-alt", "6.5").server(HOST);
    let answer = client.call(&target, &RequestContext::admin(), "get_host_uptime", Map::new()).await;
    assert!(answer.unwrap().as_str().unwrap().contains("load average"));
}
