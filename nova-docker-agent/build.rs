//! Compiles `pause.rs`, the program of sandboxes, so that the agent carries it: a static program that needs no image of
//! anybody's.

use std::env;
use std::path::PathBuf;
use std::process::{Command, exit};

fn main() {
    println!("cargo::rerun-if-changed=pause.rs");
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name: &str| env::var_os(name).unwrap_or_default();
    let program = PathBuf::from(variable("OUT_DIR")).join("pause");
    let mut rustc = Command::new(variable("RUSTC"));
    rustc.args(["--edition", "2024", "--crate-name", "pause", "--target"]).arg(variable("TARGET"));
    // Static, and as small as a Rust program with its library gets.
    for option in ["target-feature=+crt-static", "panic=abort", "opt-level=s", "strip=symbols", "lto=fat"] {
        rustc.args(["-C", option]);
    }
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        rustc.arg("-C").arg(format!("linker={}", linker.to_string_lossy()));
    }
    let compiled = rustc.arg("pause.rs").arg("-o").arg(&program).status();
    if !compiled.as_ref().is_ok_and(std::process::ExitStatus::success) {
        println!("cargo::error=cannot compile pause.rs: {compiled:?}");
        exit(1);
    }
    println!("cargo::rustc-env=PAUSE={}", program.display());
}
