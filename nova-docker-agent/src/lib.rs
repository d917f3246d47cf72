//! `nova-docker-agent`: takes the place of nova-compute. Nova's instances are Docker containers.
//!
//! ```text
//!  RabbitMQ                 messaging                compute                     instance                      outside
//!  compute[.host]  bytes ─► server.rs    Request ─►  mod.rs      StopInstance ─► locks   Acting
//!  compute-alt              envelope                 dispatch    { instance }     decide  tables
//!                           dedupe, ack              (the list)        │
//!                           heartbeats                                 ▼
//!                                                             stop_instance.rs: straight-line body
//!                                                               │ image.ensure ───────────────────► glance · dockerd
//!                                                               │ driver.power_off(uuid, …) ──────► dockerd
//!                                                               │ conductor.save(&mut instance, expect POWERING_OFF) ─► nova-conductor
//!                                                               │ tracker.note(…) ────────────────► ComputeNode · placement
//!                           Reply | RemoteError ◄── call() ◄────┘ Result<Reply, Error>
//!                                                      └─ on Err: guards.rs = fault, action event, task_state back to None
//!  docker events ─► virt/lifecycle.rs ─► periodic/handle_lifecycle_event ─► instance/power    timers ─► periodic/<task>.rs
//! ```
//! Direction of imports: `main → agent → {compute, periodic, startup} → instance → {virt, network, image, resources, conductor} →
//! common`; `http` shows what all of them have. A flow that two of the three in braces need lives in `instance/`.
//!
//! State lives in Nova's database (through the conductor), in Docker (labels) and, of ports, in Neutron and the switch. The
//! agent has no database: it keeps `compute_id`, and notes of what is under way that none of those tell (`instance/notes.rs`).
//!
//! To answer another RPC: a file in `compute/`, a `mod` line and a name in `methods!` there, and its line in `refused.rs`
//! goes. To add a periodic task: a file in `periodic/` and two lines in its `mod.rs`.

pub mod activity;
pub mod agent;
pub mod builds;
pub mod compute;
pub mod conductor;
pub mod config;
mod console;
pub mod disk;
pub mod error;
pub mod http;
pub mod image;
pub mod instance;
pub mod metrics;
pub mod network;
mod periodic;
pub mod profile;
pub mod resources;
pub mod startup;
#[cfg(test)]
mod test_support;
pub mod virt;
