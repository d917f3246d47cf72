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
    let context = service_context(&platform(all.clone()), &Secrets::default(), "app", &all["app"]);
    let error =
        templates("a\nb = {{ secrets.nothing }}\n").render("x.tera", &context).unwrap_err().to_string();
    assert!(error.contains("x.tera:2:"), "{error}");
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
