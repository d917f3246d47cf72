//! What is not a container: secrets, databases, Keystone's users and catalogue.

pub(crate) mod keystone;
pub(crate) mod mysql;
pub(crate) mod secrets;
