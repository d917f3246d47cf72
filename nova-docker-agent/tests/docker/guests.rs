//! What the driver does with the containers of instances.

use common::docker::{Shown, Terminal};
use tokio::io::AsyncWriteExt;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_lives_and_dies() {
    let host = Host::new("").await;
    let image = host.ensure(&host.upload(archive::shell(SCRIPT))).await.unwrap();
    let (driver, instance) = (&host.driver, host.instance());
    let uuid = instance.uuid;
    assert_eq!(driver.power_state(uuid).await.unwrap(), PowerState::NoState);

    driver.spawn(&instance, &image).await.unwrap();
    assert_eq!(driver.power_state(uuid).await.unwrap(), PowerState::Running);
    assert_eq!(driver.instances().await.unwrap(), [(uuid, PowerState::Running)]);
    wait_for("output", async || driver.console_output(uuid, None).await.unwrap().contains("problem")).await;
    assert_eq!(driver.console_output(uuid, Some(1)).await.unwrap(), "problem\n");
    assert_eq!(driver.console_output(uuid, Some(0)).await.unwrap(), "");

    driver.reboot_soft(uuid, 10).await.unwrap();
    assert_eq!(driver.console_output(uuid, None).await.unwrap().matches("bye").count(), 1);
    driver.reboot_hard(uuid).await.unwrap();
    assert_eq!(driver.power_state(uuid).await.unwrap(), PowerState::Running);

    driver.power_off(uuid, 10).await.unwrap();
    driver.power_off(uuid, 10).await.unwrap();
    assert_eq!(driver.instances().await.unwrap(), [(uuid, PowerState::Shutdown)]);
    driver.power_on(uuid).await.unwrap();
    driver.power_on(uuid).await.unwrap();
    assert_eq!(driver.power_state(uuid).await.unwrap(), PowerState::Running);

    driver.destroy(uuid).await.unwrap();
    driver.destroy(uuid).await.unwrap();
    assert_eq!(driver.power_state(uuid).await.unwrap(), PowerState::NoState);
    assert!(matches!(driver.power_on(uuid).await, Err(virt::Error::NotFound { .. })));
    assert!(matches!(driver.reboot_hard(uuid).await, Err(virt::Error::NotFound { .. })));
    assert!(matches!(driver.console_output(uuid, None).await, Err(virt::Error::NotFound { .. })));
}

