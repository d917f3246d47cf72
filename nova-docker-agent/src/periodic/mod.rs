//! What is done by the clock (Nova: periodic tasks): one file per task, called as in Nova without the underscore.
//!
//! A task is a function without input that may run any number of times. Each has its own timer, so a slow one does not
//! delay the heartbeat.

mod check_instance_build_time;
mod cleanup_expired_console_auth_tokens;
mod cleanup_incomplete_migrations;
mod cleanup_running_deleted_instances;
mod find_orphans;
mod handle_lifecycle_event;
mod heal_instance_info_cache;
mod poll_rebooting_instances;
mod poll_rescued_instances;
mod poll_shelved_instances;
mod poll_unconfirmed_resizes;
mod reclaim_queued_deletes;
mod report_state;
mod run_image_cache_manager_pass;
mod run_pending_deletes;
mod sync_power_states;
mod sync_scheduler_instance_info;
mod update_available_resource;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use common::error_chain::Chain;
use common::objects::Service;

use crate::activity::Failure;
use crate::agent::Agent;
use crate::config::Config;
use crate::error::Error;

/// Something to be done again and again.
trait Task: Send + Sync + 'static {
    /// Nova's name of it.
    const NAME: &'static str;
    /// Whether the first run comes at once or after a period.
    const AT_ONCE: bool = false;

    /// How often; None means never.
    fn period(config: &Config) -> Option<Duration>;

    /// Does it once.
    fn run(&mut self, agent: &Agent) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Starts all tasks; they end when the agent is asked to stop.
pub(crate) fn start(agent: &Arc<Agent>, service: Service) {
    // Nova's first heartbeat comes five seconds after the start; Service.create counts until then.
    begin(agent, report_state::ReportState::new(service));
    begin(agent, update_available_resource::UpdateAvailableResource);
    begin(agent, sync_power_states::SyncPowerStates);
    begin(agent, cleanup_running_deleted_instances::CleanupRunningDeletedInstances);
    begin(agent, run_pending_deletes::RunPendingDeletes);
    begin(agent, find_orphans::FindOrphans::default());
    begin(agent, reclaim_queued_deletes::ReclaimQueuedDeletes);
    begin(agent, check_instance_build_time::CheckInstanceBuildTime);
    begin(agent, poll_rebooting_instances::PollRebootingInstances);
    begin(agent, poll_rescued_instances::PollRescuedInstances);
    begin(agent, poll_shelved_instances::PollShelvedInstances);
    begin(agent, run_image_cache_manager_pass::RunImageCacheManagerPass::default());
    begin(agent, poll_unconfirmed_resizes::PollUnconfirmedResizes);
    begin(agent, cleanup_incomplete_migrations::CleanupIncompleteMigrations);
    begin(agent, sync_scheduler_instance_info::SyncSchedulerInstanceInfo);
    begin(agent, cleanup_expired_console_auth_tokens::CleanupExpiredConsoleAuthTokens);
    begin(agent, heal_instance_info_cache::HealInstanceInfoCache);
    handle_lifecycle_event::start(agent);
    let saver = Arc::clone(agent);
    agent.life.spawn_service(async move {
        tokio::select! {
            () = saver.tracker.keep_saved() => {}
            () = saver.life.stopped() => {}
        }
    });
}

fn begin<T: Task>(agent: &Arc<Agent>, mut task: T) {
    let Some(period) = T::period(&agent.config) else { return };
    let agent = Arc::clone(agent);
    agent.life.clone().spawn_service(async move {
        let mut pause = if T::AT_ONCE { Duration::ZERO } else { period };
        loop {
            tokio::select! {
                biased;
                () = agent.life.stopped() => return,
                () = tokio::time::sleep(pause) => {}
            }
            if let Err(error) = task.run(&agent).await {
                tracing::warn!(task = T::NAME, error = %Chain(&error), "a periodic task failed; it is tried again");
                agent.metrics.task_failures.inc();
                agent.activity.failed(Failure {
                    time: jiff::Timestamp::now(),
                    what: T::NAME.to_owned(),
                    request_id: None,
                    instance_uuid: None,
                    refused: false,
                    message: Chain(&error).to_string(),
                });
            }
            pause = period;
        }
    });
}

/// Seconds as Nova's options give them: negative means never, 0 the default of a minute.
fn seconds(option: i64) -> Option<Duration> {
    match option {
        0 => Some(Duration::from_secs(60)),
        seconds => u64::try_from(seconds).ok().map(Duration::from_secs),
    }
}

/// How often is looked for what takes longer than `timeout` seconds; 0 means never. Nova looks once a minute; a shorter time
/// would wait for that in vain.
fn while_timed(timeout: u64) -> Option<Duration> {
    (timeout > 0).then(|| Duration::from_secs(timeout.min(60)))
}

/// Whether a time of Nova's is more than so many seconds ago; one that cannot be read is not.
fn is_older(time: &str, seconds: u64) -> bool {
    let Ok(time) = time.parse::<jiff::Timestamp>() else { return false };
    let age = jiff::Timestamp::now().duration_since(time).as_secs();
    u64::try_from(age).is_ok_and(|age| age > seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_compared_as_nova_writes_them() {
        assert!(is_older("2020-01-01T00:00:00Z", 60));
        assert!(!is_older("2999-01-01T00:00:00Z", 60));
        assert!(!is_older("yesterday", 0));
        let now = jiff::Timestamp::now().to_string();
        assert!(!is_older(&now, 60));
    }
}
