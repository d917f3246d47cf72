//! `octo-init` as a container sees it: exit codes, signals, output, log file, probes.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

fn octo_init(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_octo-init"));
    command.args(arguments);
    command
}

fn output(arguments: &[&str]) -> Output {
    octo_init(arguments).output().unwrap()
}

#[test]
fn the_exit_code_is_the_programs() {
    assert_eq!(output(&["run", "--", "sh", "-c", "exit 7"]).status.code(), Some(7));
    assert_eq!(output(&["run", "--", "sh", "-c", "kill -9 $$"]).status.code(), Some(137));
    assert_eq!(output(&["run", "--", "/nonexistent"]).status.code(), Some(127));
    assert_eq!(output(&["run", "--", "/etc/passwd"]).status.code(), Some(126));
    assert_eq!(output(&["walk"]).status.code(), Some(2));
}

#[test]
fn both_outputs_go_to_stdout_and_to_the_log_in_order() {
    let log = std::env::temp_dir().join(format!("octo-init-{}.log", std::process::id()));
    let script = "echo one; echo two >&2; printf three";
    let output = output(&["run", "--log", log.to_str().unwrap(), "--", "sh", "-c", script]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "one\ntwo\nthree");
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "one\ntwo\nthree");
    std::fs::remove_file(log).unwrap();
}

#[test]
fn signals_reach_the_program() {
    let script = "trap 'echo got; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    let mut child = octo_init(&["run", "--", "sh", "-c", script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut ready = [0; 6];
    stdout.read_exact(&mut ready).unwrap();
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "got\n");
}

#[test]
fn the_program_blocks_no_signal() {
    let status = output(&["run", "--", "cat", "/proc/self/status"]);
    let status = String::from_utf8_lossy(&status.stdout);
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
    assert_eq!(blocked.trim(), "0000000000000000");
}

#[test]
fn an_orphan_that_holds_the_pipe_does_not_hold_the_container() {
    let start = std::time::Instant::now();
    assert_eq!(output_without_pipe(&["run", "--", "sh", "-c", "sleep 20 & exit 0"]), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5));
}

fn output_without_pipe(arguments: &[&str]) -> Option<i32> {
    octo_init(arguments).stdout(Stdio::null()).status().unwrap().code()
}

#[test]
fn probes_tell_healthy_from_sick() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        for answer in ["200 OK", "503 Service Unavailable"] {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 512]);
            write!(stream, "HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n").unwrap();
        }
    });
    let url = format!("http://{address}/healthcheck");
    assert_eq!(output(&["probe", "http", &url]).status.code(), Some(0));
    assert_eq!(output(&["probe", "http", &url]).status.code(), Some(1));
    server.join().unwrap();
    assert_eq!(output(&["probe", "tcp", &address]).status.code(), Some(1));
}
