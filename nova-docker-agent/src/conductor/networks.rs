//! An instance's ports in Nova's database: the info cache and the virtual interfaces.

use common::ids::{InstanceUuid, PortId};
use common::messaging::RequestContext;
use common::objects::{InstanceInfoCache, Versioned, VirtualInterface};
use serde_json::json;

use super::{Conductor, Error, read, read_list, read_optional};

impl Conductor {
    /// The info cache as the database has it.
    ///
    /// # Errors
    /// [`Error`]; [`Error::is_instance_not_found`] when the instance has none any more.
    pub async fn info_cache(
        &self,
        context: &RequestContext,
        uuid: InstanceUuid,
    ) -> Result<InstanceInfoCache, Error> {
        let method = ("InstanceInfoCache", "get_by_instance_uuid");
        let answer = self.class_method(context, method, json!([uuid]), json!({})).await?;
        read("get_by_instance_uuid", answer)
    }

    /// Replaces the info cache; the row is made if there is none. `network_info`: its JSON text.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn save_info_cache(
        &self,
        context: &RequestContext,
        uuid: InstanceUuid,
        network_info: &str,
    ) -> Result<(), Error> {
        let mut cache = InstanceInfoCache::empty();
        cache.set_instance_uuid(uuid.to_string().as_str());
        cache.set_network_info(network_info);
        self.action(context, &mut cache, ("save", &[]), json!({})).await
    }

    /// Makes the row of a port.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn create_virtual_interface(
        &self,
        context: &RequestContext,
        uuid: InstanceUuid,
        (port, mac, tag): (PortId, &str, Option<&str>),
    ) -> Result<(), Error> {
        let mut interface = VirtualInterface::empty();
        interface.set_instance_uuid(uuid.to_string().as_str());
        interface.set_uuid(port.to_string().as_str());
        interface.set_address(format!("{mac}/{port}").as_str());
        interface.set_tag(tag);
        self.action(context, &mut interface, ("create", &[]), json!({})).await
    }

    /// The rows of an instance's ports, in the order in which they were attached.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn virtual_interfaces(
        &self,
        context: &RequestContext,
        uuid: InstanceUuid,
    ) -> Result<Vec<VirtualInterface>, Error> {
        let method = ("VirtualInterfaceList", "get_by_instance_uuid");
        let mut found: Vec<VirtualInterface> = read_list(
            "get_by_instance_uuid",
            self.class_method(context, method, json!([uuid]), json!({})).await?,
        )?;
        found.sort_by_key(VirtualInterface::id);
        Ok(found)
    }

    /// Deletes the row of one port; an absent one is fine.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn destroy_virtual_interface(
        &self,
        context: &RequestContext,
        port: PortId,
    ) -> Result<(), Error> {
        let method = ("VirtualInterface", "get_by_uuid");
        let answer = self.class_method(context, method, json!([port]), json!({})).await?;
        let found: Option<VirtualInterface> = read_optional("get_by_uuid", answer)?;
        match found {
            Some(mut interface) => {
                self.action(context, &mut interface, ("destroy", &["id"]), json!({})).await
            }
            None => Ok(()),
        }
    }

    /// Deletes the rows of all ports of an instance.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete_virtual_interfaces(
        &self,
        context: &RequestContext,
        uuid: InstanceUuid,
    ) -> Result<(), Error> {
        let method = ("VirtualInterface", "delete_by_instance_uuid");
        self.class_method(context, method, json!([uuid]), json!({})).await?;
        Ok(())
    }
}
