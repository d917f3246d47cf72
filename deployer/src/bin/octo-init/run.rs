//! Starts the program and lives as long as it does.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode};
use std::sync::mpsc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::{log, say};

/// Signals passed on to the program. SIGCHLD is waited for beside them.
const FORWARDED: &[Signal] = &[
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// After the program's end its orphans may hold the pipe open; the log gets this long to drain.
const DRAIN: Duration = Duration::from_secs(1);

/// Runs `program` to its end and returns its exit code.
pub(crate) fn run(log: Option<PathBuf>, program: &[String]) -> ExitCode {
    // Blocked before the first thread starts, so that every signal waits for `forward_until_exit`.
    let mut signals = SigSet::empty();
    signals.extend(FORWARDED.iter().copied());
    signals.add(Signal::SIGCHLD);
    if let Err(error) = signals.thread_block() {
        say(&format!("octo-init: cannot block signals: {error}"));
        return ExitCode::FAILURE;
    }
    let (child, drained) = match start(log, program) {
        Ok(started) => started,
        Err(error) => {
            say(&format!("octo-init: cannot start {}: {error}", program[0]));
            return ExitCode::FAILURE;
        }
    };
    let code = forward_until_exit(Pid::from_raw(child.id().cast_signed()), &signals);
    let _ = drained.recv_timeout(DRAIN);
    ExitCode::from(code)
}

/// Becomes `program`, with every signal let through again; 126 and 127 when that cannot be, as a shell says it.
pub(crate) fn exec(program: &[String]) -> ExitCode {
    if let Err(error) = SigSet::empty().thread_set_mask() {
        say(&format!("octo-init: cannot let signals through: {error}"));
    }
    let error = Command::new(&program[0]).args(&program[1..]).exec();
    say(&format!("octo-init: cannot start {}: {error}", program[0]));
    ExitCode::from(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 })
}

/// Starts the program with one pipe for both of its outputs, so that their order is kept.
///
/// The program would inherit our blocked signals, and letting them through here for the moment of the start could lose one. So
/// a second `octo-init` is started, which lets them through and becomes the program.
fn start(log: Option<PathBuf>, program: &[String]) -> io::Result<(Child, mpsc::Receiver<()>)> {
    let (reader, writer) = io::pipe()?;
    let mut second = Command::new(std::env::current_exe()?);
    second.args(["exec", "--"]).args(program).stdout(writer.try_clone()?).stderr(writer);
    let child = second.spawn()?;
    // Our ends of the pipe close, and the log ends when the program does.
    drop(second);
    let (done, drained) = mpsc::channel();
    std::thread::Builder::new().name("log".into()).spawn(move || {
        log::copy(reader, log);
        let _ = done.send(());
    })?;
    Ok((child, drained))
}

fn forward_until_exit(child: Pid, signals: &SigSet) -> u8 {
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => {
                if let Some(code) = reap(child) {
                    return code;
                }
            }
            // The program may have ended a moment ago; then there is nobody to tell.
            Ok(signal) => drop(kill(child, signal)),
            Err(Errno::EINTR) => {}
            Err(error) => say(&format!("octo-init: waiting for signals: {error}")),
        }
    }
}

/// Collects every ended process (orphans become children of PID 1); the code of the program itself when it was among them.
fn reap(child: Pid) -> Option<u8> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == child => {
                code = Some(u8::try_from(status & 0xff).unwrap_or(1))
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                code = Some(128_u8.saturating_add(u8::try_from(signal as i32).unwrap_or(0)));
            }
            Ok(WaitStatus::StillAlive) | Err(_) => return code,
            Ok(_) => {}
        }
    }
}
