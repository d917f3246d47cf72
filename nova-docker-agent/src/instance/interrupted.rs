//! What the last run of the agent left of snapshots, shelvings and rescues: found from the task state, and undone or done
//! again, before `recovery.rs` looks at the instance.
//!
//! Nova clears the task of a snapshot and leaves its image in glance, and has no rows for the rest, which then stays as it
//! is until an operator resets it.

use common::error_chain::Chain;
use common::messaging::RequestContext;
use common::objects::Instance;
use common::objects::fields::{TaskState, VmState};
use common::openstack::glance::OnBehalf;

use super::recovery::Situation;
use super::shelve::{self, SHELVED_IMAGE_ID};
use super::{snapshot, spawn};
use crate::agent::Agent;
use crate::compute::{Call, UnrescueInstance, carry_out, undo_unshelve};
use crate::conductor::Expect;
use crate::error::Error;
use crate::virt::PowerState;

/// What was under way, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupted {
    /// A snapshot or a backup: its image goes, the task ends.
    Snapshot,
    /// Shelving, and the image may not be complete: it goes, the guest runs again if it did, the task ends.
    Shelve,
    /// Leaving the host: again.
    Offload,
    /// It has left the host, and only the record does not say so.
    LeaveHost,
    /// Unshelving: the instance is on no host again, and may be unshelved again.
    Unshelve,
    /// Unshelved, but the image that it was kept in may still be there.
    ForgetShelving,
    /// A rescue: undone.
    Rescue,
    /// The end of a rescue: again.
    Unrescue,
    /// The rebuild of an instance that was in ERROR and stays there: the task ends.
    Rebuild,
}

/// Decides; None when nothing of this was under way. `was_shelved`: it says so in its metadata.
pub fn interrupted(now: &Situation, was_shelved: bool) -> Option<Interrupted> {
    use TaskState as T;
    use VmState as V;
    if !now.ours || matches!(now.vm_state, V::Deleted | V::SoftDeleted | V::Building) {
        return None;
    }
    match (now.vm_state, now.task) {
        (
            _,
            Some(
                T::ImageSnapshotPending
                | T::ImageSnapshot
                | T::ImageBackup
                | T::ImagePendingUpload
                | T::ImageUploading,
            ),
        ) => Some(Interrupted::Snapshot),
        (_, Some(T::Shelving | T::ShelvingImagePendingUpload | T::ShelvingImageUploading)) => {
            Some(Interrupted::Shelve)
        }
        (V::Shelved | V::ShelvedOffloaded, Some(T::ShelvingOffloading)) => Some(Interrupted::Offload),
        (V::ShelvedOffloaded, None) => Some(Interrupted::LeaveHost),
        (V::ShelvedOffloaded, Some(T::Spawning)) => Some(Interrupted::Unshelve),
        (V::Active, None) if was_shelved => Some(Interrupted::ForgetShelving),
        (_, Some(T::Rescuing)) => Some(Interrupted::Rescue),
        (_, Some(T::Unrescuing)) => Some(Interrupted::Unrescue),
        (V::Error, Some(T::Rebuilding | T::RebuildBlockDeviceMapping | T::RebuildSpawning)) => {
            Some(Interrupted::Rebuild)
        }
        _ => None,
    }
}

/// How an instance stands, for [`interrupted`].
pub fn of(now: &Situation, instance: &Instance) -> Option<Interrupted> {
    interrupted(now, instance.system_metadata().contains_key(SHELVED_IMAGE_ID))
}

/// Puts right what was interrupted. The instance is then as [`super::recovery`] may find it.
///
/// # Errors
/// The first step that fails; the next start tries again.
pub async fn settle(call: &Call, instance: &mut Instance, what: Interrupted) -> Result<(), Error> {
    let (agent, context) = (&call.agent, &call.context);
    if what == Interrupted::Unrescue {
        carry_out(call, UnrescueInstance { instance: instance.clone() }).await?;
        instance.set_task(None);
        return Ok(());
    }
    let acting = agent.acting(instance).await?;
    let uuid = acting.uuid();
    match what {
        Interrupted::Snapshot => remove_images(agent, instance, false).await?,
        Interrupted::Shelve => {
            remove_images(agent, instance, true).await?;
            if ran(instance) {
                spawn::start(agent, &acting, context, false).await?;
            }
        }
        Interrupted::Offload => {
            return shelve::offload(agent, &acting, context, (instance, false)).await;
        }
        Interrupted::LeaveHost => return shelve::leave_host(agent, context, instance).await,
        Interrupted::Unshelve => {
            instance.set_task(None);
            agent.conductor.save(context, instance, Expect::ANY).await?;
            return undo_unshelve(call, &acting, instance).await;
        }
        Interrupted::ForgetShelving => shelve::forget(agent, context, instance).await,
        Interrupted::Rescue => {
            agent.driver.put_back(uuid).await?;
            if ran(instance) {
                spawn::start(agent, &acting, context, false).await?;
            }
        }
        Interrupted::Unrescue | Interrupted::Rebuild => {}
    }
    instance.set_task(None);
    Ok(agent.conductor.save(context, instance, Expect::ANY).await?)
}

