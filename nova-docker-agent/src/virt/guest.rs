//! What the guest is to find: whether its description can be followed, what is put into it, its config drive.

use std::net::IpAddr;

use common::ids::InstanceUuid;

use super::{Driver, Error, InstanceSpec, config_drive, guest_files, setup, spec};
use crate::network::guest::{self, GuestFiles};
use crate::network::model::Vif;

impl Driver {
    /// Tells the guest its addresses and name servers, in its `/etc/hosts` and `/etc/resolv.conf`; best before it starts.
    ///
    /// # Errors
    /// [`Error::GuestFiles`].
    pub fn tell_guest(&self, instance: &InstanceSpec, network_info: &[Vif]) -> Result<(), Error> {
        let files = self.guest_files(&instance.hostname, network_info);
        guest_files::write(self.config(), instance.uuid, &files, true)
    }

    /// As [`Driver::tell_guest`], to a guest that may be running; nothing when there is none.
    ///
    /// # Errors
    /// [`Error::GuestFiles`].
    pub fn tell_guest_again(
        &self,
        (uuid, hostname): (InstanceUuid, &str),
        network_info: &[Vif],
    ) -> Result<(), Error> {
        guest_files::rewrite(self.config(), uuid, &self.guest_files(hostname, network_info))
    }

    /// The addresses that a guest was told; none when there are no files of it.
    pub fn addresses(&self, uuid: InstanceUuid) -> Vec<IpAddr> {
        guest_files::addresses(self.config(), uuid)
    }

    /// What a guest is told.
    pub fn guest_files(&self, hostname: &str, network_info: &[Vif]) -> GuestFiles {
        guest::guest_files(hostname, network_info, &self.config().docker.dns_servers)
    }

    /// Whether what users and operator say of `instance` can be followed, without looking at its image.
    ///
    /// # Errors
    /// [`Error::InvalidSpec`] names what cannot.
    pub fn check(&self, instance: &InstanceSpec) -> Result<(), Error> {
        spec::described(instance, self.config()).map(drop)
    }

    /// Puts files, password and SSH key into the container of `instance` before its first start.
    ///
    /// # Errors
    /// When a file of the request cannot be written.
    pub async fn set_up(&self, instance: &InstanceSpec) -> Result<(), Error> {
        setup::set_up(self.engine(), instance, self.config().docker.inject_password).await
    }

    /// Whether `instance` has a config drive.
    pub fn has_config_drive(&self, instance: &InstanceSpec) -> bool {
        config_drive::wanted(instance, self.config())
    }

    /// Whether the config drive of `instance` was filled before.
    pub fn is_config_drive_filled(&self, instance: &InstanceSpec) -> bool {
        config_drive::is_filled(self.config(), instance.uuid)
    }

    /// Fills the config drive of `instance` with `files` (paths without a slash at the beginning, and contents).
    ///
    /// # Errors
    /// [`Error::GuestFiles`]
    pub fn fill_config_drive(
        &self,
        instance: &InstanceSpec,
        files: &[(String, Vec<u8>)],
    ) -> Result<(), Error> {
        config_drive::fill(self.config(), instance.uuid, files)
    }
}
