//! Cuts the agent off from its whole world after so many steps, so that it can be killed at each of them.

use std::sync::{Arc, Mutex};

/// Shared by all peers of an agent.
#[derive(Clone, Default)]
pub(crate) struct Fuse(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Steps that are still done.
    left: Option<usize>,
    blown: bool,
    taken: usize,
}

/// What a peer does about a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// What it always does.
    Go,
    /// The same, but the answer never comes.
    Last,
    /// Nothing, and no answer.
    Dead,
}

impl Fuse {
    /// So many changes are made from now on; the agent hears of all but the last.
    pub(crate) fn burn(&self, steps: usize) {
        *self.0.lock().unwrap() = State { left: Some(steps), blown: steps == 0, taken: 0 };
    }

    /// All is well again, for another agent.
    pub(crate) fn mend(&self) {
        *self.0.lock().unwrap() = State::default();
    }

    /// Changes since the last [`Fuse::burn`] or [`Fuse::mend`].
    pub(crate) fn taken(&self) -> usize {
        self.0.lock().unwrap().taken
    }

    /// The agent waits for an answer that never comes.
    pub(crate) fn is_blown(&self) -> bool {
        self.0.lock().unwrap().blown
    }

    /// A request has come; `changes`: it is a step.
    pub(crate) fn step(&self, changes: bool) -> Step {
        let mut state = self.0.lock().unwrap();
        if state.blown {
            return Step::Dead;
        }
        state.taken += usize::from(changes);
        match &mut state.left {
            Some(left) if changes => {
                *left -= 1;
                if *left > 0 {
                    return Step::Go;
                }
                state.blown = true;
                Step::Last
            }
            _ => Step::Go,
        }
    }
}