/// Ends an unshelving that was asked of this host before this run began, and not begun: the user may ask again. Its request
/// is not carried out any more even if it is in the queue still ([`super::stale`]).
pub async fn forget_unshelving(agent: &Agent, context: &RequestContext, mut instance: Instance) {
    let asked = instance.updated_at().and_then(|at| at.parse::<jiff::Timestamp>().ok());
    let Some(uuid) = instance.uuid().map(str::to_owned) else { return };
    if instance.task() != Some(TaskState::Unshelving) || asked.is_none_or(|asked| asked >= agent.started) {
        return;
    }
    tracing::warn!(instance_uuid = uuid, "the instance was to be unshelved when the last run ended");
    let freed = agent.provider.delete_allocations(&uuid).await;
    instance.set_task(None);
    let expect = Expect::one_of(&[Some(TaskState::Unshelving)]);
    let saved = agent.conductor.save(context, &mut instance, expect).await;
    if let Some(error) = freed.err().map(Error::from).or(saved.err().map(Error::from)) {
        tracing::error!(instance_uuid = uuid, error = %Chain(&error), "its unshelving could not be ended");
    }
}

/// Takes away what was committed and not sent. To be called when no snapshot is under way, after [`settle`].
///
/// # Errors
/// When dockerd does not answer.
pub async fn tidy(agent: &Agent) -> Result<(), Error> {
    for image in agent.driver.committed().await? {
        tracing::warn!(image, "takes away what the last run has committed for an image");
        snapshot::discard(agent, &image).await;
    }
    Ok(())
}

fn ran(instance: &Instance) -> bool {
    instance.power_state() == Some(PowerState::Running as i64)
}

/// Deletes the images of the instance that never got their data; `also_complete`: and the one that was being made, if it
/// did. Asked as the service: nobody waits for it any more.
async fn remove_images(agent: &Agent, instance: &Instance, also_complete: bool) -> Result<(), Error> {
    let (context, uuid) = (RequestContext::admin(), instance.uuid().unwrap_or_default());
    let filters = [("instance_uuid", uuid), ("status", "in:queued,saving"), ("visibility", "all")];
    let mut images: Vec<String> =
        agent.glance.list(&filters, OnBehalf::default()).await?.into_iter().map(|image| image.id).collect();
    if also_complete {
        for image in agent.driver.committed().await? {
            let of_it = agent.glance.show(&image, OnBehalf::default()).await;
            if of_it.is_ok_and(|record| record.property("instance_uuid") == Some(uuid)) {
                images.push(image);
            }
        }
    }
    for image in images {
        tracing::warn!(
            image,
            instance_uuid = uuid,
            "deletes an image that was being made when the last run ended"
        );
        snapshot::remove(agent, &context, &image).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Interrupted as I;
    use TaskState as T;
    use VmState as V;

    fn of(vm_state: V, task: Option<T>) -> Option<Interrupted> {
        let now = Situation { ours: true, vm_state, task, recorded_power: 1, power: PowerState::Running };
        interrupted(&now, false)
    }

    #[test]
    fn a_snapshot_ends_in_whatever_state_it_was_taken() {
        let tasks = [
            T::ImageSnapshotPending,
            T::ImageSnapshot,
            T::ImageBackup,
            T::ImagePendingUpload,
            T::ImageUploading,
        ];
        for task in tasks {
            for state in [V::Active, V::Stopped, V::Paused, V::Suspended, V::Rescued] {
                assert_eq!(of(state, Some(task)), Some(I::Snapshot), "{state:?} {task:?}");
            }
            assert_eq!(of(V::Deleted, Some(task)), None);
        }
    }

    #[test]
    fn a_shelving_is_undone_until_the_image_is_complete_and_then_finished() {
        for task in [T::Shelving, T::ShelvingImagePendingUpload, T::ShelvingImageUploading] {
            assert_eq!(of(V::Active, Some(task)), Some(I::Shelve), "{task:?}");
        }
        assert_eq!(of(V::Shelved, Some(T::ShelvingOffloading)), Some(I::Offload));
        assert_eq!(of(V::Shelved, None), None);
        assert_eq!(of(V::ShelvedOffloaded, None), Some(I::LeaveHost));
    }

    #[test]
    fn an_unshelving_is_undone_and_not_failed_as_a_build() {
        assert_eq!(of(V::ShelvedOffloaded, Some(T::Spawning)), Some(I::Unshelve));
        assert_eq!(of(V::Active, Some(T::Spawning)), None);
        let now = Situation {
            ours: true,
            vm_state: V::Active,
            task: None,
            recorded_power: 1,
            power: PowerState::Running,
        };
        assert_eq!(interrupted(&now, true), Some(I::ForgetShelving));
        assert_eq!(interrupted(&now, false), None);
    }

    #[test]
    fn a_rescue_is_undone_and_its_end_done_again() {
        for state in [V::Active, V::Stopped, V::Error] {
            assert_eq!(of(state, Some(T::Rescuing)), Some(I::Rescue), "{state:?}");
        }
        assert_eq!(of(V::Rescued, Some(T::Unrescuing)), Some(I::Unrescue));
    }

    #[test]
    fn a_rebuild_fails_by_nova_s_row_unless_it_had_failed_before() {
        assert_eq!(of(V::Active, Some(T::RebuildSpawning)), None);
        assert_eq!(of(V::Error, Some(T::RebuildSpawning)), Some(I::Rebuild));
    }

    #[test]
    fn an_instance_of_another_host_is_left_alone() {
        let now = Situation {
            ours: false,
            vm_state: V::ShelvedOffloaded,
            task: None,
            recorded_power: 4,
            power: PowerState::NoState,
        };
        assert_eq!(interrupted(&now, false), None);
    }
}
