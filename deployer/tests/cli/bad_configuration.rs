//! Mistakes in the files: all shown, each with its place; exit code 4; nothing touched.

use crate::Project;

/// What every verb that reads the files says; `up` stands for all.
fn refused(project: &Project) -> String {
    let said = project.said(&["up", "--yes"]);
    assert!(project.is_untouched(), "something was made");
    said
}

#[test]
fn broken_yaml() {
    insta::assert_snapshot!(refused(&Project::with("[db, --port, \"3306\"]", "[db, --port, \"3306\"")));
}

#[test]
fn an_unknown_key() {
    insta::assert_snapshot!(refused(&Project::with("depends_on: [db]", "dependson: [db]")));
}

#[test]
fn a_duplicate_service() {
    insta::assert_snapshot!(refused(&Project::with("  front:", "  db:")));
}

#[test]
fn a_missing_template() {
    let project = Project::good();
    std::fs::remove_file(project.dir.join("dockerfiles/front/front.cfg.tera")).unwrap();
    insta::assert_snapshot!(refused(&project));
}

#[test]
fn a_circle() {
    insta::assert_snapshot!(refused(&Project::with(
        "    address: 11\n",
        "    address: 11\n    depends_on: [agent]\n"
    )));
}

#[test]
fn an_undefined_variable_in_a_template() {
    let project = Project::good();
    project.write(
        "dockerfiles/identity/identity.conf.tera",
        "a = {{ workers }}\nb = {{ endpoints.identty.public }}\n",
    );
    insta::assert_snapshot!(refused(&project));
}

#[test]
fn a_template_that_is_no_template() {
    let project = Project::good();
    project.write("dockerfiles/front/front.cfg.tera", "a\n{% for api in apis %}\nb\n");
    project.write("dockerfiles/base/Dockerfile.tera", "FROM {{ from }\n");
    insta::assert_snapshot!(refused(&project));
}

#[test]
fn a_host_service_that_needs_what_has_no_address() {
    insta::assert_snapshot!(refused(&Project::with("    address: 11\n", "")));
}

#[test]
fn several_mistakes_in_both_files() {
    let project = Project::with("image: base\n    user: 1002", "image: bse\n    user: root");
    project.write(
        "configuration.yaml",
        "project: clitest\nsice: small\nsubnet: 10.0.0.0/33\nservices: { idntity: {} }\n",
    );
    insta::assert_snapshot!(refused(&project));
}

#[test]
fn no_files_at_all() {
    let project = Project::good();
    std::fs::remove_file(project.dir.join("services.yaml")).unwrap();
    insta::assert_snapshot!(refused(&project));
}

#[test]
fn a_wrong_verb_is_a_usage_error() {
    let project = Project::good();
    assert_eq!(project.run(&["upp"]).status.code(), Some(2));
}
