//! An instance's file system becomes an image in glance: for a snapshot, a backup, and before an instance is shelved.
//!
//! ```text
//! task state  …_PENDING_UPLOAD          …_UPLOADING                 the caller's
//!             docker commit ──────────► docker save ─► glance PUT ──► save ─► discard
//! ```
//! The guest runs on. What goes wrong leaves no image behind, in Docker or in glance.

use common::error_chain::Chain;
use common::messaging::RequestContext;
use common::objects::Instance;
use common::objects::fields::TaskState;
use common::openstack::glance::OnBehalf;

use super::guards::Subject;
use super::locks::Acting;
use crate::agent::Agent;
use crate::conductor::Expect;
use crate::error::Error;
use crate::image;

/// Nova cuts what it keeps of an image's properties to this many characters (`get_system_metadata_from_image`).
const KEPT: usize = 255;

/// The task states on the way, each with what has to be there before.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    /// The data is being made.
    pub pending: (TaskState, Expect),
    /// The data is being sent.
    pub uploading: (TaskState, Expect),
}

/// Of a snapshot.
pub const SNAPSHOT: Steps = Steps {
    pending: (TaskState::ImagePendingUpload, Expect::one_of(&[Some(TaskState::ImageSnapshot)])),
    uploading: (TaskState::ImageUploading, Expect::one_of(&[Some(TaskState::ImagePendingUpload)])),
};

/// Of a backup.
pub const BACKUP: Steps = Steps {
    pending: (TaskState::ImagePendingUpload, Expect::one_of(&[Some(TaskState::ImageBackup)])),
    ..SNAPSHOT
};

/// Before an instance is shelved.
pub const SHELVE: Steps = Steps {
    pending: (TaskState::ShelvingImagePendingUpload, Expect::one_of(&[Some(TaskState::Shelving)])),
    uploading: (
        TaskState::ShelvingImageUploading,
        Expect::one_of(&[Some(TaskState::ShelvingImagePendingUpload)]),
    ),
};

/// On whose behalf glance is asked.
pub fn behalf(context: &RequestContext) -> OnBehalf<'_> {
    OnBehalf { user_token: context.auth_token(), request_id: Some(context.request_id()) }
}

/// Fills the glance image `image` with the file system of the instance.
///
/// The caller calls [`discard`] when it is done, whatever came of it: what was committed tells until then, to an agent
/// that starts, which image was being made.
///
/// # Errors
/// What conductor, dockerd and glance say.
pub async fn take(
    agent: &Agent,
    context: &RequestContext,
    (instance, acting): (&mut Instance, Option<&Acting>),
    (image, steps): (&str, &Steps),
) -> Result<(), Error> {
    let Some(subject) = Subject::of(instance) else { return Ok(()) };
    step(agent, context, instance, &steps.pending).await?;
    let docker_id = agent.driver.commit(subject.uuid(), image).await?;
    step(agent, context, instance, &steps.uploading).await?;
    let properties = properties(instance);
    let properties: Vec<(&str, Option<&str>)> =
        properties.iter().map(|(name, value)| (*name, value.as_deref())).collect();
    let glance = (&agent.glance, behalf(context));
    let archive = agent.driver.archive(&docker_id);
    let uploaded = image::upload(glance, image, &properties, archive);
    tracing::info!(image, docker_id, "sends the file system of the instance to glance");
    match acting {
        Some(acting) => tokio::select! {
            biased;
            () = acting.cancelled() => return Err(Error::Cancelled),
            uploaded = uploaded => uploaded?,
        },
        None => uploaded.await?,
    }
    Ok(())
}

/// Takes away the image in Docker that [`take`] has made.
pub async fn discard(agent: &Agent, image: &str) {
    if let Err(error) = agent.driver.discard(image).await {
        tracing::error!(image, error = %Chain(&error), "the image of a snapshot stays in Docker until the next start");
    }
}

/// What becomes of a snapshot or a backup (Nova: `_snapshot_instance`, `delete_image_on_error`): an instance that was
/// deleted meanwhile, or an image that was, is no error.
///
/// # Errors
/// Any other, after the image is gone from glance.
pub async fn settle(
    agent: &Agent,
    context: &RequestContext,
    (instance, image): (&mut Instance, &str),
    taken: Result<(), Error>,
) -> Result<(), Error> {
    let Err(error) = taken else { return Ok(()) };
    if error.is_being_deleted() || is_leaving(agent, context, instance).await {
        tracing::info!(image, %error, "the instance was deleted during its snapshot");
        remove_unless_active(agent, context, image).await;
        return Ok(());
    }
    if let Error::Image(image::Error::NotFound { .. }) = error {
        tracing::warn!(image, "the image was deleted during the snapshot");
        instance.set_task(None);
        agent.conductor.save(context, instance, Expect::ANY).await?;
        return Ok(());
    }
    remove(agent, context, image).await;
    Err(error)
}

/// Deletes an image of glance that will not be filled; an absent one is fine.
pub async fn remove(agent: &Agent, context: &RequestContext, image: &str) {
    match agent.glance.delete(image, behalf(context)).await {
        Err(error) if error.status() != Some(404) => {
            tracing::warn!(image, error = %Chain(&error), "the image could not be deleted");
        }
        _ => {}
    }
}

/// As [`remove`], for an image that may have got its data.
pub async fn remove_unless_active(agent: &Agent, context: &RequestContext, image: &str) {
    match agent.glance.show(image, behalf(context)).await {
        Ok(record) if record.is_active() => {}
        Ok(_) => remove(agent, context, image).await,
        Err(error) => tracing::debug!(image, error = %Chain(&error), "the image is not there"),
    }
}

async fn step(
    agent: &Agent,
    context: &RequestContext,
    instance: &mut Instance,
    (task, expect): &(TaskState, Expect),
) -> Result<(), Error> {
    instance.set_task(Some(*task));
    Ok(agent.conductor.save(context, instance, *expect).await?)
}

/// True when the instance is gone, or about to be.
async fn is_leaving(agent: &Agent, context: &RequestContext, instance: &Instance) -> bool {
    let Some(uuid) = instance.instance_uuid() else { return false };
    match agent.conductor.instance(context, uuid, &[]).await {
        Ok(now) => matches!(now.task(), Some(TaskState::Deleting | TaskState::SoftDeleting)),
        Err(error) => error.is_instance_not_found(),
    }
}

/// What the image says of itself beside what nova-api has written into it (Nova: libvirt's `_create_snapshot_metadata`).
fn properties(instance: &Instance) -> Vec<(&'static str, Option<String>)> {
    let mut properties = vec![
        ("image_location", Some("snapshot".to_owned())),
        ("image_state", Some("available".to_owned())),
        ("owner_id", Some(instance.project_id().unwrap_or_default().to_owned())),
    ];
    if let Some(os_type) = instance.os_type().filter(|os_type| !os_type.is_empty()) {
        properties.push(("os_type", Some(os_type.to_owned())));
    }
    let command = instance.system_metadata().remove("image_os_command_line").unwrap_or_default();
    if command.chars().count() >= KEPT {
        // Nova hands on the beginning of it; the image itself says all of what is to be run.
        properties.push(("os_command_line", None));
    }
    properties
}
