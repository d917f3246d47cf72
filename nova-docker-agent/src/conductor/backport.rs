//! Objects of a release that is newer than this agent.

use common::messaging::RequestContext;
use common::objects::manifest;
use serde_json::{Map, Value};

use super::{Conductor, Error, args};

impl Conductor {
    /// Has the conductor convert those objects in `arguments` that cannot be read ([`manifest::unreadable`]) by
    /// `object_backport_versions`, as Nova's serializer does (`nova.objects.base.NovaObjectSerializer`).
    ///
    /// # Errors
    /// When the conductor cannot convert them.
    pub async fn backport(
        &self,
        context: &RequestContext,
        arguments: &mut Map<String, Value>,
    ) -> Result<(), Error> {
        for object in arguments.values_mut().flat_map(manifest::unreadable) {
            let args = args([("objinst", object.take()), ("object_versions", manifest::all())]);
            let call = self.client.call(&self.target, context, "object_backport_versions", args);
            *object = self.counted("object_backport_versions".into(), call).await?;
        }
        Ok(())
    }
}
