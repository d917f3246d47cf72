//! Makes a backup of an instance, and deletes the oldest ones beyond so many.

use common::error_chain::Chain;
use common::objects::Instance;
use serde::Deserialize;

use super::snapshot_instance::take;
use super::{Call, Method};
use crate::error::Error;
use crate::instance::guards::Guards;
use crate::instance::snapshot::{self, behalf};

/// The arguments.
#[derive(Deserialize)]
pub struct BackupInstance {
    /// The instance.
    pub instance: Instance,
    /// The image in glance that nova-api has made for it.
    pub image_id: String,
    /// `daily`, `weekly` or another word of the user's.
    pub backup_type: String,
    /// How many backups of that type are kept.
    pub rotation: usize,
}

impl Method for BackupInstance {
    const NAME: &'static str = "backup_instance";
    const GUARDS: Guards = Guards::REF;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(mut self, call: &Call) -> Result<(), Error> {
        let taken = take(call, (&mut self.instance, &self.image_id), &snapshot::BACKUP).await;
        let subject = (&mut self.instance, self.image_id.as_str());
        snapshot::settle(&call.agent, &call.context, subject, taken).await?;
        self.rotate(call).await
    }
}

impl BackupInstance {
    /// Nova: `_rotate_backups`. That one cannot be deleted keeps nobody from deleting the next.
    async fn rotate(&self, call: &Call) -> Result<(), Error> {
        let (glance, behalf) = (&call.agent.glance, behalf(&call.context));
        let filters = [
            ("image_type", "backup"),
            ("backup_type", &self.backup_type),
            ("instance_uuid", self.instance.uuid().unwrap_or_default()),
            ("sort", "created_at:desc"),
        ];
        let backups = glance.list(&filters, behalf).await?;
        for old in backups.iter().skip(self.rotation) {
            match glance.delete(&old.id, behalf).await {
                Err(error) if error.status() != Some(404) => {
                    tracing::error!(image = old.id, error = %Chain(&error), "an old backup could not be deleted");
                }
                _ => tracing::info!(image = old.id, "deleted an old backup"),
            }
        }
        Ok(())
    }
}
