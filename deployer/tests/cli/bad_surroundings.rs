//! A host that is not as it should be: no Docker, somebody else at work.

use std::os::unix::fs::PermissionsExt;

use crate::Project;

#[test]
fn docker_that_does_not_answer() {
    let project = Project::good();
    insta::assert_snapshot!(project.said(&["up", "--yes"]));
    assert!(project.is_untouched());
}

#[test]
fn docker_that_refuses_the_connection() {
    let project = Project::good();
    let mut command = project.command(&["status"]);
    // Port 9 on the loopback: nobody listens there.
    let output = command.env("DOCKER_HOST", "tcp://127.0.0.1:9").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("127.0.0.1:9") && said.contains("refused"), "{said}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn validate_and_render_need_no_docker() {
    let project = Project::good();
    insta::assert_snapshot!(project.said(&["validate"]));
    assert!(project.is_untouched());
}

#[test]
fn openrc_before_the_platform_is_there() {
    let project = Project::good();
    insta::assert_snapshot!(project.said(&["openrc"]));
}

#[test]
fn openrc_prints_shell_variables_and_nothing_else() {
    let project = Project::good();
    project.write("state/clitest/secrets.yaml", "admin_password: \"pa'ss\"\n");
    std::fs::set_permissions(
        project.dir.join("state/clitest/secrets.yaml"),
        PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    insta::assert_snapshot!(project.said(&["openrc"]));
}

#[test]
fn clouds_and_openrc_know_the_demos_user_once_it_is_there() {
    let project = Project::good();
    project.write("state/clitest/secrets.yaml", "admin_password: \"pa'ss\"\ndemo_password: \"secret\"\n");
    insta::assert_snapshot!(project.said(&["openrc", "--user", "demo"]));
    project.write("state/clitest/demo-openrc.sh", "");
    insta::assert_snapshot!(project.said(&["clouds"]));
    insta::assert_snapshot!(project.said(&["openrc", "--user", "somebody"]));
    let said = project.said(&["openrc", "--user", "demo"]);
    assert!(said.contains("OS_USERNAME='demo'") && said.contains("OS_PASSWORD='secret'"), "{said}");
}

#[test]
fn bash_completes_verbs_and_services_options() {
    let project = Project::good();
    let script = project.run(&["completion", "bash"]);
    assert!(script.status.success());
    project.write("completion", &String::from_utf8_lossy(&script.stdout));
    let asked = |words: &str| {
        let program = format!(
            ". '{}'; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _octopenstack octopenstack \"${{COMP_WORDS[-1]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            project.dir.join("completion").display()
        );
        let output = std::process::Command::new("bash").args(["-c", &program]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(asked("octopenstack sta"), "start\nstatus\n");
    assert_eq!(asked("octopenstack status --js"), "--json\n");
}

#[test]
fn damaged_secrets_are_not_shown() {
    let project = Project::good();
    project.write("state/clitest/secrets.yaml", "admin_password \"hunter2\"\n");
    let said = project.said(&["openrc"]);
    assert!(said.contains("line 1") && !said.contains("hunter2"), "{said}");
}

#[test]
fn another_deployer_at_work() {
    let project = Project::good();
    let daemon = crate::daemon::Daemon::start(&project.dir);
    let folder = project.dir.join("state/clitest");
    std::fs::create_dir_all(&folder).unwrap();
    let file = std::fs::File::create(folder.join("lock")).unwrap();
    std::fs::write(folder.join("lock"), "pid 4711, up").unwrap();
    let lock = nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock).unwrap();
    let output = project.command(&["stop"]).env("DOCKER_HOST", daemon.url()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("another octopenstack (pid 4711, up) is working on project clitest"), "{said}");
    assert_eq!(output.status.code(), Some(6));
    drop(lock);
}

#[test]
fn rm_of_what_is_not_there_says_so() {
    let project = Project::good();
    let daemon = crate::daemon::Daemon::start(&project.dir);
    let output = project.command(&["rm"]).env("DOCKER_HOST", daemon.url()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the platform clitest does not exist: nothing is left"), "{said}");
    assert!(output.status.success());
}

#[test]
fn a_service_that_is_not_there() {
    let project = Project::good();
    let daemon = crate::daemon::Daemon::start(&project.dir);
    let output = project.command(&["stop", "identty"]).env("DOCKER_HOST", daemon.url()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("there is no service identty; did you mean `identity`?"), "{said}");
    assert_eq!(output.status.code(), Some(4));
}

#[test]
fn a_plan_without_any_container() {
    let project = Project::good();
    let daemon = crate::daemon::Daemon::start(&project.dir);
    let output = project.command(&["up", "--plan"]).env("DOCKER_HOST", daemon.url()).output().unwrap();
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stdout));
    assert!(project.is_untouched());
}

#[test]
fn a_disk_that_is_full_during_a_build() {
    let project = Project::with(
        "  base: { dockerfile: base/Dockerfile.tera }\n",
        "  base: { dockerfile: base/Dockerfile.tera }\n  large: { dockerfile: base/Dockerfile.tera, from: base }\n",
    );
    let daemon = crate::daemon::Daemon::start(&project.dir);
    daemon.put_root();
    daemon.fill_disk(&["large"]);
    let build = || {
        let output = project.command(&["build"]).env("DOCKER_HOST", daemon.url()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = build();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("no space left on the disk of the Docker engine while trying to build image large"),
        "{said}"
    );
    assert!(said.contains("Free some") && said.contains("run the same command again"), "{said}");

    daemon.fill_disk(&[]);
    let (code, said) = build();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("1 image(s) built"), "what was finished before was not kept: {said}");
    assert!(build().1.contains("nothing to do"), "{said}");
}
