//! The RPCs that are not carried out (yet), and how each is refused: an exception that nova-api has an answer for, a
//! fault and an event that say Error, and a state in which the user can go on (RPC-SURFACE, "if unsupported").

use common::error_chain::Chain;
use common::objects::{Migration, ShareMapping};
use serde_json::{Map, Value};

use super::Call;
use crate::error::Error;
use crate::instance::guards::{Guards, Subject, guarded};

/// What the caller gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Python's NotImplementedError: HTTP 501.
    NotImplemented,
    /// A class of `nova.exception` with its code and text.
    Nova(&'static str, u16, &'static str),
    /// No refusal: nothing is what a container has to do here.
    Nothing,
}

/// What has to be put right besides the task state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aftermath {
    /// Nothing.
    None,
    /// The state in the argument `migration`.
    Migration,
    /// The share that would never become usable.
    Share,
}

struct Refusal {
    method: &'static str,
    guards: Guards,
    answer: Answer,
    aftermath: Aftermath,
}

const fn refusal(method: &'static str, guards: Guards, answer: Answer) -> Refusal {
    Refusal { method, guards, answer, aftermath: Aftermath::None }
}

const fn with(aftermath: Aftermath, refusal: Refusal) -> Refusal {
    Refusal { aftermath, ..refusal }
}

const NO_CONSOLE: Answer = Answer::Nova("ConsoleTypeUnavailable", 400, "Unavailable console type");
const NO_QUIESCING: Answer =
    Answer::Nova("InstanceQuiesceNotSupported", 400, "Quiescing is not supported in a container");
const NO_MIGRATION: Answer = Answer::Nova(
    "MigrationPreCheckError",
    400,
    "Migration pre-check error: containers cannot be migrated yet",
);

/// In the order of RPC-SURFACE.
const REFUSALS: &[Refusal] = &[
    // Life cycle
    refusal(
        "trigger_crash_dump",
        Guards::EF,
        Answer::Nova("TriggerCrashDumpNotSupported", 400, "Triggering crash dump is not supported"),
    ),
    // Image operations
    refusal("volume_snapshot_create", Guards::NONE, Answer::NotImplemented),
    refusal("volume_snapshot_delete", Guards::NONE, Answer::NotImplemented),
    // Asked for volumes only: what a container writes to its own disk is in the host's file system already.
    refusal("quiesce_instance", Guards::NONE, NO_QUIESCING),
    refusal("unquiesce_instance", Guards::NONE, NO_QUIESCING),
    // Volumes
    refusal(
        "reserve_block_device_name",
        Guards::RF,
        Answer::Nova(
            "InvalidVolume",
            400,
            "Invalid volume: containers of this host cannot attach volumes yet",
        ),
    ),
    refusal("attach_volume", Guards::EF, Answer::NotImplemented),
    refusal("detach_volume", Guards::EF, Answer::NotImplemented),
    refusal("swap_volume", Guards::EF, Answer::NotImplemented),
    refusal("remove_volume_connection", Guards::NONE, Answer::Nothing),
    with(Aftermath::Share, refusal("allow_share", Guards::EF, Answer::NotImplemented)),
    with(Aftermath::Share, refusal("deny_share", Guards::EF, Answer::NotImplemented)),
    // Console
    refusal("get_vnc_console", Guards::F, NO_CONSOLE),
    refusal("get_spice_console", Guards::F, NO_CONSOLE),
    refusal("get_mks_console", Guards::F, NO_CONSOLE),
    refusal("get_rdp_console", Guards::F, Answer::NotImplemented),
    // Resize between cells
    refusal("prep_snapshot_based_resize_at_dest", Guards::EF, NO_MIGRATION),
    with(
        Aftermath::Migration,
        refusal("prep_snapshot_based_resize_at_source", Guards::REF, Answer::NotImplemented),
    ),
    with(
        Aftermath::Migration,
        refusal("finish_snapshot_based_resize_at_dest", Guards::REF, Answer::NotImplemented),
    ),
    with(
        Aftermath::Migration,
        refusal("confirm_snapshot_based_resize_at_source", Guards::EF, Answer::NotImplemented),
    ),
    with(
        Aftermath::Migration,
        refusal("revert_snapshot_based_resize_at_dest", Guards::REF, Answer::NotImplemented),
    ),
    with(
        Aftermath::Migration,
        refusal("finish_revert_snapshot_based_resize_at_source", Guards::REF, Answer::NotImplemented),
    ),
    // Live migration
    refusal("check_can_live_migrate_destination", Guards::EF, NO_MIGRATION),
    refusal("check_can_live_migrate_source", Guards::EF, NO_MIGRATION),
    refusal("pre_live_migration", Guards::EF, Answer::NotImplemented),
    with(Aftermath::Migration, refusal("live_migration", Guards::REF, Answer::NotImplemented)),
    refusal("post_live_migration_at_destination", Guards::EF, Answer::NotImplemented),
    refusal("rollback_live_migration_at_destination", Guards::EF, Answer::NotImplemented),
    refusal("drop_move_claim_at_destination", Guards::F, Answer::NotImplemented),
    refusal("live_migration_force_complete", Guards::EF, Answer::NotImplemented),
    refusal("live_migration_abort", Guards::EF, Answer::NotImplemented),
    // Host
    refusal("host_power_action", Guards::NONE, Answer::NotImplemented),
    refusal("host_maintenance_mode", Guards::NONE, Answer::NotImplemented),
];

