//! OpenStack's REST services: only the calls this product makes, with response types of our own.
//!
//! ```text
//! Session  (login, catalogue, token renewal)
//!    └─ http::Client::request  (headers, one retry of connects, ApiError)
//!          ├─ placement.rs
//!          └─ glance.rs
//! ```

pub mod session;
