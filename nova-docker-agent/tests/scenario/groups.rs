//! Members of a server group that come at the same time.

use serde_json::{Value, json};

use crate::support::nova::object;
use crate::{Cloud, HOST, UUID, build, row};

const OTHER: &str = "2d206834-23ab-4b5d-a236-4608f438a9e3";
const GROUP: &str = "99999999-23ab-4b5d-a236-4608f438a9e2";

impl Cloud {
    fn state_of(&self, uuid: &str) -> String {
        self.nova.with(|db| db.instances[uuid]["vm_state"].as_str().unwrap().to_owned())
    }
}

#[tokio::test]
async fn of_two_that_must_not_be_together_one_stays() {
    let cloud = Cloud::running(HOST).await;
    let members = json!({"uuid": GROUP, "policy": "anti-affinity", "rules": {}, "members": [UUID, OTHER]});
    let group = object("InstanceGroup", "1.11", members.as_object().cloned().unwrap());
    cloud.nova.with(|db| {
        db.recorded.insert("InstanceGroup.get_by_uuid".into(), [Ok(group)].into());
        for uuid in [UUID, OTHER] {
            let mut row = row("building", Some("scheduling"));
            row.insert("uuid".into(), json!(uuid));
            db.instances.insert(uuid.into(), row);
        }
    });
    for uuid in [UUID, OTHER] {
        let mut args = build(&cloud.nova);
        args["instance"] = cloud.nova.instance(uuid);
        args["block_device_mapping"] = Value::Null;
        let spec = json!({"scheduler_hints": {"group": [GROUP]}});
        args["request_spec"] = object("RequestSpec", "1.15", spec.as_object().cloned().unwrap());
        cloud.nova.cast(HOST, "build_and_run_instance", args).await;
    }
    let both = |db: &mut crate::support::nova::Database| {
        db.instances.values().all(|row| row["vm_state"] != "building")
    };
    cloud.nova.until("both builds have ended", both).await;
    let mut states = [UUID, OTHER].map(|uuid| cloud.state_of(uuid));
    states.sort();
    assert_eq!(states, ["active", "error"]);
    assert_eq!(cloud.docker(|docker| docker.containers.len()), 1);
}