/// The names of all refused methods.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    REFUSALS.iter().map(|refusal| refusal.method)
}

/// How `method` is refused, for people; none when it is carried out.
#[cfg(test)]
pub(super) fn described(method: &str) -> Option<String> {
    let refusal = REFUSALS.iter().find(|refusal| refusal.method == method)?;
    Some(match refusal.answer {
        Answer::NotImplemented => "refused: NotImplementedError (501)".into(),
        Answer::Nova(class, code, _) => format!("refused: {class} ({code})"),
        Answer::Nothing => "nothing to do".into(),
    })
}

/// Refuses `method` as it has to be refused.
///
/// # Errors
/// Nearly always: the refusal; [`Error::NoSuchMethod`] for a method that Nova does not have.
pub(super) async fn refuse(call: &Call, method: &str, args: Map<String, Value>) -> Result<Value, Error> {
    let Some(refusal) = REFUSALS.iter().find(|refusal| refusal.method == method) else {
        return Err(Error::NoSuchMethod(method.to_owned()));
    };
    let subject = Subject::named_in(&args);
    let event = format!("compute_{method}");
    let work = async {
        let answer = refusal.answer(&args);
        if answer.is_err() {
            put_right(call, refusal.aftermath, &args).await;
        }
        answer
    };
    guarded(&call.agent, &call.context, (&event, refusal.guards), subject.clone(), work).await
}

impl Refusal {
    fn answer(&self, args: &Map<String, Value>) -> Result<Value, Error> {
        match self.answer {
            Answer::Nothing => Ok(Value::Null),
            Answer::NotImplemented => {
                let what = self.method.replace('_', " ");
                Err(Error::NotImplemented(format!("{what} is not supported for containers of this host yet")))
            }
            Answer::Nova(class, code, text) => {
                let kind = args.get("console_type").and_then(Value::as_str);
                let message = match kind.filter(|_| class == "ConsoleTypeUnavailable") {
                    Some(kind) => format!("{text} {kind}."),
                    None => format!("{text}."),
                };
                Err(Error::Refused { class, code, message })
            }
        }
    }
}

/// Leaves nothing behind that would hang for ever.
async fn put_right(call: &Call, aftermath: Aftermath, args: &Map<String, Value>) {
    match aftermath {
        Aftermath::None => {}
        Aftermath::Migration => fail_migration(call, args).await,
        Aftermath::Share => fail_share(call, args).await,
    }
}

/// Marks the migration in the argument of that name as failed, and gives its allocations back.
pub(super) async fn fail_migration(call: &Call, args: &Map<String, Value>) {
    let migration = args.get("migration").filter(|migration| !migration.is_null());
    let Some(Ok(mut migration)) =
        migration.map(|migration| serde_json::from_value::<Migration>(migration.clone()))
    else {
        return;
    };
    migration.set_status("error");
    if let Err(error) = call.agent.conductor.save_object(&call.context, &mut migration).await {
        tracing::warn!(error = %Chain(&error), "the migration could not be marked as failed");
    }
    // While a resize is under way the old host's share is held in the name of the migration.
    if let (Some(from), Some(to)) = (migration.uuid(), migration.instance_uuid())
        && let Err(error) = call.agent.provider.revert_allocations(from, to).await
    {
        tracing::warn!(error = %Chain(&error), "the allocations could not be given back to the instance");
    }
}

async fn fail_share(call: &Call, args: &Map<String, Value>) {
    let share = args.get("share_mapping").cloned().unwrap_or_default();
    let Ok(mut share) = serde_json::from_value::<ShareMapping>(share) else { return };
    share.set_status("error");
    if let Err(error) = call.agent.conductor.save_object(&call.context, &mut share).await {
        tracing::warn!(error = %Chain(&error), "the share could not be marked as unusable");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(method: &str) -> &'static Refusal {
        REFUSALS.iter().find(|refusal| refusal.method == method).unwrap()
    }

    #[test]
    fn consoles_are_refused_by_the_name_the_user_gave() {
        let args = json!({"console_type": "novnc"});
        let error = of("get_vnc_console").answer(args.as_object().unwrap()).unwrap_err().to_remote();
        assert_eq!(error.message, "Unavailable console type novnc.");
        assert_eq!(error.class, "ConsoleTypeUnavailable");
    }

    #[test]
    fn a_cast_that_left_a_task_behind_reverts_it() {
        assert!(of("live_migration").guards.revert);
    }

    #[test]
    fn a_refusal_is_a_sentence() {
        let error = of("live_migration").answer(&Map::new()).unwrap_err();
        assert_eq!(error.to_string(), "live migration is not supported for containers of this host yet");
    }
}
