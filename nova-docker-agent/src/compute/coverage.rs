//! `tests/COVERAGE.md`: which test shows that a method is answered as it should be.
//!
//! A test says so itself, in a line of its comment: `/// Covers: stop_instance, start_instance`. The table is made from
//! these lines, [`METHODS`] and the two lists of this folder, and a test compares it with the file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::{CARRIED_OUT, refused};
use Verdict::{Must, NoMeaning, Should};

/// The file, from the root of the project.
const FILE: &str = "tests/COVERAGE.md";

/// Where tests are, from the root of the project.
const TESTS: [&str; 4] = ["nova-docker-agent/src", "nova-docker-agent/tests", "tests/live", "tests/browser"];

/// What a test says of itself.
const MARK: &str = "/// Covers: ";

/// As [`MARK`], of tests in Python.
const PYTHON_MARK: &str = "# Covers: ";

/// The table is written instead of compared when this is set.
const REWRITE: &str = "REWRITE_COVERAGE";

/// What a method is to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nobody can do without.
    Must,
    /// Worth having.
    Should,
    /// A container has nothing of the kind.
    NoMeaning,
}

/// Everything nova-compute 34 answers, in the order of its manager's subjects. The last two are of `baseapi`.
const METHODS: &[(&str, Verdict)] = &[
    ("build_and_run_instance", Must),
    ("terminate_instance", Must),
    ("soft_delete_instance", Must),
    ("restore_instance", Must),
    ("start_instance", Must),
    ("stop_instance", Must),
    ("reboot_instance", Must),
    ("pause_instance", Must),
    ("unpause_instance", Must),
    ("suspend_instance", Should),
    ("resume_instance", Should),
    ("rescue_instance", Should),
    ("unrescue_instance", Should),
    ("set_admin_password", Should),
    ("trigger_crash_dump", NoMeaning),
    ("snapshot_instance", Must),
    ("backup_instance", Must),
    ("rebuild_instance", Must),
    ("cache_images", Must),
    ("volume_snapshot_create", NoMeaning),
    ("volume_snapshot_delete", NoMeaning),
    ("quiesce_instance", Should),
    ("unquiesce_instance", Should),
    ("shelve_instance", Must),
    ("shelve_offload_instance", Must),
    ("unshelve_instance", Must),
    ("attach_interface", Must),
    ("detach_interface", Must),
    ("add_fixed_ip_to_instance", Should),
    ("remove_fixed_ip_from_instance", Should),
    ("inject_network_info", Should),
    ("external_instance_event", Must),
    ("reserve_block_device_name", Must),
    ("attach_volume", Must),
    ("detach_volume", Must),
    ("swap_volume", Should),
    ("remove_volume_connection", Must),
    ("allow_share", Should),
    ("deny_share", Should),
    ("get_console_output", Must),
    ("get_serial_console", Must),
    ("validate_console_port", Must),
    ("get_vnc_console", NoMeaning),
    ("get_spice_console", NoMeaning),
    ("get_mks_console", NoMeaning),
    ("get_rdp_console", NoMeaning),
    ("get_diagnostics", Must),
    ("get_instance_diagnostics", Must),
    ("prep_resize", Must),
    ("resize_instance", Must),
    ("finish_resize", Must),
    ("confirm_resize", Must),
    ("revert_resize", Must),
    ("finish_revert_resize", Must),
    ("check_instance_shared_storage", Must),
    ("prep_snapshot_based_resize_at_dest", Should),
    ("prep_snapshot_based_resize_at_source", Should),
    ("finish_snapshot_based_resize_at_dest", Should),
    ("confirm_snapshot_based_resize_at_source", Should),
    ("revert_snapshot_based_resize_at_dest", Should),
    ("finish_revert_snapshot_based_resize_at_source", Should),
    ("check_can_live_migrate_destination", Should),
    ("check_can_live_migrate_source", Should),
    ("pre_live_migration", Should),
    ("live_migration", Should),
    ("post_live_migration_at_destination", Should),
    ("rollback_live_migration_at_destination", Should),
    ("drop_move_claim_at_destination", Should),
    ("live_migration_force_complete", Should),
    ("live_migration_abort", Should),
    ("set_host_enabled", Must),
    ("get_host_uptime", Must),
    ("host_power_action", NoMeaning),
    ("host_maintenance_mode", NoMeaning),
    ("ping", Must),
    ("get_backdoor_port", Must),
];

/// Carried out, and shown by no test of its own yet. Only ever gets shorter.
const NOT_SHOWN_YET: &[&str] = &[];

/// A test that shows something.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shown {
    /// From the root of the project.
    file: String,
    test: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The tests that claim to show a method, by method.
fn shown() -> BTreeMap<String, BTreeSet<Shown>> {
    let mut files = Vec::new();
    for folder in TESTS {
        collect(&root().join(folder), &mut files);
    }
    let mut shown: BTreeMap<String, BTreeSet<Shown>> = BTreeMap::new();
    for path in files {
        let file = path.strip_prefix(root()).unwrap().display().to_string();
        for (methods, test) in marks(&std::fs::read_to_string(&path).unwrap(), &file) {
            for method in methods {
                let one = Shown { file: file.clone(), test: test.clone() };
                shown.entry(method).or_default().insert(one);
            }
        }
    }
    shown
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|end| end == "rs" || end == "py") {
            files.push(path);
        }
    }
}

