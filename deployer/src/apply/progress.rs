//! Who is ready, and who waits for whom: the line below the bars while a platform comes up.

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

/// `nova-api for nova-conductor · horizon for keystone`: those that could not begin yet.
fn waiting(edges: &Edges, states: &States) -> String {
    let unready = |needs: &[String]| {
        let names: Vec<&str> =
            needs.iter().filter(|name| !states.ready.contains(*name)).map(String::as_str).collect();
        names.join(", ")
    };
    let waiting: Vec<String> = edges
        .iter()
        .filter(|(name, _)| !states.begun.contains(*name))
        .map(|(name, needs)| (name, unready(needs)))
        .filter(|(_, needs)| !needs.is_empty())
        .map(|(name, needs)| format!("{name} for {needs}"))
        .collect();
    if waiting.is_empty() { String::new() } else { format!("waiting: {}", waiting.join(" · ")) }
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
        assert_eq!(
            waiting(&edges, &states),
            "waiting: api for conductor, identity · conductor for db · identity for db"
        );
        states.ready.insert("db".into());
        states.begun.extend(["conductor".to_owned(), "identity".to_owned()]);
        states.ready.insert("identity".into());
        assert_eq!(waiting(&edges, &states), "waiting: api for conductor");
        states.begun.insert("api".into());
        assert_eq!(waiting(&edges, &states), "");
    }
}
