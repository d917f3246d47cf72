//! Objects of a release that is newer than this agent.

use common::messaging::RequestContext;
use common::objects::manifest;
use serde_json::{Map, Value};

use super::{Conductor, Error, args};

impl Conductor {
    /// Has the conductor convert those arguments that cannot be read (`object_backport_versions`), as Nova's serializer does
    /// (`nova.objects.base.NovaObjectSerializer`).
    ///
    /// # Errors
    /// When the conductor cannot convert them.
    pub async fn backport(
        &self,
        context: &RequestContext,
        arguments: &mut Map<String, Value>,
    ) -> Result<(), Error> {
        for argument in arguments.values_mut() {
            // Lists of objects travel as they are, not as list objects: each is converted alone.
            let objects = match argument {
                Value::Array(list) => list.as_mut_slice(),
                one => std::slice::from_mut(one),
            };
            for object in objects.iter_mut().filter(|object| manifest::is_newer(object)) {
                let args = args([("objinst", object.take()), ("object_versions", manifest::all())]);
                let call = self.client.call(&self.target, context, "object_backport_versions", args);
                *object = self.counted("object_backport_versions".into(), call).await?;
            }
        }
        Ok(())
    }
}
