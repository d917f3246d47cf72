//! What templates see, and that they cannot see what is not there.

use std::collections::BTreeMap;

use common::config::Service;

use super::*;
use crate::plan::order::tests::services;

fn templates(text: &str) -> Templates {
    let mut tera = Tera::default();
    tera.add_raw_template("x.tera", text).unwrap();
    Templates { tera, dir: PathBuf::new() }
}

fn platform(services: BTreeMap<String, Service>) -> Platform {
    let configuration = common::config::Configuration::default();
    let config =
        common::config::Config { services: Default::default(), configuration, templates: PathBuf::new() };
    let names = services.keys().cloned().collect();
    Platform { config, names, services, database: None, broker: None, identity: None, front: None }
}

#[test]
fn an_undefined_variable_is_an_error_with_its_place() {
    let all = services(&[("app", &[])]);
    let context =
        service_context(&platform(all.clone()), &Secrets::default(), ("app", &all["app"]), Path::new("/x"));
    let error =
        templates("a\nb = {{ secrets.nothing }}\n").render("x.tera", &context).unwrap_err().to_string();
    assert!(error.contains("x.tera:2:"), "{error}");
}

#[test]
fn a_service_in_anothers_network_is_reached_as_that_one() {
    let mut all = services(&[("front", &[]), ("hypervisor", &[]), ("switch", &[])]);
    let change = |service: &Service, key: &str, value: serde_json::Value| {
        let mut json = serde_json::json!({ "image": "x", "user": 1, "command": service.command });
        json[key] = value;
        serde_json::from_value::<Service>(json).unwrap()
    };
    all.insert("hypervisor".into(), change(&all["hypervisor"], "address", 13.into()));
    all.insert("switch".into(), change(&all["switch"], "network", "service:hypervisor".into()));
    let text = "{{ addresses.switch }} {{ addresses.hypervisor }} {{ fixed_addresses.hypervisor }} {{ container }} \
                {{ joined | join(sep=',') }} {{ provider.gateway }}/{{ provider.prefix }} {{ provider.subnet }}";
    let context = public_context(&platform(all.clone()), "hypervisor", &all["hypervisor"]);
    assert_eq!(
        templates("").value("command of hypervisor", text, &context).unwrap(),
        "hypervisor hypervisor 172.31.250.13 octo-hypervisor octo-switch 10.20.0.1/24 10.20.0.0/24"
    );
    all.insert("front".into(), change(&all["front"], "network", "host".into()));
    let context = public_context(&platform(all.clone()), "front", &all["front"]);
    assert_eq!(templates("").value("x", "{{ addresses.switch }}", &context).unwrap(), "172.31.250.13");
}

#[test]
fn commands_and_environments_see_no_secret() {
    let all = services(&[("app", &[])]);
    let context = public_context(&platform(all.clone()), "app", &all["app"]);
    for name in ["secrets", "db", "transport_url"] {
        assert!(!context.contains_key(name), "{name}");
    }
    let value = templates("").value("command of app", "{{ project }}-{{ workers }}", &context).unwrap();
    assert_eq!(value, "octo-1");
    let error = templates("").value("command of app", "{{ secrets.x }}", &context).unwrap_err().to_string();
    assert!(error.contains("command of app"), "{error}");
}
