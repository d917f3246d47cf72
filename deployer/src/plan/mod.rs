//! PURE: what is wanted, what is there, and the steps between the two. Nothing here touches Docker, a disk or a network.

pub(crate) mod diff;
pub(crate) mod hash;
pub(crate) mod order;
pub(crate) mod platform;
pub(crate) mod spec;
