//! What the user asked for, from the arguments of an RPC; pure.

use std::collections::BTreeMap;

use common::objects::{self, NetworkRequest, list_strictly};
use serde_json::Value;

/// Which ports an instance shall get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// None (`--nic none`).
    Nothing,
    /// One of the only network that the project has. `needed`: it is an error to have none.
    Only {
        /// The user did ask for a port, if not for a network.
        needed: bool,
    },
    /// As [`Ask::Only`], of a network that Neutron makes if there is none (`--nic auto`).
    Auto,
    /// These.
    These(Vec<Wanted>),
}

/// One port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// This port of the user's.
    pub port: Option<String>,
    /// A new port of this network.
    pub network: Option<String>,
    /// With this address.
    pub address: Option<String>,
    /// The user's name for it.
    pub tag: Option<String>,
}

impl Ask {
    /// Reads a `NetworkRequestList`.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(requested_networks: &Value) -> Result<Self, objects::Error> {
        if requested_networks.is_null() {
            return Ok(Self::Only { needed: false });
        }
        let requests: Vec<NetworkRequest> = list_strictly(requested_networks.clone())?;
        Ok(match requests.as_slice() {
            [] => Self::Only { needed: false },
            [one] if one.is_none() => Self::Nothing,
            [one] if one.is_auto() => Self::Auto,
            [one] if one.is_unspecified() => Self::Only { needed: true },
            many => Self::These(many.iter().map(Wanted::of).collect()),
        })
    }

    /// The ports that exist already: they outlive the instance.
    pub fn given(&self) -> impl Iterator<Item = &str> {
        let wanted = match self {
            Self::These(wanted) => wanted.as_slice(),
            _ => &[],
        };
        wanted.iter().filter_map(|wanted| wanted.port.as_deref())
    }
}

impl Wanted {
    fn of(request: &NetworkRequest) -> Self {
        let text = |value: Option<&str>| value.map(str::to_owned);
        Self {
            port: text(request.port_id()),
            network: text(request.network_id()),
            address: text(request.address()),
            tag: text(request.tag()),
        }
    }
}

/// Names or ids of security groups, as every release sends them. The group `default` alone is what Neutron gives anyway.
pub fn security_groups(argument: &Value) -> Vec<String> {
    let list = argument.as_array().or_else(|| argument["nova_object.data"]["objects"].as_array());
    let name = |group: &Value| {
        let data = group.get("nova_object.data").unwrap_or(group);
        let named = data.as_str().or_else(|| data["uuid"].as_str()).or_else(|| data["name"].as_str());
        named.map(str::to_owned)
    };
    let groups: Vec<String> = list.into_iter().flatten().filter_map(name).collect();
    if groups == ["default"] { Vec::new() } else { groups }
}

/// Which provider serves each request for resources of a port, from the `RequestSpec` (Nova:
/// `get_request_group_mapping`).
pub fn provider_mapping(request_spec: &Value) -> BTreeMap<String, String> {
    let groups = request_spec["nova_object.data"]["requested_resources"].as_array();
    let pair = |group: &Value| {
        let data = &group["nova_object.data"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Some((text(&data["requester_id"])?, text(&data["provider_uuids"][0])?))
    };
    groups.into_iter().flatten().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn list(requests: &[Value]) -> Value {
        let objects: Vec<Value> = requests
            .iter()
            .map(|data| {
                json!({"nova_object.name": "NetworkRequest", "nova_object.namespace": "nova",
                       "nova_object.version": "1.3", "nova_object.data": data})
            })
            .collect();
        json!({"nova_object.name": "NetworkRequestList", "nova_object.namespace": "nova",
               "nova_object.version": "1.1", "nova_object.data": {"objects": objects}})
    }

    #[test]
    fn what_users_say_is_told_apart() {
        let read = |requests: &[Value]| Ask::read(&list(requests)).unwrap();
        assert_eq!(read(&[json!({"network_id": "none"})]), Ask::Nothing);
        assert_eq!(read(&[json!({"network_id": "auto"})]), Ask::Auto);
        assert_eq!(read(&[json!({"network_id": null, "tag": null})]), Ask::Only { needed: true });
        assert_eq!(read(&[]), Ask::Only { needed: false });
        assert_eq!(Ask::read(&Value::Null).unwrap(), Ask::Only { needed: false });
        let these =
            read(&[json!({"port_id": "p"}), json!({"network_id": "n", "address": "10.0.0.5", "tag": "t"})]);
        assert_eq!(these.given().collect::<Vec<_>>(), ["p"]);
        let Ask::These(wanted) = these else { panic!("{these:?}") };
        assert_eq!((wanted[1].address.as_deref(), wanted[1].tag.as_deref()), (Some("10.0.0.5"), Some("t")));
        assert!(Ask::read(&json!({"nonsense": 1})).is_err());
    }

    #[test]
    fn groups_are_read_in_every_form() {
        assert_eq!(security_groups(&json!(["default"])), [""; 0]);
        assert_eq!(security_groups(&json!(["default", "web"])), ["default", "web"]);
        let objects = json!({"nova_object.data": {"objects": [{"nova_object.data": {"name": "web"}}]}});
        assert_eq!(security_groups(&objects), ["web"]);
        assert_eq!(security_groups(&Value::Null), [""; 0]);
    }

    #[test]
    fn providers_are_found_by_the_port_that_asked() {
        let spec = json!({"nova_object.data": {"requested_resources": [
            {"nova_object.data": {"requester_id": "p", "provider_uuids": ["rp"]}},
            {"nova_object.data": {"requester_id": null, "provider_uuids": []}}]}});
        assert_eq!(provider_mapping(&spec), BTreeMap::from([("p".to_owned(), "rp".to_owned())]));
        assert!(provider_mapping(&Value::Null).is_empty());
    }
}
