//! What several methods need in order to act on an instance.
//!
//! ```text
//!            build                    stop                 delete (from every state)
//! (no row) ──────► BUILDING ──► ACTIVE ◄────► STOPPED  ─────────────────► DELETED
//!                     │           │ ▲   start                    ▲
//!                     │ abort     ▼ │ reboot                     │
//!                     └───────► ERROR ──────────────────────────┘
//!
//! ACTIVE ◄──► PAUSED, SUSPENDED   the container is frozen     pause, unpause, suspend, resume
//! ACTIVE ◄──► SOFT_DELETED        the container is off        soft delete, restore; reclaimed by the clock
//! ACTIVE ◄──► SHELVED(_OFFLOADED) off, or on no host; an image shelve, unshelve
//! ACTIVE ◄──► RESCUED             the container stands aside  rescue, unrescue; ended by the clock
//! ```
//! `locks.rs` gives the right to act, `guards.rs` records how it went, `recovery.rs` and `interrupted.rs` (at start) and
//! `decide.rs` (power states) hold the tables, `spec.rs` turns Nova's objects into what the hypervisor needs and
//! `described.rs` completes it, `spawn.rs` and `destroy.rs` are the ways in and out, `snapshot.rs`, `shelve.rs` and `rescue.rs`
//! look after the file system, `network.rs` looks after the ports in Neutron and in the database, `nics.rs` after those on
//! the host, `attaching.rs`, `detaching.rs` and `changing.rs` after those on their way, `follow.rs` brings the one after the other, `outcome.rs` says how a build ends.

pub mod attaching;
pub mod block_devices;
pub mod changing;
pub mod decide;
pub mod described;
pub mod destroy;
pub mod detaching;
pub mod diagnostics;
pub mod evacuate;
pub mod follow;
pub mod group;
pub mod guards;
pub mod interrupted;
pub mod interrupted_moves;
pub mod left_moves;
pub mod locks;
pub mod lost_builds;
pub mod moves;
pub mod network;
pub mod nics;
pub mod notes;
pub mod outcome;
pub mod power;
pub mod reconnect;
pub mod recovery;
pub mod refusing;
pub mod rescue;
pub mod shelve;
pub mod snapshot;
pub mod spawn;
pub mod spec;
pub mod stale;
pub mod tags;
