//! When a peer answered last, and how it failed last: what an operator asks first when something does not go on.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

/// What is noted of one peer; shared by reference.
#[derive(Debug, Default)]
pub struct Contact {
    seen: Mutex<Seen>,
}

/// What was seen of a peer up to now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Whether the last attempt was answered; none before the first.
    pub up: Option<bool>,
    /// When it answered last.
    pub answered: Option<Timestamp>,
    /// When it failed last.
    pub failed: Option<Timestamp>,
    /// How it failed then; empty when it never did.
    pub problem: String,
}

impl Contact {
    /// The peer answered; a refusal is an answer, too.
    pub fn answered(&self) {
        self.note(|seen| (seen.up, seen.answered) = (Some(true), Some(Timestamp::now())));
    }

    /// The peer gave no answer, or one that says that it cannot work.
    pub fn failed(&self, problem: &dyn Display) {
        let problem = problem.to_string();
        self.note(|seen| {
            *seen = Seen { up: Some(false), failed: Some(Timestamp::now()), problem, answered: seen.answered }
        });
    }

    /// What was seen up to now.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_attempt_decides_and_the_last_problem_stays() {
        let contact = Contact::default();
        assert_eq!(contact.seen(), Seen::default());
        contact.failed(&"no route to host");
        assert_eq!((contact.seen().up, contact.seen().answered), (Some(false), None));
        contact.answered();
        let seen = contact.seen();
        assert_eq!((seen.up, seen.problem.as_str()), (Some(true), "no route to host"));
        assert!(seen.answered >= seen.failed);
    }
}
