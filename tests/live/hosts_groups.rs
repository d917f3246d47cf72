//! Which of two hosts a server may be on: server groups, and aggregates that are availability zones.

use anyhow::{Result, ensure};
use serde_json::json;
use tests::cloud::{Boot, Cloud, text};

use crate::hosts::{host_of, hosts, with_second};
use crate::{alone, small};

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_server_group_holds_across_hosts() -> Result<()> {
    let _platform = alone().await;
    with_second(groups()).await
}

async fn groups() -> Result<()> {
    let cloud = Cloud::admin().await?;
    let mut left = Vec::new();
    for (policy, hosts_wanted) in [("anti-affinity", 2), ("affinity", 1)] {
        let body = json!({"server_group": {"name": policy, "policy": policy}});
        let group =
            text(&cloud.post("compute", "/os-server-groups", body).await?["server_group"]["id"]).to_owned();
        let member = |name| Boot { hints: json!({ "group": group }), ..small(name) };
        // Both at once: the scheduler may decide twice the same, and the hosts look again.
        let (one, two) = (cloud.boot(&member("groups-one")).await?, cloud.boot(&member("groups-two")).await?);
        for server in [&one, &two] {
            cloud.wait_for(server, "ACTIVE").await?;
        }
        let on = [host_of(&cloud, &one).await?, host_of(&cloud, &two).await?];
        ensure!((on[0] != on[1]) == (hosts_wanted == 2), "{policy}: {on:?}");
        if policy == "anti-affinity" {
            let third = cloud.boot(&member("groups-three")).await?;
            let failed = cloud.wait_for(&third, "ERROR").await?;
            ensure!(failed["fault"]["message"].to_string().contains("No valid host"), "{}", failed["fault"]);
            left.push(third);
            // A move would bring them together.
            cloud.action(&one, json!({"migrate": null})).await?;
            let stays = cloud.wait_for(&one, "ACTIVE").await?;
            ensure!(host_of(&cloud, text(&stays["id"])).await? == on[0], "it has moved");
        }
        left.extend([one, two]);
        for server in left.drain(..) {
            cloud.delete(&server).await?;
        }
        tests::network::delete(&cloud, "compute", &format!("/os-server-groups/{group}")).await?;
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn an_aggregate_is_an_availability_zone() -> Result<()> {
    let _platform = alone().await;
    with_second(zone()).await
}

async fn zone() -> Result<()> {
    let cloud = Cloud::admin().await?;
    let [_, second] = hosts().await?;
    let body = json!({"aggregate": {"name": "second", "availability_zone": "zone-2"}});
    let aggregate = cloud.post("compute", "/os-aggregates", body).await?["aggregate"]["id"].to_string();
    let path = format!("/os-aggregates/{aggregate}/action");
    cloud.post("compute", &path, json!({"add_host": {"host": second}})).await?;
    let booted = async {
        let id = cloud.boot(&Boot { extra: json!({"availability_zone": "zone-2"}), ..small("zone") }).await?;
        let server = cloud.wait_for(&id, "ACTIVE").await?;
        ensure!(host_of(&cloud, &id).await? == second, "it is not on the host of the zone");
        ensure!(server["OS-EXT-AZ:availability_zone"] == "zone-2", "{server}");
        cloud.delete(&id).await
    };
    let booted = booted.await;
    cloud.post("compute", &path, json!({"remove_host": {"host": second}})).await?;
    tests::network::delete(&cloud, "compute", &format!("/os-aggregates/{aggregate}")).await?;
    booted
}
