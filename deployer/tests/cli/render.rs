//! `render`: golden files of a small platform.

use crate::Project;
use crate::project::contents;

#[test]
fn rendered_files_are_as_they_were() {
    let project = Project::good();
    let out = project.dir.join("out");
    let said = project.said(&["render", out.to_str().unwrap()]);
    assert!(said.ends_with("exit code 0"), "{said}");
    insta::assert_snapshot!(contents(&out));
}

#[test]
fn the_shipped_files_are_good() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_octopenstack"));
    let output = command.args(["--config", root, "validate"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