/// Whole GiB of the file system at a path of a process.
fn size_of(pid: u32, path: &str) -> u64 {
    let found = nix::sys::statvfs::statvfs(format!("/proc/{pid}/root{path}").as_str()).unwrap();
    found.blocks() * found.fragment_size() / (1 << 30)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ephemeral_disk_is_the_instances_alone_and_can_be_handed_on() {
    let host = Host::new("").await;
    let image = host.ensure(&host.upload(archive::shell(SCRIPT))).await.unwrap();
    let driver = &host.driver;
    let with_disk = || InstanceSpec { ephemeral_gb: 2, ..host.instance() };
    let (first, other) = (with_disk(), with_disk());
    driver.spawn(&first, &image).await.unwrap();
    let pid = driver.pid(first.uuid).await.unwrap().unwrap();
    std::fs::write(format!("/proc/{pid}/root/mnt/mark"), "mine").unwrap();
    let overlay = host.engine.info().await.unwrap().storage_driver == "overlay2";
    if overlay && driver.limits_disks().await.unwrap() {
        assert_eq!((size_of(pid, "/"), size_of(pid, "/mnt")), (1, 2));
    }
    driver.power_off(first.uuid, 0).await.unwrap();
    let archive: Vec<_> = driver.ephemeral(first.uuid).unwrap().collect().await;
    let archive: Vec<u8> = archive.into_iter().flat_map(Result::unwrap).collect();

    // As on the host to which it moves.
    let came = host._directory.path().join("came");
    std::fs::write(&came, archive).unwrap();
    driver.keep_ephemeral(other.uuid, &came).unwrap();
    driver.make(&other, &image).await.unwrap();
    driver.fill_ephemeral(other.uuid).await.unwrap();
    driver.fill_ephemeral(other.uuid).await.unwrap();
    driver.start_new(&other).await.unwrap();
    let pid = driver.pid(other.uuid).await.unwrap().unwrap();
    assert_eq!(std::fs::read_to_string(format!("/proc/{pid}/root/mnt/mark")).unwrap(), "mine");

    assert!(driver.ephemeral(host.instance().uuid).is_none());
    for instance in [first, other] {
        driver.destroy(instance.uuid).await.unwrap();
    }
    let label = format!("nova.host={}", host.config.host);
    assert_eq!(host.engine.list_volumes(&[label]).await.unwrap(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_instance_goes_on_stops_restarts_and_goes_away() {
    let host = Host::new("").await;
    let image = host.ensure(&host.upload(archive::shell(SCRIPT))).await.unwrap();
    let (driver, instance) = (&host.driver, host.instance());
    let uuid = instance.uuid;
    let state = async || driver.power_state(uuid).await.unwrap();
    assert!(matches!(driver.freeze(uuid).await, Err(virt::Error::NotFound { .. })));
    driver.spawn(&instance, &image).await.unwrap();
    driver.thaw(uuid).await.unwrap();
    driver.freeze(uuid).await.unwrap();
    driver.freeze(uuid).await.unwrap();
    assert_eq!(driver.instances().await.unwrap(), [(uuid, PowerState::Paused)]);
    driver.thaw(uuid).await.unwrap();
    assert_eq!(state().await, PowerState::Running);

    driver.freeze(uuid).await.unwrap();
    driver.power_on(uuid).await.unwrap();
    assert_eq!(state().await, PowerState::Running);
    driver.freeze(uuid).await.unwrap();
    driver.reboot_soft(uuid, 10).await.unwrap();
    assert_eq!(state().await, PowerState::Running);
    assert_eq!(driver.console_output(uuid, None).await.unwrap().matches("bye").count(), 1);
    driver.freeze(uuid).await.unwrap();
    driver.power_off(uuid, 10).await.unwrap();
    assert_eq!(state().await, PowerState::Shutdown);
    for refused in [driver.freeze(uuid).await, driver.thaw(uuid).await] {
        assert!(matches!(refused, Err(virt::Error::Docker { .. })), "{refused:?}");
    }
    driver.power_on(uuid).await.unwrap();
    driver.freeze(uuid).await.unwrap();
    driver.destroy(uuid).await.unwrap();
    assert_eq!(state().await, PowerState::NoState);
}

/// Puts a program into a running container.
async fn install(engine: &Engine, container: &str, name: &str, script: &str) {
    put(engine, container, (name, 0o755), script).await;
}

/// Puts a file of this mode into the folder of a running container's programs.
async fn put(engine: &Engine, container: &str, (name, mode): (&str, u32), script: &str) {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(script.len() as u64);
    header.set_mode(mode);
    tar.append_data(&mut header, name, script.as_bytes()).unwrap();
    engine.put_archive(container, "/bin", tar.into_inner().unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_reaches_the_guest_s_tool_on_its_standard_input() {
    let host = Host::new("").await;
    let image = host.ensure(&host.upload(archive::shell(SCRIPT))).await.unwrap();
    let instance = host.instance();
    let (container, secret) = (container_name(instance.uuid), Secret::new("correct horse: 4711"));
    let set = async || host.driver.set_password(instance.uuid, "root", &secret).await;
    host.driver.spawn(&instance, &image).await.unwrap();
    assert!(matches!(set().await, Err(PasswordError::NotSupported)));
    install(&host.engine, &container, "passwd", "#!/bin/sh\nread a; read b; echo \"$2 $a $b\" > /set").await;
    let written = async || {
        let tar = host.engine.get_archive(&container, "/set", 1 << 16).await.unwrap().unwrap();
        let mut archive = tar::Archive::new(tar.as_slice());
        let mut text = String::new();
        archive.entries().unwrap().next().unwrap().unwrap().read_to_string(&mut text).unwrap();
        text
    };
    set().await.unwrap();
    assert_eq!(written().await, "root correct horse: 4711 correct horse: 4711\n");
    install(&host.engine, &container, "chpasswd", "#!/bin/sh\nwhile read a; do echo \"$a\"; done > /set")
        .await;
    set().await.unwrap();
    assert_eq!(written().await, "root:correct horse: 4711\n");
    install(&host.engine, &container, "chpasswd", "#!/bin/sh\necho weak; exit 1").await;
    assert!(matches!(set().await, Err(PasswordError::Refused { tool: "chpasswd", code: 1 })));
    host.driver.freeze(instance.uuid).await.unwrap();
    assert!(matches!(set().await, Err(PasswordError::Virt(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_instance_uses_is_counted() {
    let host = Host::new("").await;
    let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done; sleep 60";
    let image = host.ensure(&host.upload(archive::shell(busy))).await.unwrap();
    let instance = host.instance();
    host.driver.spawn(&instance, &image).await.unwrap();
    let console = async || host.driver.console_output(instance.uuid, None).await.unwrap();
    wait_for("some work is done", async || console().await.contains("done")).await;
    let counted = host.driver.statistics(instance.uuid, &["lo".into(), "none".into()]).await.unwrap();
    assert!(counted.container.cpu_time > 1_000_000 && counted.container.memory_used > 0, "{counted:?}");
    assert_eq!(counted.nics.iter().map(|nic| nic.device.as_str()).collect::<Vec<_>>(), ["lo"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_ignores_the_signal_is_killed_after_the_timeout() {
    let host = Host::new("").await;
    let image =
        host.ensure(&host.upload(archive::shell("trap '' TERM; while :; do sleep 1; done"))).await.unwrap();
    let instance = host.instance();
    host.driver.spawn(&instance, &image).await.unwrap();
    let begun = std::time::Instant::now();
    host.driver.power_off(instance.uuid, 1).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!(host.driver.instances().await.unwrap(), [(instance.uuid, PowerState::Shutdown)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_start_leaves_no_container() {
    let host = Host::new("").await;
    let nothing_to_run = Image { command: json!(["/no/such/program"]), ..Image::default() };
    let image = host.ensure(&host.upload(nothing_to_run.save())).await.unwrap();
    let mut instance = host.instance();
    let error = host.driver.spawn(&instance, &image).await.unwrap_err();
    assert!(matches!(error, virt::Error::ImageUnacceptable { .. }), "{error:?}");
    assert!(error.to_string().contains("the program that it says to run is not in it"), "{error}");
    assert_eq!(host.driver.instances().await.unwrap(), []);

    instance.image_properties.insert("os_command_line".into(), "/bin/sh -c 'echo instead; sleep 100'".into());
    host.driver.spawn(&instance, &image).await.unwrap();
    let console = async || host.driver.console_output(instance.uuid, None).await.unwrap();
    wait_for("the other command", async || console().await == "instead\n").await;

    let gone = ImageHandle { docker_id: format!("sha256:{}", "0".repeat(64)), ..image };
    let error = host.driver.spawn(&host.instance(), &gone).await.unwrap_err();
    assert!(matches!(error, virt::Error::ImageGone { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leftover_of_an_earlier_build_is_replaced() {
    let host = Host::new("").await;
    let image = host.ensure(&host.upload(archive::shell(SCRIPT))).await.unwrap();
    let instance = host.instance();
    host.driver.spawn(&instance, &image).await.unwrap();
    host.driver.spawn(&instance, &image).await.unwrap();
    assert_eq!(host.driver.instances().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_out_of_memory_has_crashed() {
    let host = Host::new("").await;
    let eater = "x=0123456789abcdef; while :; do x=$x$x; done";
    let image = host.ensure(&host.upload(archive::shell(eater))).await.unwrap();
    let instance = InstanceSpec { memory_mb: 8, ..host.instance() };
    host.driver.spawn(&instance, &image).await.unwrap();
    let state = async || host.driver.instances().await.unwrap()[0].1;
    wait_for("the kernel", async || state().await == PowerState::Crashed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_is_bounded_and_survives_bad_utf8() {
    let host = Host::new("").await;
    let noise = r"i=0; while [ $i -lt 30000 ]; do echo line $i; i=$((i+1)); done; printf '\377end\n'";
    let image = host.ensure(&host.upload(archive::shell(noise))).await.unwrap();
    let instance = host.instance();
    host.driver.spawn(&instance, &image).await.unwrap();
    let console = async |tail| host.driver.console_output(instance.uuid, tail).await.unwrap();
    wait_for("the end", async || console(Some(1)).await.ends_with("end\n")).await;
    let all = console(None).await;
    assert!(all.len() <= 100 * 1024 + 8, "{}", all.len());
    assert!(all.ends_with("line 29999\n\u{fffd}end\n"));
    assert_eq!(console(Some(3)).await.lines().count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rescue_has_the_file_system_of_the_original_and_a_commit_has_its_files() {
    let host = Host::new("").await;
    let image = host
        .ensure(&host.upload(archive::shell("trap exit TERM; echo kept > /kept; sleep 1000 & wait")))
        .await
        .unwrap();
    let (driver, instance) = (&host.driver, host.instance());
    let uuid = instance.uuid;
    driver.spawn(&instance, &image).await.unwrap();
    let name = container_name(uuid);
    let written = async || host.engine.get_archive(&name, "/kept", 4096).await.unwrap().is_some();
    wait_for("the file", written).await;

    let glance_id = uuid::Uuid::new_v4().to_string();
    let committed = driver.commit(uuid, &glance_id).await.unwrap();
    assert_eq!(driver.power_state(uuid).await.unwrap(), PowerState::Running);
    assert_eq!(driver.committed().await.unwrap(), std::slice::from_ref(&glance_id));
    let mut saved = std::pin::pin!(driver.archive(&committed));
    let mut length = 0;
    while let Some(bytes) = saved.next().await {
        length += bytes.unwrap().len();
    }
    assert!(length > 512, "{length}");
    driver.discard(&glance_id).await.unwrap();
    driver.discard(&glance_id).await.unwrap();
    assert!(driver.committed().await.unwrap().is_empty());

    let disk = driver.rescue_disk(uuid).await.unwrap();
    driver.power_off(uuid, 5).await.unwrap();
    driver.set_aside(uuid, &disk).await.unwrap();
    assert_eq!(driver.instances().await.unwrap(), [], "the one that stands aside is no instance");
    let rescue = InstanceSpec { rescue: true, ..instance.clone() };
    let shell = host
        .ensure(&host.upload(archive::shell(
            "read kept < /rescue/kept; echo $kept; echo more > /rescue/more; sleep 1000",
        )))
        .await
        .unwrap();
    driver.spawn(&rescue, &shell).await.unwrap();
    wait_for("the file of the original", async || {
        driver.console_output(uuid, None).await.unwrap() == "kept\n"
    })
    .await;
    driver.put_back(uuid).await.unwrap();
    driver.put_back(uuid).await.unwrap();
    assert_eq!(driver.power_state(uuid).await.unwrap(), PowerState::Shutdown);
    assert!(host.engine.get_archive(&name, "/more", 4096).await.unwrap().is_some(), "the repair is lost");
}

/// Reads until `words` come.
async fn until(terminal: &mut Terminal, words: &str) {
    let mut seen = String::new();
    let read = async {
        while !seen.contains(words) {
            let bytes = terminal.output.next().await.unwrap().unwrap();
            seen.push_str(&String::from_utf8_lossy(&bytes));
        }
    };
    let read = tokio::time::timeout(Duration::from_secs(20), read).await;
    assert!(read.is_ok(), "{words} does not come, only {seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_is_a_shell_or_what_the_process_shows() {
    let host = Host::new("").await;
    let image =
        host.ensure(&host.upload(archive::shell("while :; do echo tick; sleep 0.2; done"))).await.unwrap();
    let (driver, instance) = (&host.driver, host.instance());
    let uuid = instance.uuid;
    driver.spawn(&instance, &image).await.unwrap();
    let mut shell = driver.terminal(uuid).await.unwrap();
    let program = shell.program.clone().unwrap();
    assert_eq!(shell.shown, Shown::Terminal);
    driver.resize_terminal(uuid, Some(&program), (132, 43)).await.unwrap();
    shell.input.write_all(b"echo $((6 * 7))\r").await.unwrap();
    until(&mut shell, "42").await;
    drop(shell);
    driver.hang_up(uuid, &program).await.unwrap();
    assert_eq!(host.engine.program_pid(&program).await.unwrap_or_default(), None, "the shell lives on");

    // A file that nobody can execute is no shell.
    put(&host.engine, &container_name(uuid), ("sh", 0o644), "").await;
    let mut plain = driver.terminal(uuid).await.unwrap();
    assert_eq!((plain.shown, &plain.program), (Shown::Plain, &None));
    until(&mut plain, "tick\n").await;

    let mut own = InstanceSpec { hostname: "own".into(), ..host.instance() };
    own.image_properties.insert("docker_tty".into(), "true".into());
    let ask = "/bin/sh -c 'read word; echo said $word; sleep 1000'";
    own.image_properties.insert("os_command_line".into(), ask.into());
    driver.spawn(&own, &image).await.unwrap();
    let mut terminals = [driver.terminal(own.uuid).await.unwrap(), driver.terminal(own.uuid).await.unwrap()];
    assert!(terminals.iter().all(|own| own.shown == Shown::Terminal && own.program.is_none()));
    driver.resize_terminal(own.uuid, None, (100, 30)).await.unwrap();
    terminals[0].input.write_all(b"hello\r").await.unwrap();
    for terminal in &mut terminals {
        until(terminal, "said hello").await;
    }
}