/// The methods and the name of each test of a source that carries the mark. Fails when a mark is on no test.
fn marks(source: &str, file: &str) -> Vec<(Vec<String>, String)> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    // Rust's comments, and Python's.
    let marked = lines.iter().enumerate().filter_map(|(at, line)| {
        Some((at, line.strip_prefix(MARK).or_else(|| line.strip_prefix(PYTHON_MARK))?))
    });
    marked
        .map(|(at, methods)| {
            let methods = methods.trim_end_matches('.').split(", ").map(str::to_owned).collect();
            let head: Vec<&str> = lines[at..]
                .iter()
                .take_while(|line| line.starts_with("///") || line.starts_with('#'))
                .copied()
                .collect();
            let after = lines.get(at + head.len()).copied().unwrap_or_default();
            let is_test = after.starts_with("def test_")
                || head
                    .iter()
                    .any(|line| ["#[test]", "#[tokio::test"].iter().any(|mark| line.starts_with(mark)));
            let function = after.split_once("fn ").or_else(|| after.split_once("def "));
            let name = function.and_then(|(_, rest)| rest.split_once('('));
            match name {
                Some((name, _)) if is_test => (methods, name.to_owned()),
                _ => panic!("{file}:{}: {MARK:?} stands on no test", at + 1),
            }
        })
        .collect()
}

fn answer(method: &str) -> String {
    match refused::described(method) {
        Some(refusal) => refusal,
        None => "carried out".into(),
    }
}

fn table(shown: &BTreeMap<String, BTreeSet<Shown>>) -> String {
    let verdict = |verdict| match verdict {
        Must => "must",
        Should => "should",
        NoMeaning => "no meaning",
    };
    let mut text = format!(
        "# What nova-compute is asked, and which test shows the answer\n\n\
         Made from the lists in `nova-docker-agent/src/compute/` and from the tests' own `{}…` lines by\n\
         `{REWRITE}=1 cargo test --release --workspace --lib coverage`; without the variable the same test compares.\n\
         A test on `{EVERY}` goes through every method:\n\n",
        MARK.trim_start_matches("/// "),
    );
    let link = |one: &Shown| format!("`{}` {}", one.file, one.test.replace('_', " "));
    let list = |of: &str| shown.get(of).into_iter().flatten().map(link).collect::<Vec<_>>();
    for line in list(EVERY) {
        let _ = writeln!(text, "* {line}");
    }
    text.push_str("\n| method | verdict | answer | shown by |\n|---|---|---|---|\n");
    for (method, of) in METHODS {
        let tests = list(method).join("<br>");
        let _ = writeln!(text, "| `{method}` | {} | {} | {tests} |", verdict(*of), answer(method));
    }
    text
}

/// Stands for all methods in a mark.
const EVERY: &str = "every method";

#[test]
fn the_table_of_coverage_is_true() {
    let shown = shown();
    let known: BTreeSet<&str> = METHODS.iter().map(|(method, _)| *method).collect();
    for method in shown.keys() {
        assert!(
            known.contains(method.as_str()) || method == EVERY,
            "{MARK}{method}: there is no such method"
        );
    }
    for method in CARRIED_OUT {
        assert!(
            shown.contains_key(*method) != NOT_SHOWN_YET.contains(method),
            "write `{MARK}{method}` above a test that shows {method}, and take it out of NOT_SHOWN_YET"
        );
    }
    let (path, table) = (root().join(FILE), table(&shown));
    if std::env::var_os(REWRITE).is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == table,
        "{FILE} is not what the sources say: run `{REWRITE}=1 cargo test --release --workspace --lib coverage`"
    );
}

/// 73 RPCs of ComputeAPI, one that only the manager has left (`get_rdp_console`), and two of `baseapi`.
#[test]
fn every_method_of_the_compute_api_is_answered_exactly_once() {
    let base = ["ping", "get_backdoor_port"];
    let mut answered: Vec<_> = CARRIED_OUT.iter().copied().chain(refused::names()).chain(base).collect();
    let mut known: Vec<_> = METHODS.iter().map(|(method, _)| *method).collect();
    answered.sort_unstable();
    known.sort_unstable();
    assert_eq!(answered, known);
}

#[test]
fn a_mark_names_the_test_below_it() {
    let source = "/// Says so.\n/// Covers: stop_instance, ping\n#[tokio::test]\n#[ignore = \"live\"]\nasync fn it_stops() {}\n";
    let methods = vec!["stop_instance".to_owned(), "ping".to_owned()];
    assert_eq!(marks(source, "x.rs"), [(methods, "it_stops".to_owned())]);
}

#[test]
#[should_panic(expected = "stands on no test")]
fn a_mark_on_a_helper_is_refused() {
    marks("/// Covers: ping\nfn help() {}\n", "x.rs");
}
