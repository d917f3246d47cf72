//! Whole-file tests: what a person sees after a mistake.

use super::*;

const GOOD: &str = "images:
  base: { dockerfile: base/Dockerfile.tera }
services:
  db:
    image: base
    user: 1000
    command: [run]
    address: 10
    ready: { mysql: {} }
  app:
    image: base
    user: 1001
    command: [run]
    depends_on: [db]
    needs: { databases: [app] }
    api: { port: 80 }
";

fn folder(services: &str, configuration: &str) -> (PathBuf, Sources) {
    let dir = std::env::temp_dir().join(format!("octo-config-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(dir.join("dockerfiles/base")).unwrap();
    std::fs::write(dir.join("dockerfiles/base/Dockerfile.tera"), "FROM scratch\n").unwrap();
    std::fs::write(dir.join(SERVICES), services).unwrap();
    std::fs::write(dir.join(CONFIGURATION), configuration).unwrap();
    (dir.clone(), Sources { dir, ..Sources::default() })
}

fn errors(services: &str, configuration: &str) -> String {
    let (dir, sources) = folder(services, configuration);
    let text = load(&sources).unwrap_err().to_string();
    std::fs::remove_dir_all(dir).unwrap();
    text
}

#[test]
fn a_good_pair_loads_and_defaults_are_filled() {
    let (dir, sources) = folder(GOOD, "region: Here\n");
    let config = load(&sources).unwrap();
    std::fs::remove_dir_all(dir).unwrap();
    assert_eq!(config.configuration.project.as_str(), "octo");
    assert_eq!(config.configuration.region, "Here");
    assert_eq!(config.enabled(&[]).map(|(name, _)| name).collect::<Vec<_>>(), ["db", "app"]);
}

#[test]
fn settings_of_the_command_line_win() {
    let (dir, mut sources) = folder(GOOD, "project: a\n");
    sources.sets = vec!["project=b".into(), "services.app.workers=3".into(), "subnet=10.9.0.0/24".into()];
    let config = load(&sources).unwrap();
    assert_eq!(config.configuration.project.as_str(), "b");
    assert_eq!(config.configuration.services.get("app").unwrap().workers, Some(3));
    sources.sets = vec!["projekt=b".into()];
    let text = load(&sources).unwrap_err().to_string();
    assert!(text.contains("--set projekt=b") && text.contains("unknown field `projekt`"), "{text}");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn every_mistake_is_shown_with_its_place() {
    let services = GOOD
        .replace("depends_on: [db]", "depends_on: [dbb]")
        .replace("    user: 1000\n", "    user: 1000\n    capabilites: [NET_ADMIN]\n")
        .replace("api: { port: 80 }", "address: 10");
    insta::assert_snapshot!(errors(
        &services,
        "projct: x\nservices: { ap: { workers: 2 } }\nsubnet: 10.0.0.1/24\n"
    ));
}

#[test]
fn a_circle_is_printed() {
    let services = GOOD.replace("address: 10", "depends_on: [app]");
    insta::assert_snapshot!(errors(&services, ""));
}

#[test]
fn a_missing_template_is_named() {
    insta::assert_snapshot!(errors(&GOOD.replace("base/Dockerfile.tera", "base/Dockerfile"), ""));
}

#[test]
fn duplicate_services_are_refused() {
    insta::assert_snapshot!(errors(&GOOD.replace("  app:", "  db:"), ""));
}

#[test]
fn broken_yaml_is_pointed_at() {
    insta::assert_snapshot!(errors(&GOOD.replace("[db]", "[db"), ""));
}

#[test]
fn a_service_may_live_in_the_network_of_another() {
    let services = GOOD.replace(
        "    depends_on: [db]\n",
        "    network: service:db\n    devices: [/dev/net/tun]\n    pid: host\n    groups: [7]\n",
    );
    let (dir, sources) = folder(&services, "networks: { provider_subnet: 10.9.0.0/24 }\n");
    let config = load(&sources).unwrap();
    std::fs::remove_dir_all(dir).unwrap();
    let app = config.services.services.get("app").unwrap();
    assert_eq!((app.joins(), app.pid, app.groups.as_slice()), (Some("db"), Some(Pid::Host), [7].as_slice()));
    assert_eq!(app.waits_for().collect::<Vec<_>>(), ["db"]);
    assert_eq!(config.configuration.networks.provider_subnet.gateway().to_string(), "10.9.0.1");
}

#[test]
fn mistakes_around_networks_are_shown_with_their_place() {
    let services = GOOD.to_owned()
        + "  lost: { image: base, user: 1, command: [x], network: service:dbb }
  far: { image: base, user: 1, command: [x], network: service:near }
  near: { image: base, user: 1, command: [x], network: service:db, address: 12, ports: [81] }
  on-host: { image: base, user: 1, command: [x], network: host, sysctls: { net.ipv4.ip_forward: \"1\" } }
  guest: { image: base, user: 1, command: [x], network: service:on-host, devices: [tun] }
  twice: { image: base, user: 1, command: [x], ports: [80], sysctls: { vm.swappiness: \"1\" } }
  strange: { image: base, user: 1, command: [x], network: hst }
";
    insta::assert_snapshot!(errors(
        &services,
        "subnet: 10.0.0.0/16\nnetworks: { provider_subnet: 10.0.1.0/24 }\n"
    ));
}

#[test]
fn the_mechanism_chooses_services_and_who_depends_on_the_others_does_without() {
    let services = GOOD.replace("    address: 10", "    mechanism: openvswitch\n    address: 10");
    let enabled = |configuration: &str| {
        let (dir, sources) = folder(&services, configuration);
        let config = load(&sources).unwrap();
        std::fs::remove_dir_all(dir).unwrap();
        config.enabled(&[]).map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(enabled(""), ["app"]);
    assert_eq!(enabled("networks: { mechanism: ovn }\n"), ["app"]);
    let wanted = "networks: { mechanism: openvswitch }\n";
    assert_eq!(enabled(wanted), ["db", "app"]);
    let off = errors(&services, &format!("{wanted}services: {{ db: {{ enabled: false }} }}\n"));
    assert!(off.contains("service `app` depends on `db`, which is switched off"), "{off}");
    let wrong = errors(&services, "networks: { mechanism: linuxbridge }\n");
    assert!(wrong.contains("configuration.yaml:1:24: unknown value `linuxbridge`"), "{wrong}");
}

#[test]
fn a_service_cannot_live_in_its_own_network() {
    insta::assert_snapshot!(errors(&GOOD.replace("depends_on: [db]", "network: service:app"), ""));
}

#[test]
fn the_release_chooses_the_files_of_an_image_and_an_unknown_one_is_refused_with_the_known() {
    let good =
        GOOD.replace("Dockerfile.tera }", "Dockerfile.tera, files: [\"base/pins-{{ release }}.lock\"] }");
    let (dir, mut sources) = folder(&good, "release: \"2026.3\"\n");
    for release in ["2026.1", "2026.2"] {
        std::fs::write(dir.join(format!("dockerfiles/base/pins-{release}.lock")), "").unwrap();
    }
    insta::assert_snapshot!(load(&sources).unwrap_err().to_string());
    sources.sets = vec!["release=\"2026.1\"".into()];
    let config = load(&sources).unwrap();
    std::fs::remove_dir_all(dir).unwrap();
    let image = config.services.images.get("base").unwrap();
    assert_eq!(image.files[0].as_str(), "base/pins-2026.1.lock");
    assert_eq!(config.configuration.image("base"), "octopenstack/base:2026.1");
}

#[test]
fn a_file_that_no_release_has_is_named() {
    let services =
        GOOD.replace("Dockerfile.tera }", "Dockerfile.tera, files: [\"base/{{ release }}.lock\"] }");
    let text = errors(&services, "");
    assert!(text.contains("names the file dockerfiles/base/2026.2.lock, which does not exist"), "{text}");
}
