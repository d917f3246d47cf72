use super::*;
use crate::test_support;

fn wishes(image: &[(&str, &str)], server: &[(&str, &str)]) -> Result<Wishes, String> {
    let map = |pairs: &[(&str, &str)]| pairs.iter().map(|&(key, value)| (key.into(), value.into())).collect();
    let instance =
        InstanceSpec { image_properties: map(image), metadata: map(server), ..test_support::instance() };
    read(&instance, &test_support::config().docker).map_err(|error| error.to_string())
}

#[test]
fn everything_that_can_be_wished_for() {
    let all = wishes(
        &[
            ("docker_cap_drop", "net_raw, CAP_MKNOD"),
            ("docker_command", "httpd -p '80 81'"),
            ("docker_entrypoint", "/bin/tini --"),
            ("docker_env_LANG", "C.UTF-8"),
            ("docker_env_a.b-c", ""),
            ("docker_healthcheck", "curl -f http://localhost/"),
            ("docker_init", "True"),
            ("docker_no_new_privileges", "yes"),
            ("docker_stop_signal", "SIGRTMIN+3"),
            ("docker_tty", "1"),
            ("docker_user", "www-data:33"),
            ("docker_workdir", "/srv"),
            ("hw_architecture", "x86_64"),
            ("os_command_line", "less important"),
        ],
        &[("owner", "me")],
    );
    insta::assert_debug_snapshot!(all.unwrap());
}

#[test]
fn the_server_s_metadata_wins_over_the_image_s_properties() {
    let image =
        [("os_command_line", "a"), ("docker_env_X", "1"), ("docker_env_Y", "1"), ("docker_tty", "on")];
    let server = [("docker_command", "b"), ("docker_env_X", "2"), ("docker_tty", "off")];
    let both = wishes(&image, &server).unwrap();
    assert_eq!(both.command, Some(vec!["b".to_owned()]));
    assert_eq!(both.env, ["Y=1", "X=2"]);
    assert!(!both.tty);
    // Also with Nova's own name.
    let both = wishes(&[("docker_command", "a")], &[("os_command_line", "b")]).unwrap();
    assert_eq!(both.command, Some(vec!["b".to_owned()]));
}

#[test]
fn an_empty_entrypoint_takes_the_image_s_away_and_an_empty_command_changes_nothing() {
    let empty = wishes(&[("docker_entrypoint", ""), ("docker_command", " ")], &[]).unwrap();
    assert_eq!((empty.entrypoint, empty.command), (Some(Vec::new()), None));
    let off = wishes(&[("docker_healthcheck", "none")], &[]).unwrap().healthcheck;
    assert_eq!(off, Some(Healthcheck::default()));
}

#[test]
fn a_rescue_container_is_described_by_its_image_alone() {
    let instance = InstanceSpec {
        image_properties: [("docker_user".to_owned(), "demo".to_owned())].into(),
        metadata: [("docker_command".to_owned(), "broken".to_owned())].into(),
        rescue: true,
        ..test_support::instance()
    };
    let wishes = read(&instance, &test_support::config().docker).unwrap();
    assert_eq!((wishes.user.as_deref(), wishes.command), (Some("demo"), None));
}

/// Whatever Docker could be told that would let a container do more, under every name that somebody may try.
#[test]
fn nobody_widens_what_the_operator_allows() {
    for name in [
        "docker_privileged",
        "docker_cap_add",
        "docker_capadd",
        "docker_network",
        "docker_network_mode",
        "docker_devices",
        "docker_device_cgroup_rules",
        "docker_binds",
        "docker_volumes",
        "docker_volumes_from",
        "docker_mounts",
        "docker_userns",
        "docker_userns_mode",
        "docker_pid",
        "docker_pid_mode",
        "docker_ipc",
        "docker_uts",
        "docker_cgroup_parent",
        "docker_sysctls",
        "docker_security_opt",
        "docker_runtime",
        "docker_tmpfs",
        "docker_shm_size",
        "docker_ulimits",
        "docker_pids_limit",
        "docker_memory",
        "docker_cpu_shares",
        "docker_oom_kill_disable",
        "docker_labels",
        "docker_restart",
        "docker_image",
        "docker_hostname",
        "docker_",
        "docker_ENV_X",
    ] {
        for (image, server, noun) in
            [(&[(name, "true")][..], &[][..], "image property"), (&[], &[(name, "true")], "server metadata")]
        {
            let error = wishes(image, server).unwrap_err();
            assert_eq!(error, format!("the {noun} {name} describes nothing that a user may set"));
        }
    }
    // Other people's names are nobody's business here.
    assert_eq!(
        wishes(&[("privileged", "true"), ("docker", "x")], &[("DOCKER_x", "1")]),
        Ok(Wishes::default())
    );
}

#[test]
fn the_operator_says_what_may_be_set() {
    let mut config = test_support::config().docker;
    config.allowed_server_metadata = vec![ENV.to_owned()];
    config.allowed_image_properties = vec!["docker_command".to_owned()];
    let with = |image: &str, server: &str| {
        let instance = InstanceSpec {
            image_properties: [(image.to_owned(), "1".to_owned())].into(),
            metadata: [(server.to_owned(), "1".to_owned())].into(),
            ..test_support::instance()
        };
        read(&instance, &config).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(with("os_command_line", "docker_env_X"), Ok(()));
    assert_eq!(
        with("os_command_line", "docker_user").unwrap_err(),
        "the server metadata docker_user is not allowed on this host ([docker] allowed_server_metadata)"
    );
    assert_eq!(
        with("docker_env_X", "docker_env_X").unwrap_err(),
        "the image property docker_env_X is not allowed on this host ([docker] allowed_image_properties)"
    );
}

#[test]
fn what_cannot_be_followed_says_why() {
    for (name, value, why) in [
        ("docker_command", "sh -c 'x", "a quote is not closed"),
        ("docker_tty", "perhaps", "\"perhaps\" is neither true nor false"),
        ("docker_user", "a:b:c", "\"a:b:c\" is neither USER nor USER:GROUP, by names or numbers"),
        ("docker_user", "", "\"\" is neither USER nor USER:GROUP, by names or numbers"),
        ("docker_workdir", "srv", "\"srv\" does not begin with / or has .. in it"),
        ("docker_workdir", "/srv/../x", "\"/srv/../x\" does not begin with / or has .. in it"),
        ("docker_stop_signal", "SIGFOO", "\"SIGFOO\" is no signal"),
        ("docker_stop_signal", "65", "\"65\" is no signal"),
        ("docker_cap_drop", "net-raw", "\"net-raw\" is no capability"),
        ("docker_env_", "x", "\"\" is no name of an environment variable"),
        ("docker_env_1X", "x", "\"1X\" is no name of an environment variable"),
        ("docker_env_A=B", "x", "\"A=B\" is no name of an environment variable"),
        ("docker_env_A", "x\0y", "it has a character of value 0"),
    ] {
        let error = wishes(&[(name, value)], &[]).unwrap_err();
        assert_eq!(error, format!("the image property {name} cannot be followed: {why}"));
    }
    for signal in ["SIGTERM", "TERM", "15", "SIGQUIT", "SIGRTMAX-1", "RTMIN+3"] {
        let read = wishes(&[("docker_stop_signal", signal)], &[]).unwrap().stop_signal;
        assert_eq!(read.as_deref(), Some(signal));
    }
}
