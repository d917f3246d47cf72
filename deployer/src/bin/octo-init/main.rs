//! `octo-init`: PID 1 of every service container, and its health probe.
//!
//! ```text
//! octo-init run [--log FILE] -- PROGRAM [ARGUMENT…]
//! octo-init probe http URL | tcp HOST:PORT
//! octo-init hold OWN-CONTAINER [CONTAINER…]
//! ```
//! `run` starts the program, forwards signals to it, reaps orphans, copies its output line by line to its own output and to
//! FILE (rotated), and ends with the program's exit code. `hold` is the program of a container whose network namespace others
//! join: it sleeps, and at its start it puts those others into the new namespace. No async runtime: this runs in every container
//! and must stay small.

mod hold;
mod log;
mod probe;
mod run;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: octo-init run [--log FILE] -- PROGRAM [ARGUMENT…]\n       octo-init probe http URL | tcp HOST:PORT\n       octo-init hold OWN-CONTAINER [CONTAINER…]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match parse(&arguments) {
        Some(Command::Run { log, program }) => run::run(log, program),
        Some(Command::Exec { program }) => run::exec(program),
        Some(Command::Hold { own, joined }) => hold::hold(own, joined),
        Some(Command::Probe(target)) => match probe::probe(&target) {
            Ok(answer) => {
                say(&answer);
                ExitCode::SUCCESS
            }
            Err(error) => {
                say(&format!("{target}: {error}"));
                ExitCode::FAILURE
            }
        },
        None => {
            say(USAGE);
            ExitCode::from(2)
        }
    }
}

/// Writes a line to standard error; a closed standard error is no reason to fail.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[derive(Debug, PartialEq, Eq)]
enum Command<'a> {
    Run {
        log: Option<PathBuf>,
        program: &'a [String],
    },
    /// The second half of `run`; nobody calls it by hand.
    Exec {
        program: &'a [String],
    },
    /// Keeps a network namespace for other containers.
    Hold {
        own: &'a str,
        joined: Vec<&'a str>,
    },
    Probe(probe::Target),
}

fn parse(arguments: &[String]) -> Option<Command<'_>> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["run", "--log", file, "--", _, ..] => {
            Some(Command::Run { log: Some(PathBuf::from(file)), program: &arguments[4..] })
        }
        ["run", "--", _, ..] => Some(Command::Run { log: None, program: &arguments[2..] }),
        ["exec", "--", _, ..] => Some(Command::Exec { program: &arguments[2..] }),
        // A template gives the names as one word.
        ["hold", own, joined @ ..] => Some(Command::Hold {
            own,
            joined: joined.iter().flat_map(|word| word.split_whitespace()).collect(),
        }),
        ["probe", kind, target] => probe::Target::parse(kind, target).map(Command::Probe),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_program_keeps_its_own_options() {
        let arguments = words("run --log /l -- cat --log x");
        let expected = Command::Run { log: Some("/l".into()), program: &arguments[4..] };
        assert_eq!(parse(&arguments), Some(expected));
    }

    #[test]
    fn a_run_without_program_is_refused() {
        assert_eq!(parse(&words("run --")), None);
        assert_eq!(parse(&words("run cat")), None);
        assert_eq!(parse(&words("probe mysql x")), None);
        assert_eq!(parse(&words("hold")), None);
    }

    #[test]
    fn names_to_hold_a_network_for_may_come_as_one_word() {
        let arguments = ["hold", "own", "a b", ""].map(str::to_owned);
        assert_eq!(parse(&arguments), Some(Command::Hold { own: "own", joined: vec!["a", "b"] }));
    }
}
