//! A Neutron of a few ports, networks and addresses that binds whatever it is asked to bind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::peer::{Answer, Received};

/// The network of most tests, and what else belongs to it.
pub(crate) const NETWORK: &str = "7d1f0f0e-9a1b-4d0e-8c55-0d5a2f9a4e11";

/// What the test decides and sees.
pub(crate) struct State {
    /// Ports by id.
    pub(crate) ports: BTreeMap<String, Value>,
    /// Networks.
    pub(crate) networks: Vec<Value>,
    /// Subnets.
    pub(crate) subnets: Vec<Value>,
    /// Floating addresses.
    pub(crate) floating_ips: Vec<Value>,
    /// The nth request of this method from now on is refused with a status and Neutron's type of error.
    pub(crate) refuse: Option<(&'static str, usize, u16, &'static str)>,
    /// Requests so far.
    pub(crate) requests: Vec<String>,
    made: u32,
}

impl Default for State {
    fn default() -> Self {
        Self {
            ports: BTreeMap::new(),
            networks: vec![network(NETWORK, "p", &["s"])],
            subnets: vec![
                json!({"id": "s", "network_id": NETWORK, "cidr": "10.0.0.0/24", "gateway_ip": "10.0.0.1",
                "dns_nameservers": ["10.20.0.1"], "host_routes": [], "enable_dhcp": true}),
            ],
            floating_ips: Vec::new(),
            refuse: None,
            requests: Vec::new(),
            made: 0,
        }
    }
}

pub(crate) type Shared = Arc<Mutex<State>>;

/// A network of a project.
pub(crate) fn network(id: &str, project: &str, subnets: &[&str]) -> Value {
    json!({"id": id, "name": "private", "tenant_id": project, "mtu": 1442, "subnets": subnets, "shared": false,
           "router:external": false, "port_security_enabled": true, "provider:network_type": "geneve"})
}

/// A port that a user made.
pub(crate) fn port(id: &str, project: &str, device: &str) -> Value {
    json!({"id": id, "network_id": NETWORK, "tenant_id": project, "device_id": device, "device_owner": "",
           "mac_address": "fa:16:3e:00:00:fe", "fixed_ips": [{"subnet_id": "s", "ip_address": "10.0.0.254"}],
           "admin_state_up": true, "status": "DOWN", "binding:vif_type": "unbound", "binding:vnic_type": "normal",
           "binding:host_id": "", "binding:profile": {"kept": 1, "allocation": "old"}, "binding:vif_details": {}})
}

/// Answers what is asked below `/v2.0/`.
pub(crate) fn answer(state: &Shared, request: &Received) -> Answer {
    let mut state = state.lock().unwrap();
    let path = request.path.trim_start_matches("/v2.0/").to_owned();
    state.requests.push(format!("{} {}", request.method, path.split('/').next().unwrap_or_default()));
    if let Some((method, left, status, kind)) = &mut state.refuse
        && *method == request.method
    {
        *left -= 1;
        if *left == 0 {
            let refusal = json!({"NeutronError": {"type": *kind, "message": format!("because of {kind}"), "detail": ""}});
            let status = *status;
            state.refuse = None;
            return Answer::Json(status, refusal);
        }
    }
    let parts: Vec<&str> = path.split('/').collect();
    match (request.method.as_str(), parts.as_slice()) {
        ("GET", ["ports"]) => found("ports", state.ports.values(), &request.query),
        ("GET", ["networks"]) => found("networks", state.networks.iter(), &request.query),
        ("GET", ["subnets"]) => found("subnets", state.subnets.iter(), &request.query),
        ("GET", ["floatingips"]) => found("floatingips", state.floating_ips.iter(), &request.query),
        ("GET", ["extensions"]) => Answer::Json(200, json!({"extensions": [{"alias": "dns-integration"}]})),
        ("POST", ["ports"]) => create(&mut state, &request.body["port"]),
        ("PUT", ["ports", id]) => match state.ports.get_mut(*id) {
            Some(port) => {
                change(port, &request.body["port"]);
                Answer::Json(200, json!({"port": port}))
            }
            None => not_found(),
        },
        ("DELETE", ["ports", id]) => match state.ports.remove(*id) {
            Some(_) => Answer::Empty(204),
            None => not_found(),
        },
        _ => not_found(),
    }
}

fn not_found() -> Answer {
    Answer::Json(404, json!({"NeutronError": {"type": "PortNotFound", "message": "not found", "detail": ""}}))
}

/// Those of which every field of the query has one of its values.
fn found<'a>(collection: &str, all: impl Iterator<Item = &'a Value>, query: &str) -> Answer {
    let mut wanted: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (field, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        wanted.entry(field).or_default().push(value.to_ascii_lowercase());
    }
    wanted.remove("fields");
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let matches = |one: &&Value| wanted.iter().all(|(field, values)| values.contains(&text(&one[*field])));
    Answer::Json(200, json!({ collection: all.filter(matches).collect::<Vec<_>>() }))
}

fn create(state: &mut State, asked: &Value) -> Answer {
    state.made += 1;
    let id = format!("{:08x}-0000-4000-8000-000000000000", state.made);
    let number = state.made + 10;
    let mut port = json!({"id": id, "mac_address": format!("fa:16:3e:00:00:{number:02x}"), "status": "DOWN",
        "fixed_ips": [{"subnet_id": "s", "ip_address": format!("10.0.0.{number}")}],
        "binding:vnic_type": "normal", "binding:profile": {}, "binding:vif_type": "unbound"});
    change(&mut port, asked);
    state.ports.insert(id, port.clone());
    Answer::Json(201, json!({ "port": port }))
}

fn change(port: &mut Value, asked: &Value) {
    for (field, value) in asked.as_object().unwrap() {
        if field == "fixed_ips" {
            let address = |wanted: &Value| json!({"subnet_id": "s", "ip_address": wanted.get("ip_address").unwrap_or(&json!("10.0.0.99"))});
            port["fixed_ips"] = value.as_array().unwrap().iter().map(address).collect();
        } else {
            port[field] = value.clone();
        }
    }
    let bound = port["binding:host_id"].as_str().is_some_and(|host| !host.is_empty());
    port["binding:vif_type"] = json!(if bound { "ovs" } else { "unbound" });
    port["binding:vif_details"] = json!({"bridge_name": "br-int", "datapath_type": "netdev"});
}
