//! The agent is killed after each step of a build, one that succeeds and one that does not, and started again: nothing is left
//! over, and no instance waits for a build that nobody makes.

use std::time::Duration;

use serde_json::{Value, json};

use crate::kills::{MOST_STEPS, started_again};
use crate::kills_of_ports::{OWN, is_over};
use crate::support::agent::Cloud as Peers;
use crate::support::neutron::{self, NETWORK};
use crate::{Cloud, HOST, UUID, networks};

#[tokio::test]
async fn during_a_build() {
    built_with(json!({"network_id": NETWORK})).await;
}

#[tokio::test]
async fn during_a_build_with_a_port_of_the_user() {
    built_with(json!({"network_id": NETWORK, "port_id": OWN})).await;
}

/// Kills the agent after each step of a build with this port; what was deleted then left nothing, and the user's port is free.
async fn built_with(port: Value) {
    for steps in 0..MOST_STEPS {
        let cloud = Cloud { adjust: |config| config.vif_plugging_timeout = 0, ..Peers::new(HOST).await };
        let runtime = cloud.agent_apart().await;
        cloud.neutron.lock().unwrap().ports.insert(OWN.into(), neutron::port(OWN, "p", ""));
        cloud.fuse.burn(steps);
        cloud.consumers.lock().unwrap().push(UUID.into());
        cloud.boot(|args| args["requested_networks"] = networks(std::slice::from_ref(&port))).await;
        while !cloud.fuse.is_blown() && !is_over(&cloud) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let survived = !cloud.fuse.is_blown();
        let cloud = started_again(cloud, runtime).await;
        let state = cloud.field("vm_state").as_str().unwrap().to_owned();
        // One whose request is in the queue still would be built; here it was taken out of it.
        assert!(matches!(state.as_str(), "active" | "error" | "building"), "after {steps} steps: {state}");
        cloud.ask("terminate_instance", "deleting", json!({"bdms": null})).await;
        cloud.nova.until("the row is gone", |db| db.instances.is_empty()).await;
        let own = cloud.neutron.lock().unwrap().ports.remove(OWN);
        assert_eq!(own.map(|port| port["device_id"].clone()), Some(json!("")), "after {steps} steps");
        cloud.nothing_is_left();
        assert!(cloud.docker(|docker| docker.containers.is_empty()), "after {steps} steps");
        if survived {
            assert_eq!(state, "active");
            return;
        }
    }
    panic!("more steps than can be");
}

/// The provider of another host.
const ELSEWHERE: &str = "99999999-0000-4000-8000-000000000000";

impl Cloud {
    fn holds(&self, provider: &str) -> bool {
        let ledger = self.ledger.lock().unwrap();
        ledger.as_ref().unwrap().get(UUID).is_some_and(|held| held.contains_key(provider))
    }

    /// As the scheduler, which claims the host before it is asked; its provider.
    fn claimed(&self) -> String {
        let node = self.nova.with(|db| db.node.as_ref().unwrap()["uuid"].as_str().unwrap().to_owned());
        let held = [(node.clone(), json!({"VCPU": 1}))].into();
        *self.ledger.lock().unwrap() = Some([(UUID.to_owned(), held)].into());
        node
    }

    fn is_given_back(&self) -> bool {
        self.nova.with(|db| db.find("build_instances").is_some())
    }

    /// As the conductor, which claims the next host for a build before it asks it.
    fn conduct(&self) {
        if self.is_given_back() {
            let claimed = [(ELSEWHERE.to_owned(), json!({"VCPU": 1}))].into();
            self.ledger.lock().unwrap().as_mut().unwrap().insert(UUID.to_owned(), claimed);
        }
    }
}

/// Kills the agent after each step of a build whose container does not start.
async fn failed_with(filter_properties: Value) {
    for steps in 1..MOST_STEPS {
        let cloud = Peers::new(HOST).await;
        let runtime = cloud.agent_apart().await;
        cloud.docker(|docker| docker.refuse_start = Some((500, "no luck today")));
        let node = cloud.claimed();
        cloud.fuse.burn(steps);
        cloud
            .boot(|args| {
                args["filter_properties"] = filter_properties.clone();
                let row = json!({"updated_at": "2026-01-01T00:00:00Z"});
                args["instance"]["nova_object.data"]
                    .as_object_mut()
                    .unwrap()
                    .extend(row.as_object().cloned().unwrap());
            })
            .await;
        while !cloud.fuse.is_blown() && !is_over(&cloud) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let survived = !cloud.fuse.is_blown();
        // What was sent last arrives.
        tokio::time::sleep(Duration::from_millis(50)).await;
        cloud.conduct();
        let cloud = started_again(cloud, runtime).await;
        let when = format!("after {steps} steps");
        for _ in 0..300 {
            if cloud.is_given_back() || cloud.field("task_state").is_null() {
                break;
            }
            // A request that was lost with the agent is waited for a while: it may be in the queue.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (state, task, host) = (cloud.field("vm_state"), cloud.field("task_state"), cloud.field("host"));
        if cloud.is_given_back() {
            assert_eq!((state, task), (json!("building"), json!("scheduling")), "{when}");
            assert!(cloud.holds(ELSEWHERE), "{when}: it is another host's by now");
        } else {
            assert_eq!((state, task), (json!("error"), Value::Null), "{when}");
            // What is of a host goes with the delete.
            assert_eq!(cloud.holds(&node), !host.is_null(), "{when}: on {host}");
        }
        if survived {
            return;
        }
    }
    panic!("more steps than can be");
}

#[tokio::test]
async fn during_a_build_that_fails() {
    failed_with(json!({"limits": {}})).await;
}

#[tokio::test]
async fn during_a_build_that_is_given_back() {
    failed_with(json!({"retry": {"num_attempts": 1, "hosts": [[HOST, HOST]]}})).await;
}

#[tokio::test]
async fn a_build_that_can_be_neither_read_nor_recorded_is_found_by_its_claim_at_the_next_start() {
    let cloud = Peers::running(HOST).await;
    let node = cloud.claimed();
    // The conductor does not save, and does not tell either.
    cloud.nova.with(|db| db.silent = Some(("Instance.save".to_owned(), false)));
    cloud.boot(|args| args["instance"]["nova_object.data"]["hostname"] = json!({"not": "text"})).await;
    cloud.nova.until("it is asked to save", |db| db.silent.is_none()).await;
    cloud.nova.with(|db| db.silent = Some(("Instance.get_by_uuid".to_owned(), false)));
    cloud.nova.until("it is asked whether it has", |db| db.silent.is_none()).await;
    // A second of patience, and what comes then.
    tokio::time::sleep(Duration::from_millis(1300)).await;
    assert_eq!(cloud.field("task_state"), json!("scheduling"));
    assert!(cloud.holds(&node), "nothing leads to the instance any more");

    let cloud = cloud.killed_and_started().await;
    cloud.until("vm_state", "error").await;
    for _ in 0..100 {
        if !cloud.holds(&node) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the claim of an instance in ERROR stays");
}
