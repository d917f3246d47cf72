//! Tests of the configuration as a whole, among them that the sample file tells the truth.

use std::collections::BTreeSet;

use super::ini::Ini;
use super::options::Options;
use super::*;

const LEAST: &str = "
[DEFAULT]
transport_url = rabbit://nova:secret@127.0.0.1:5672/
[placement]
auth_url = http://127.0.0.1:5000
username = nova
password = pass
project_name = service
";

fn load(text: &str) -> Result<Config, Error> {
    Config::from_text(text)
}

fn problems(text: &str) -> Vec<String> {
    match load(text) {
        Err(Error::Invalid(problems)) => problems,
        other => panic!("expected problems, got {other:?}"),
    }
}

#[test]
fn five_lines_are_enough_and_nova_s_defaults_hold() {
    let config = load(LEAST).unwrap();
    assert!(!config.host.is_empty() && !config.my_ip.is_empty());
    assert_eq!(config.reserved_host_memory_mb, 512);
    assert_eq!(config.cpu_allocation_ratio, 4.0);
    assert_eq!(config.max_concurrent_builds, 10);
    assert_eq!(config.running_deleted_instance_action, RunningDeleted::Reap);
    assert_eq!(config.placement.valid_interfaces, ["internal", "public"]);
    assert_eq!(config.auth.user_domain, Domain::Id("default".into()));
    assert_eq!(config.docker.docker_url, "unix:///var/run/docker.sock");
}

#[test]
fn options_of_nova_are_ignored_but_ours_must_be_known() {
    let text = format!("{LEAST}[libvirt]\nvirt_type = kvm\n[docker]\nmanagment_port = 1\nzzz = 2\n");
    assert_eq!(
        problems(&text),
        [
            "agent.conf:12: unknown option [docker] managment_port; did you mean management_port?",
            "agent.conf:13: unknown option [docker] zzz",
        ]
    );
    let config = load(&format!("{LEAST}[libvirt]\nvirt_type = kvm\n")).unwrap();
    assert_eq!(config.ignored, ["[libvirt] virt_type"]);
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = "[DEFAULT]\nreport_interval = soon\ndebug = maybe\nbroken\n[docker]\ndocker_url = http\n";
    assert_eq!(
        problems(text),
        [
            "agent.conf:4: expected \"name = value\", \"[section]\" or a # comment",
            "[DEFAULT] transport_url is not set: the agent needs rabbit://user:password@host:5672/",
            "agent.conf:3: [DEFAULT] debug: maybe is neither true nor false",
            "agent.conf:2: [DEFAULT] report_interval: soon is not a number from 1 to 86400",
            "there is no login for Keystone: set auth_url, username, password and project_name in one of \
             [placement], [service_user], [keystone_authtoken]",
            "agent.conf:6: [docker] docker_url: it must begin with unix:/// or tcp://",
        ]
    );
}

#[test]
fn a_login_may_stand_in_the_other_sections_but_must_be_complete() {
    let text =
        "[DEFAULT]\ntransport_url = rabbit://h/\n[service_user]\nauth_url = http://k\nusername = nova\n";
    assert_eq!(problems(text), ["the login in [service_user] lacks password, project_name"]);
    let config = load(&format!("{text}password = $username\nproject_name = service\n")).unwrap();
    assert_eq!(config.auth.password.reveal(), "nova");
}

#[test]
fn neutron_may_have_a_login_of_its_own() {
    assert_eq!(load(LEAST).unwrap().neutron.auth, None);
    let begun = format!("{LEAST}[neutron]\nusername = neutron\nauth_url = http://k\n");
    assert_eq!(problems(&begun), ["the login in [neutron] lacks password, project_name"]);
    let whole = load(&format!("{begun}password = p\nproject_name = service\n")).unwrap();
    assert_eq!(whole.neutron.auth.unwrap().username, "neutron");
    assert_eq!(load(&format!("{LEAST}[ovs]\novsdb_connection = none\n")).unwrap().ovsdb_connection, "");
}

#[test]
fn no_secret_is_printed() {
    let printed = format!("{:?}", load(LEAST).unwrap());
    assert!(!printed.contains("secret@") && !printed.contains("\"pass\""), "{printed}");
    let wrong = problems(&LEAST.replace("rabbit:", "http:").replace(":secret@", ":hunter2@"));
    assert!(!wrong.concat().contains("hunter2"), "{wrong:?}");
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(&["/nonexistent/agent.conf"]).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the configuration file /nonexistent/agent.conf");
}

/// Reads `#name = default` lines below `[section]` lines.
fn sample() -> BTreeSet<(String, String, String)> {
    let text = include_str!("../../nova-docker-agent.conf.sample");
    let mut section = "";
    let mut options = BTreeSet::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((name, default)) = line.strip_prefix('#').and_then(|line| line.split_once('='))
            && !name.starts_with(' ')
        {
            options.insert((section.to_owned(), name.trim().to_owned(), default.trim().to_owned()));
        }
    }
    options
}

#[test]
fn the_sample_file_lists_every_option_with_its_default() {
    let ini = Ini::default();
    let mut options = Options::new(&ini);
    sections::read(&mut options);
    let (known, _, _) = options.finish();
    let known: BTreeSet<_> =
        known.into_iter().map(|k| (k.section.to_owned(), k.name.to_owned(), k.default)).collect();
    let sample = sample();
    let missing: Vec<_> = known.difference(&sample).collect();
    let stale: Vec<_> = sample.difference(&known).collect();
    assert!(missing.is_empty() && stale.is_empty(), "missing: {missing:#?}\nnot in the code: {stale:#?}");
}
