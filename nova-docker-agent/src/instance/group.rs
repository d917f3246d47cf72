//! Server groups: the scheduler decides, but two decisions at once may break a policy; so the host looks again before it
//! takes an instance (Nova: `_validate_instance_group_policy`).

use std::collections::BTreeSet;

use common::messaging::RequestContext;
use common::objects::{Instance, InstanceGroup, Migration};
use serde_json::{Value, json};
use tokio::sync::MutexGuard;

use crate::agent::Agent;
use crate::conductor;
use crate::error::Error;

/// As long as this is kept no other member of a group claims this host: kept from before a claim until after the look at the
/// group, or the other way round, of two members that come at once one finds room. None where no group is concerned.
/// `request_spec`: with the scheduler's hints.
pub async fn alone<'a>(agent: &'a Agent, request_spec: &Value) -> Option<MutexGuard<'a, ()>> {
    group_of(request_spec)?;
    Some(agent.groups.lock().await)
}

/// Refuses an instance whose group does not want it here.
///
/// # Errors
/// [`Error::Refused`] as Nova's GroupAffinityViolation; what the conductor says.
pub async fn validate(
    agent: &Agent,
    context: &RequestContext,
    (instance, request_spec): (&Instance, &Value),
) -> Result<(), Error> {
    let Some(hint) = group_of(request_spec) else { return Ok(()) };
    let group = match agent.conductor.group(context, hint).await {
        Err(error) if error.is("InstanceGroupNotFound") => return Ok(()),
        other => other?,
    };
    let own = instance.uuid().unwrap_or_default();
    let members = group.members().and_then(Value::as_array).into_iter().flatten();
    let others: BTreeSet<&str> = members.filter_map(Value::as_str).filter(|member| *member != own).collect();
    if others.is_empty() {
        return Ok(());
    }
    let rows = rows(agent, context, &others).await?;
    let host = agent.config.host.as_str();
    let broken = match group.policy() {
        Some("anti-affinity") => {
            let coming = agent.conductor.migrations_in_progress(context, &agent.tracker.node_name()).await?;
            together(&group, (&rows, &coming), host)
        }
        Some("affinity") => apart(&rows, host),
        _ => None,
    };
    match broken {
        None => Ok(()),
        Some(policy) => Err(Error::Refused {
            class: "GroupAffinityViolation",
            code: 500,
            message: format!("{policy} server group policy was violated"),
        }),
    }
}

async fn rows(
    agent: &Agent,
    context: &RequestContext,
    members: &BTreeSet<&str>,
) -> Result<Vec<Instance>, conductor::Error> {
    let filters = json!({"uuid": members, "deleted": false});
    agent.conductor.instances_by_filters(context, filters, &[]).await
}

/// The group that a request names by the hint `group`.
fn group_of(request_spec: &Value) -> Option<&str> {
    let hint = request_spec.pointer("/nova_object.data/scheduler_hints/group")?;
    let hint = hint.as_array().map_or(Some(hint), |hints| hints.first())?;
    hint.as_str().filter(|hint| !hint.is_empty())
}

/// Whether more members are on this host, or on their way, than may be.
fn together(
    group: &InstanceGroup,
    (rows, coming): (&[Instance], &[Migration]),
    host: &str,
) -> Option<&'static str> {
    let comes =
        |instance: &Instance| coming.iter().any(|migration| migration.instance_uuid() == instance.uuid());
    let here = rows.iter().filter(|instance| instance.host() == Some(host) || comes(instance)).count();
    let limit = group.rules().get("max_server_per_host").and_then(|text| text.parse().ok()).unwrap_or(1);
    (here >= limit).then_some("Anti-affinity")
}

/// Whether the other members are on hosts, and none of them on this one.
fn apart(rows: &[Instance], host: &str) -> Option<&'static str> {
    let mut hosts = rows.iter().filter_map(Instance::host).peekable();
    (hosts.peek().is_some() && !hosts.any(|other| other == host)).then_some("Affinity")
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::objects::Versioned;

    fn parse<T: Versioned>(data: Value) -> T {
        T::parse(json!({"nova_object.name": T::NAME, "nova_object.namespace": "nova",
            "nova_object.version": T::VERSION, "nova_object.data": data}))
        .unwrap()
    }

    fn on(host: Option<&str>, uuid: &str) -> Instance {
        parse(json!({"uuid": uuid, "host": host}))
    }

    #[test]
    fn the_hint_is_a_list_of_one_or_a_text() {
        let spec = |hint: Value| json!({"nova_object.data": {"scheduler_hints": {"group": hint}}});
        assert_eq!(group_of(&spec(json!(["g"]))), Some("g"));
        assert_eq!(group_of(&spec(json!("g"))), Some("g"));
        assert_eq!(group_of(&json!({"nova_object.data": {"scheduler_hints": {}}})), None);
        assert_eq!(group_of(&Value::Null), None);
    }

    #[test]
    fn members_that_want_to_be_apart_count_also_on_their_way() {
        let group = |rules: Value| parse::<InstanceGroup>(json!({"policy": "anti-affinity", "rules": rules}));
        let rows = [on(Some("a"), "1"), on(Some("b"), "2")];
        let coming = [parse::<Migration>(json!({"instance_uuid": "2"}))];
        assert_eq!(together(&group(json!({})), (&rows, &[]), "a"), Some("Anti-affinity"));
        assert_eq!(together(&group(json!({})), (&rows, &[]), "c"), None);
        assert_eq!(together(&group(json!({})), (&rows, &coming), "c"), Some("Anti-affinity"));
        assert_eq!(together(&group(json!({"max_server_per_host": "2"})), (&rows, &[]), "a"), None);
    }

    #[test]
    fn members_that_want_to_be_together_follow_the_first() {
        assert_eq!(apart(&[on(None, "1")], "a"), None, "it is on no host yet");
        assert_eq!(apart(&[on(Some("b"), "1")], "a"), Some("Affinity"));
        assert_eq!(apart(&[on(Some("b"), "1"), on(Some("a"), "2")], "a"), None);
    }
}
