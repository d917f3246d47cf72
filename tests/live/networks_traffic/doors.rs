//! Security groups: what is closed, what opens and closes while an instance runs, and groups that name groups.

use anyhow::Result;
use serde_json::json;
use tests::network::{Guest, allow, becomes, delete, tcp};

use super::{Checks, Stage, is_not};

pub(super) async fn check(stage: &mut Stage<'_>, checks: &mut Checks) -> Result<()> {
    let (cloud, one, two) = (stage.lab.cloud, stage.one.clone(), stage.two.clone());
    let three = stage.three.clone();
    checks.note("TCP 80 closed", is_not(one.connects(&stage.lab.host, &two.address, 80).await));
    let rule = allow(cloud, &stage.group, &tcp(80)).await?;
    checks.note("TCP 80 open after a rule is added", opens(stage, &one, &two).await);
    delete(cloud, "network", &format!("/v2.0/security-group-rules/{rule}")).await?;
    checks.note("TCP 80 closed after it is removed", closes(stage, &one, &two).await);

    // Who is in the one group may enter the members of the other.
    let clients = stage.lab.group("traffic-clients", &[]).await?;
    let mut from_clients = tcp(80);
    from_clients["remote_group_id"] = json!(clients);
    let web = stage.lab.group("traffic-web", &[from_clients]).await?;
    member(stage, &two, "addSecurityGroup", &web).await?;
    member(stage, &one, "addSecurityGroup", &clients).await?;
    checks.note("a member of the remote group enters", opens(stage, &one, &two).await);
    checks.note("another does not", is_not(three.connects(&stage.lab.host, &two.address, 80).await));
    member(stage, &three, "addSecurityGroup", &clients).await?;
    checks.note("who joins the group while running enters", opens(stage, &three, &two).await);
    member(stage, &three, "removeSecurityGroup", &clients).await?;
    checks.note("who leaves it no longer does", closes(stage, &three, &two).await);
    for (guest, group) in [(&two, &web), (&one, &clients)] {
        member(stage, guest, "removeSecurityGroup", group).await?;
    }
    checks.note("closed again", closes(stage, &one, &two).await);

    let path = format!("/v2.0/security-group-rules?security_group_id={}&direction=egress", stage.group);
    let found = cloud.get("network", &path).await?;
    for rule in tests::cloud::list(&found["security_group_rules"]) {
        let path = format!("/v2.0/security-group-rules/{}", tests::cloud::text(&rule["id"]));
        delete(cloud, "network", &path).await?;
    }
    let host = &stage.lab.host;
    let silent = becomes("no ping leaves", || async { Ok(!one.pings(host, &two.address).await?) }).await;
    checks.note("without a rule for what leaves nothing leaves", silent);
    allow(cloud, &stage.group, &json!({"direction": "egress"})).await?;
    let heard = becomes("pings leave", || one.pings(host, &two.address)).await;
    checks.note("with it everything does", heard);
    Ok(())
}

async fn member(stage: &Stage<'_>, guest: &Guest, action: &str, group: &str) -> Result<()> {
    stage.lab.cloud.action(&guest.id, json!({ action: { "name": group } })).await.map(drop)
}

async fn opens(stage: &Stage<'_>, from: &Guest, to: &Guest) -> Result<()> {
    becomes("TCP 80 is open", || from.connects(&stage.lab.host, &to.address, 80)).await
}

async fn closes(stage: &Stage<'_>, from: &Guest, to: &Guest) -> Result<()> {
    let host = &stage.lab.host;
    becomes("TCP 80 is closed", || async { Ok(!from.connects(host, &to.address, 80).await?) }).await
}
