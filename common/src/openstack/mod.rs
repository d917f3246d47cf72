//! OpenStack's REST services: only the calls this product makes, with response types of our own.
//!
//! ```text
//! Session ── login, catalogue, renewal ──► Service::send ──► http (headers, retry of connects, ApiError)
//!                                             ├─ placement.rs
//!                                             ├─ neutron.rs
//!                                             └─ glance.rs
//! ```

mod catalogue;
pub mod error;
pub mod glance;
pub mod http;
pub mod neutron;
pub mod placement;
pub mod session;

pub use error::{ApiError, Error};
pub use session::{Credentials, Domain, EndpointFilter, Service, Session};
