//! What several methods need in order to act on an instance.
//!
//! ```text
//!            build                    stop                 delete (from every state)
//! (no row) ──────► BUILDING ──► ACTIVE ◄────► STOPPED  ─────────────────► DELETED
//!                     │           │ ▲   start                    ▲
//!                     │ abort     ▼ │ reboot                     │
//!                     └───────► ERROR ──────────────────────────┘
//! ```
//! `locks.rs` gives the right to act, `guards.rs` records how it went, `decide.rs` holds the tables, `spec.rs` turns
//! Nova's objects into what the hypervisor needs, `spawn.rs` and `destroy.rs` are the ways in and out, `network.rs` looks
//! after the ports in Neutron and in the database and `nics.rs` after those on the host, `outcome.rs` says how a build ends.

pub mod decide;
pub mod destroy;
pub mod guards;
pub mod locks;
pub mod network;
pub mod nics;
pub mod outcome;
pub mod power;
pub mod reconnect;
pub mod spawn;
pub mod spec;
pub mod stale;
pub mod tags;
