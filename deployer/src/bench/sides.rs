//! The two compute services of a benchmark, and what is measured at them from outside.

use std::time::{Duration, Instant};

use bollard::exec::{CreateExecOptions, StartExecResults};
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder};
use futures_util::StreamExt;

use super::{Error, firehose::Firehose, process};
use crate::bootstrap::mysql;
use crate::cloud::Cloud;
use crate::engine::Docker;
use crate::printer::Printer;

/// The container that is run beside the instances.
const BESIDE: &str = "octopenstack-bench-beside";

/// One compute service.
#[derive(Debug)]
pub(crate) struct Side {
    /// For the output.
    pub(crate) label: &'static str,
    /// Its host in Nova.
    pub(crate) host: String,
    /// The container it runs in.
    pub(crate) container: String,
}

/// What a benchmark is about.
pub(crate) struct Subjects {
    /// The agent.
    pub(crate) ours: Side,
    /// nova-compute with its fake driver.
    pub(crate) theirs: Side,
    /// Id of the image in Glance.
    pub(crate) image: String,
    /// Id of the flavor.
    pub(crate) flavor: String,
    /// The same image in Docker.
    pub(crate) docker_image: String,
    /// The agent's `/metrics`.
    pub(crate) metrics: String,
    /// The broker's container and its URI with the password.
    pub(crate) broker: (String, String),
    /// Nova's database.
    pub(crate) database: mysql::Server,
}

/// Everything a benchmark of boots works with.
pub(crate) struct Sides<'a> {
    pub(super) cloud: &'a Cloud,
    pub(super) printer: &'a Printer,
    pub(super) ours: Side,
    pub(super) theirs: Side,
    pub(super) image: String,
    pub(super) flavor: String,
    docker: &'a Docker,
    docker_image: String,
    metrics: String,
    pub(super) database: mysql::Server,
    broker: (String, String),
}

/// Count and total time of the boots the agent has finished.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Boots {
    count: f64,
    seconds: f64,
}

impl Boots {
    /// Mean time of the boots since then; `None` when there was none.
    pub(super) fn mean_since(self, before: Boots) -> Option<Duration> {
        Duration::try_from_secs_f64((self.seconds - before.seconds) / (self.count - before.count)).ok()
    }
}

impl<'a> Sides<'a> {
    /// On this platform.
    pub(crate) fn new(
        cloud: &'a Cloud,
        docker: &'a Docker,
        printer: &'a Printer,
        subjects: Subjects,
    ) -> Self {
        Self {
            cloud,
            printer,
            ours: subjects.ours,
            theirs: subjects.theirs,
            image: subjects.image,
            flavor: subjects.flavor,
            docker,
            docker_image: subjects.docker_image,
            metrics: subjects.metrics,
            broker: subjects.broker,
            database: subjects.database,
        }
    }

    /// Does something with the broker's tracing on. It costs the broker a copy of each message: what is timed is done without.
    ///
    /// # Errors
    /// What `work` says, or the broker, when it does not let us.
    pub(super) async fn traced<T>(
        &self,
        work: impl AsyncFnOnce(&Firehose) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (container, uri) = &self.broker;
        tracing(self.docker, container, "trace_on").await?;
        let done = match Firehose::start(uri).await {
            Ok(firehose) => work(&firehose).await,
            Err(error) => Err(error.into()),
        };
        tracing(self.docker, container, "trace_off").await?;
        done
    }

    /// Resident memory of a compute service in MB, without the init of its container.
    pub(super) async fn rss(&self, side: &Side) -> Result<f64, Error> {
        let found = self.docker.api().inspect_container(&side.container, None).await?;
        let pid = found.state.and_then(|state| state.pid).and_then(|pid| u32::try_from(pid).ok());
        let init = pid.filter(|pid| *pid > 0).ok_or_else(|| Error::NotRunning(side.container.clone()))?;
        let service: Vec<u32> = process::tree(init).into_iter().filter(|pid| *pid != init).collect();
        Ok(process::memory(&service).rss_mb())
    }

    /// What the agent says of its boots: from the delivery of the RPC to ACTIVE saved.
    ///
    /// # Errors
    /// When its metrics cannot be read or lack the histogram.
    pub(super) async fn agent_boots(&self) -> Result<Boots, Error> {
        let url = &self.metrics;
        let failed = |source| Error::Metrics { url: url.clone(), source };
        let answer = reqwest::get(url).await.and_then(reqwest::Response::error_for_status).map_err(failed)?;
        parse_boots(&answer.text().await.map_err(failed)?).ok_or_else(|| Error::NoBoots(url.clone()))
    }

    /// `docker run -d` of the instances' image with an instance's limits: time until it is started.
    pub(super) async fn docker_run(&self) -> Result<Duration, Error> {
        let docker = self.docker.api();
        let remove = || RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        let body = ContainerCreateBody {
            image: Some(self.docker_image.clone()),
            host_config: Some(HostConfig {
                network_mode: Some("none".to_owned()),
                memory: Some(64 << 20),
                memory_swap: Some(64 << 20),
                pids_limit: Some(1024),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let start = Instant::now();
        let options = CreateContainerOptionsBuilder::default().name(BESIDE).build();
        docker.create_container(Some(options), body).await?;
        let started = docker.start_container(BESIDE, None).await;
        let took = start.elapsed();
        docker.remove_container(BESIDE, Some(remove())).await?;
        started?;
        Ok(took)
    }
}

/// `rabbitmqctl trace_on` or `trace_off` in the broker's container.
async fn tracing(docker: &Docker, broker: &str, verb: &str) -> Result<(), Error> {
    let options = CreateExecOptions {
        cmd: Some(vec!["rabbitmqctl".to_owned(), verb.to_owned()]),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..CreateExecOptions::default()
    };
    let exec = docker.api().create_exec(broker, options).await?;
    if let StartExecResults::Attached { mut output, .. } = docker.api().start_exec(&exec.id, None).await? {
        // What it says is of no use; its end is.
        while output.next().await.is_some() {}
    }
    Ok(())
}

/// `None` when the histogram is not among the metrics.
fn parse_boots(metrics: &str) -> Option<Boots> {
    let value = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.trim().parse().ok()
    };
    Some(Boots {
        count: value("nova_docker_agent_boot_duration_seconds_count")?,
        seconds: value("nova_docker_agent_boot_duration_seconds_sum")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boots_are_read_from_the_histogram() {
        let text = "# TYPE nova_docker_agent_boot_duration_seconds histogram\n\
                    nova_docker_agent_boot_duration_seconds_sum 2.5\n\
                    nova_docker_agent_boot_duration_seconds_count 5\n\
                    nova_docker_agent_boot_duration_seconds_bucket{le=\"0.05\"} 0\n";
        let boots = parse_boots(text).unwrap();
        assert_eq!(boots, Boots { count: 5.0, seconds: 2.5 });
        let before = Boots { count: 1.0, seconds: 0.5 };
        assert_eq!(boots.mean_since(before), Some(Duration::from_millis(500)));
        assert_eq!(boots.mean_since(boots), None);
    }

    #[test]
    fn metrics_without_the_histogram_are_no_measurement() {
        assert_eq!(parse_boots("nova_docker_agent_rpcs_total 3\n"), None);
    }
}
