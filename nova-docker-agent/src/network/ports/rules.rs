//! Who may have which port, and what Neutron's refusals mean to Nova; pure.

use std::collections::BTreeMap;

use common::openstack::neutron::{Network, Port, SecurityGroup};
use serde_json::{Map, Value, json};

use super::Owner;
use crate::network::Error;
use crate::network::request::{Ask, Wanted};

/// Whether the instance may have a port of the user's (Nova: `_validate_requested_port_ids`).
pub(super) fn usable(owner: &Owner<'_>, port: &Port) -> Result<(), Error> {
    let (id, instance) = (port.id.clone(), owner.uuid);
    if port.tenant_id != owner.project_id {
        return Err(Error::PortNotUsable { port: id, instance });
    }
    if !port.device_id.is_empty() {
        return Err(Error::PortInUse(id));
    }
    if let Some(name) = port.dns_name.clone().filter(|name| !name.is_empty() && name != owner.hostname) {
        return Err(Error::PortNotUsableDns {
            port: id,
            instance,
            name,
            hostname: owner.hostname.to_owned(),
        });
    }
    match port.vif_type.as_deref() {
        Some("binding_failed") => Err(Error::PortBindingFailed(id)),
        _ => Ok(()),
    }
}

/// Which network each wanted port is of, in the order of the request.
pub(super) fn assign<'a>(
    (owner, ask): (&Owner<'_>, &Ask),
    given: &BTreeMap<String, Port>,
    networks: &'a [Network],
) -> Result<Vec<(Wanted, &'a Network)>, Error> {
    let wanted = match (ask, networks) {
        (Ask::These(wanted), _) => wanted,
        (Ask::Only { needed: false } | Ask::Nothing, []) => return Ok(Vec::new()),
        (_, []) => return Err(Error::NoNetwork(owner.project_id.to_owned())),
        (_, [only]) => return Ok(vec![(Wanted { network: Some(only.id.clone()), ..<_>::default() }, only)]),
        _ => return Err(Error::NetworkAmbiguous),
    };
    let assign = |wanted: &Wanted| {
        let port = wanted.port.as_ref().and_then(|id| given.get(id));
        let id = port.map(|port| &port.network_id).or(wanted.network.as_ref());
        let id = id.cloned().unwrap_or_default();
        let network = networks.iter().find(|network| network.id == id);
        Ok((wanted.clone(), network.ok_or(Error::NetworkNotFound(id))?))
    };
    wanted.iter().map(assign).collect()
}

/// Nova: `_check_external_network_attach` and `_create_ports_for_instance`.
pub(super) fn may_attach(owner: &Owner<'_>, network: &Network, has_groups: bool) -> Result<(), Error> {
    if network.external && !network.shared && !owner.is_admin {
        return Err(Error::ExternalNetworkAttachForbidden(network.id.clone()));
    }
    let secured = network.port_security_enabled.unwrap_or(true);
    if (secured && network.subnets.is_empty()) || (!secured && has_groups) {
        return Err(Error::SecurityGroupCannotBeApplied(network.id.clone()));
    }
    Ok(())
}

pub(super) fn group_id(known: &[SecurityGroup], group: &str) -> Result<Option<String>, Error> {
    if known.iter().any(|known| known.id == group) {
        return Ok(Some(group.to_owned()));
    }
    let mut named: Vec<&str> =
        known.iter().filter(|known| known.name == group).map(|known| known.id.as_str()).collect();
    named.sort_unstable();
    named.dedup();
    match named.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some((*one).to_owned())),
        _ => Err(Error::NoUniqueMatch(group.to_owned())),
    }
}

/// The binding profile of a port that the user made: with the providers that serve what it asks of placement.
pub(super) fn profile(port: &Port, providers: &BTreeMap<String, String>) -> Option<Map<String, Value>> {
    let mut profile = port.profile.clone().unwrap_or_default();
    if let Some(request) = port.resource_request.as_ref().filter(|_| has_resource_request(port)) {
        let allocation = match request["request_groups"].as_array() {
            Some(groups) => {
                let ids = groups.iter().filter_map(|group| group["id"].as_str());
                let served = ids.filter_map(|id| Some((id.to_owned(), json!(providers.get(id)?))));
                Some(Value::Object(served.collect()))
            }
            // Before the extension port-resource-request-groups: one provider per port.
            None => providers.get(&port.id).map(|provider| json!(provider)),
        };
        if let Some(allocation) = allocation {
            profile.insert("allocation".into(), allocation);
        }
    }
    (!profile.is_empty()).then_some(profile)
}

pub(super) fn has_resource_request(port: &Port) -> bool {
    port.resource_request.as_ref().is_some_and(|request| match request["request_groups"].as_array() {
        Some(groups) => !groups.is_empty(),
        None => request.as_object().is_some_and(|request| !request.is_empty()),
    })
}

