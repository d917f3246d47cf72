//! Descriptions and set-up of guests: what cannot be followed ends a build in time, and what is made again is the same.

use serde_json::{Value, json};

use crate::support::neutron::NETWORK;
use crate::{CONTAINER, Cloud, HOST, UUID, networks};

impl Cloud {
    /// A boot with a port that must fail; returns the sentence of the fault.
    async fn fails(&self, change: impl FnOnce(&mut Value)) -> String {
        self.boot(|args| {
            args["requested_networks"] = networks(&[json!({"network_id": NETWORK})]);
            change(args);
        })
        .await;
        self.until("vm_state", "error").await;
        self.until_event_ends().await;
        self.nothing_is_left();
        assert!(self.allocations_deleted());
        self.fault()
    }

    /// The command of the container that was created last.
    fn command(&self) -> Value {
        self.docker(|docker| docker.bodies[CONTAINER]["Cmd"].clone())
    }
}

#[tokio::test]
async fn what_must_not_be_described_is_refused_before_a_port_is_made() {
    let cloud = Cloud::running(HOST).await;
    let fault = cloud.fails(|args| args["image"]["properties"]["docker_privileged"] = json!("true")).await;
    assert!(
        fault.contains("the image property docker_privileged describes nothing that a user may set"),
        "{fault}"
    );
    let asked = cloud.ports(|neutron| neutron.requests.clone());
    assert!(!asked.iter().any(|request| request.starts_with("POST")), "{asked:?}");
}

/// Covers: build_and_run_instance
#[tokio::test]
async fn certificates_that_nobody_would_check_end_the_build() {
    let cloud = Cloud::running(HOST).await;
    let certificates = json!({"nova_object.name": "TrustedCerts", "nova_object.namespace": "nova",
                              "nova_object.version": "1.0", "nova_object.data": {"ids": ["c-1"]}});
    let fault =
        cloud.fails(|args| args["instance"]["nova_object.data"]["trusted_certs"] = certificates).await;
    assert!(fault.contains("does not support certificate validation"), "{fault}");
}

#[tokio::test]
async fn files_that_are_no_base64_end_the_build() {
    let cloud = Cloud::running(HOST).await;
    let fault = cloud.fails(|args| args["injected_files"] = json!([["/etc/motd", "aGVsbG8"]])).await;
    assert!(fault.contains("Invalid Base 64 data for file /etc/motd"), "{fault}");
}

#[tokio::test]
async fn without_nova_metadata_there_is_no_config_drive() {
    let cloud = Cloud::running(HOST).await;
    let fault =
        cloud.fails(|args| args["image"]["properties"]["img_config_drive"] = json!("mandatory")).await;
    assert!(fault.contains("it was not told [docker] metadata_url"), "{fault}");
    assert!(!cloud.directory.path().join("instances").join(UUID).exists(), "its files are left");
}

#[tokio::test]
async fn a_property_that_nova_cut_is_whole_again_when_the_container_is_made_again() {
    let cloud = Cloud::running(HOST).await;
    let whole = "x".repeat(300);
    cloud.boot(|args| args["image"]["properties"]["os_command_line"] = json!(whole)).await;
    cloud.until("vm_state", "active").await;
    assert_eq!(cloud.command(), json!([whole]));

    let kept = json!({"image_container_format": "docker", "image_disk_format": "raw",
                      "image_os_command_line": whole[..255]});
    cloud.nova.with(|db| db.instances.get_mut(UUID).unwrap().insert("system_metadata".into(), kept));
    let lose =
        || cloud.docker(|docker| (docker.containers.remove(CONTAINER), docker.bodies.remove(CONTAINER)));
    let glance = |value: &str| {
        let record = json!({"id": "i-1", "status": "active", "os_command_line": value});
        cloud.glance(|glance| glance.images.insert("i-1".into(), record.as_object().cloned().unwrap()));
    };
    lose();
    glance(&whole);
    cloud.ask("reboot_instance", "rebooting_hard", json!({"reboot_type": "HARD"})).await;
    cloud.until("vm_state", "active").await;
    cloud.nova.until("the reboot has ended", |db| db.instances[UUID]["task_state"].is_null()).await;
    assert_eq!(cloud.command(), json!([whole]));

    // Another image under the same id is not what the instance was made from.
    lose();
    glance("y");
    cloud.ask("reboot_instance", "rebooting_hard", json!({"reboot_type": "HARD"})).await;
    cloud.until("vm_state", "error").await;
    assert!(cloud.fault().contains("it was changed in Glance since"), "{}", cloud.fault());
}

#[tokio::test]
async fn what_nova_cut_of_a_snapshot_s_description_is_as_its_base_has_it() {
    let cloud = Cloud::running(HOST).await;
    let whole = "x".repeat(300);
    let cut = whole[..255].to_owned();
    cloud.glance(|glance| {
        for (id, command, base) in [("i-1", &whole, ""), ("i-2", &cut, "i-1"), ("i-3", &cut, "i-2")] {
            let record =
                json!({"id": id, "status": "active", "os_command_line": command, "base_image_ref": base});
            glance.images.insert(id.into(), record.as_object().cloned().unwrap());
        }
    });
    cloud
        .boot(|args| {
            args["image"]["id"] = json!("i-3");
            args["image"]["properties"]["os_command_line"] = json!(cut);
        })
        .await;
    cloud.until("vm_state", "active").await;
    assert_eq!(cloud.command(), json!([whole]));
}
