//! Who is ready, and who waits for whom: the lines below the tasks while a platform comes up.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::dag::Edges;
use crate::printer::{Printer, Progress};

/// How far the services of a graph are.
pub(super) struct Tracker<'a> {
    edges: &'a Edges,
    states: Mutex<States>,
    bar: Progress,
}

#[derive(Debug, Default)]
struct States {
    begun: BTreeSet<String>,
    ready: BTreeSet<String>,
}

impl<'a> Tracker<'a> {
    pub(super) fn new(edges: &'a Edges, printer: &Printer) -> Self {
        let tracker = Tracker { edges, states: Mutex::default(), bar: printer.progress(edges.len()) };
        tracker.change(|_| ());
        tracker
    }

    /// All it needs is ready.
    pub(super) fn begun(&self, name: &str) {
        self.change(|states| states.begun.extend([name.to_owned()]));
    }

    pub(super) fn ready(&self, name: &str) {
        self.change(|states| states.ready.extend([name.to_owned()]));
    }

    fn change(&self, change: impl FnOnce(&mut States)) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut states);
        self.bar.now(states.ready.len(), &waiting(self.edges, &states));
    }
}

/// How many of those that wait are told, one a line: the terminal has to have room for the tasks, too.
const TOLD: usize = 5;

/// How many services that one waits for are told.
const NEEDS: usize = 3;

/// Those that could not begin yet, the next to begin first: `horizon waits for keystone`.
fn waiting(edges: &Edges, states: &States) -> Vec<String> {
    let unready = |needs: &[String]| -> Vec<String> {
        needs.iter().filter(|name| !states.ready.contains(*name)).cloned().collect()
    };
    let mut waiting: Vec<(&String, Vec<String>)> = edges
        .iter()
        .filter(|(name, _)| !states.begun.contains(*name))
        .map(|(name, needs)| (name, unready(needs)))
        .filter(|(_, needs)| !needs.is_empty())
        .collect();
    waiting.sort_by_key(|(_, needs)| needs.len());
    let more = waiting.len().saturating_sub(TOLD);
    let told = waiting.iter().take(TOLD).map(|(name, needs)| format!("{name} waits for {}", listed(needs)));
    told.chain((more > 0).then(|| format!("{more} more wait"))).collect()
}

/// `a, b, c and 2 more`
fn listed(names: &[String]) -> String {
    let (told, more) = names.split_at(names.len().min(NEEDS));
    match more.len() {
        0 => told.join(", "),
        more => format!("{} and {more} more", told.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_wait_are_told_with_what_they_wait_for() {
        let needs = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let edges = Edges::from([
            ("api".to_owned(), needs(&["conductor", "identity"])),
            ("conductor".to_owned(), needs(&["db"])),
            ("db".to_owned(), needs(&[])),
            ("identity".to_owned(), needs(&["db"])),
        ]);
        let mut states = States::default();
        states.begun.insert("db".into());
        let told = waiting(&edges, &states);
        assert_eq!(
            told,
            ["conductor waits for db", "identity waits for db", "api waits for conductor, identity"]
        );
        states.ready.insert("db".into());
        states.begun.extend(["conductor".to_owned(), "identity".to_owned()]);
        states.ready.insert("identity".into());
        assert_eq!(waiting(&edges, &states), ["api waits for conductor"]);
        states.begun.insert("api".into());
        assert!(waiting(&edges, &states).is_empty());
    }

    #[test]
    fn no_more_are_told_than_there_is_room_for() {
        let names: Vec<String> = (1..=8).map(|number| format!("s{number}")).collect();
        let all_before = |(place, name): (usize, &String)| (name.clone(), names[..place].to_vec());
        let edges: Edges = names.iter().enumerate().map(all_before).collect();
        let expected = [
            "s2 waits for s1",
            "s3 waits for s1, s2",
            "s4 waits for s1, s2, s3",
            "s5 waits for s1, s2, s3 and 1 more",
            "s6 waits for s1, s2, s3 and 2 more",
            "2 more wait",
        ];
        assert_eq!(waiting(&edges, &States::default()), expected);
    }
}