/// What a refusal of Neutron means to Nova (`_create_port_minimal`, `_update_port`).
pub(super) fn refused(
    error: common::openstack::Error,
    (network, wanted): (&Network, &Wanted),
    port: Option<&str>,
) -> Error {
    use common::openstack::Error as Rest;
    let code = match &error {
        Rest::Api(api) => api.code.as_str(),
        _ => "",
    };
    let address = || wanted.address.clone().unwrap_or_default();
    match code {
        "OverQuota" => Error::PortLimitExceeded,
        "IpAddressGenerationFailure" => Error::NoMoreFixedIps(network.id.clone()),
        "IpAddressInUse" | "IpAddressAlreadyAllocated" => Error::FixedIpAlreadyInUse(address()),
        "InvalidIpForNetwork" => Error::InvalidInput(format!(
            "Fixed IP {} is not a valid ip address for network {}.",
            address(),
            network.id
        )),
        "MacAddressInUse" => Error::PortInUse(port.unwrap_or_default().to_owned()),
        "HostNotCompatibleWithFixedIps" => Error::FixedIpInvalidOnHost(port.unwrap_or_default().to_owned()),
        "PortNotFound" => Error::PortNotFound(port.unwrap_or_default().to_owned()),
        "NetworkNotFound" => Error::NetworkNotFound(network.id.clone()),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support;

    fn owner<'a>() -> Owner<'a> {
        let (uuid, user) = (test_support::uuid(), <_>::default());
        Owner { uuid, project_id: "p", hostname: "web", zone: None, user, is_admin: false }
    }

    fn port(change: impl FnOnce(&mut Port)) -> Port {
        let mut port = Port { id: "port".into(), tenant_id: "p".into(), ..Port::default() };
        change(&mut port);
        port
    }

    fn network(id: &str) -> Network {
        Network { id: id.into(), tenant_id: "p".into(), subnets: vec!["s".into()], ..Network::default() }
    }

    #[test]
    fn only_a_free_port_of_the_project_is_usable() {
        let class = |change: fn(&mut Port)| usable(&owner(), &port(change)).map_err(|error| error.class().0);
        assert_eq!(class(|_| {}), Ok(()));
        assert_eq!(class(|port| port.dns_name = Some("web".into())), Ok(()));
        assert_eq!(class(|port| port.tenant_id = "other".into()), Err("PortNotUsable"));
        assert_eq!(class(|port| port.device_id = "x".into()), Err("PortInUse"));
        assert_eq!(class(|port| port.dns_name = Some("db".into())), Err("PortNotUsableDNS"));
        assert_eq!(class(|port| port.vif_type = Some("binding_failed".into())), Err("PortBindingFailed"));
    }

    #[test]
    fn the_only_network_is_meant_when_none_is_named() {
        let given = BTreeMap::new();
        let assigned = |ask: &Ask, networks: &[Network]| {
            let plan = assign((&owner(), ask), &given, networks);
            plan.map(|plan| plan.len()).map_err(|error| error.class().0)
        };
        let (one, two) = ([network("a")], [network("a"), network("b")]);
        for ask in [Ask::Only { needed: true }, Ask::Only { needed: false }, Ask::Auto] {
            assert_eq!(assigned(&ask, &one), Ok(1));
            assert_eq!(assigned(&ask, &two), Err("NetworkAmbiguous"));
        }
        assert_eq!(assigned(&Ask::Only { needed: false }, &[]), Ok(0));
        assert_eq!(assigned(&Ask::Only { needed: true }, &[]), Err("InterfaceAttachFailedNoNetwork"));
        let wanted = Wanted { network: Some("b".into()), ..Wanted::default() };
        assert_eq!(assigned(&Ask::These(vec![wanted]), &one), Err("NetworkNotFound"));
    }

    #[test]
    fn the_outside_is_for_administrators_and_groups_need_port_security() {
        let may = |owner: &Owner<'_>, change: fn(&mut Network), groups| {
            let mut network = network("a");
            change(&mut network);
            may_attach(owner, &network, groups).map_err(|error| error.class().0)
        };
        let admin = Owner { is_admin: true, ..owner() };
        let outside = |network: &mut Network| network.external = true;
        assert_eq!(may(&owner(), outside, false), Err("ExternalNetworkAttachForbidden"));
        assert_eq!(may(&admin, outside, false), Ok(()));
        assert_eq!(may(&owner(), |network| (network.external, network.shared) = (true, true), false), Ok(()));
        let bare = |network: &mut Network| network.subnets.clear();
        assert_eq!(may(&owner(), bare, false), Err("SecurityGroupCannotBeApplied"));
        let open = |network: &mut Network| {
            network.port_security_enabled = Some(false);
            network.subnets.clear();
        };
        assert_eq!(may(&owner(), open, false), Ok(()));
        assert_eq!(may(&owner(), open, true), Err("SecurityGroupCannotBeApplied"));
    }

    #[test]
    fn groups_are_found_by_id_and_by_a_name_that_is_unique() {
        let group = |id: &str, name: &str| SecurityGroup { id: id.into(), name: name.into() };
        let known = [group("1", "web"), group("2", "db"), group("3", "db"), group("1", "web")];
        let found = |name| group_id(&known, name).map_err(|error| error.class().0);
        assert_eq!(found("web"), Ok(Some("1".into())));
        assert_eq!(found("2"), Ok(Some("2".into())));
        assert_eq!(found("db"), Err("NoUniqueMatch"));
        assert_eq!(found("none"), Ok(None));
    }

    #[test]
    fn who_serves_a_port_s_bandwidth_is_told_in_both_forms() {
        let providers =
            BTreeMap::from([("group".to_owned(), "rp1".to_owned()), ("port".to_owned(), "rp2".to_owned())]);
        let told = |request: Value| {
            let port = port(|port| port.resource_request = Some(request));
            profile(&port, &providers).map(Value::Object)
        };
        let new = told(json!({"request_groups": [{"id": "group", "resources": {}}], "same_subtree": []}));
        assert_eq!(new, Some(json!({"allocation": {"group": "rp1"}})));
        assert_eq!(
            told(json!({"resources": {"NET_BW_EGR_KILOBIT_PER_SEC": 1}})),
            Some(json!({"allocation": "rp2"}))
        );
        assert_eq!(told(json!({"request_groups": []})), None);
        assert_eq!(profile(&port(|_| {}), &providers), None);
    }
}
