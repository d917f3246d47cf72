//! `completion`: what completes this command line in a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::printer::Printer;

pub(super) fn run(shell: Shell, printer: &Printer) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "octopenstack", &mut script);
    printer.data(String::from_utf8_lossy(&script).trim_end());
}
