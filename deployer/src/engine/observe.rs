//! What exists now with our label, in three calls.

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum as DockerState};
use bollard::query_parameters::ListContainersOptionsBuilder;

use super::docker::explain;
use super::resources::filter;
use super::{Docker, Error, KIND, PARTS, SERVICE, SPEC};
use crate::plan::diff::{Container, Observed, State};

impl Docker {
    /// Containers, network and volumes of the project.
    pub(crate) async fn observe(&self, project: &str) -> Result<Observed, Error> {
        let (containers, networks, volumes) =
            tokio::try_join!(self.containers(project), self.networks(project), self.volumes(project))?;
        Ok(Observed {
            containers: containers.into_iter().collect(),
            network: networks.into_iter().find(|(name, _)| name == project).map(|(_, subnet)| subnet),
            volumes: volumes.into_iter().collect(),
        })
    }

    /// Containers of the project by name, jobs too.
    pub(crate) async fn containers(&self, project: &str) -> Result<Vec<(String, Container)>, Error> {
        let ours = filter(project);
        let mut succeeded = ours.clone();
        succeeded.insert("exited".to_owned(), vec!["0".to_owned()]);
        let (all, succeeded) = tokio::try_join!(self.list(&ours), self.list(&succeeded))?;
        // The list tells that a container has ended, but not its code; the filter does.
        let succeeded: Vec<String> = succeeded.into_iter().filter_map(|container| container.id).collect();
        Ok(all.into_iter().filter_map(|summary| named(summary, &succeeded)).collect())
    }

    async fn list(
        &self,
        filters: &std::collections::HashMap<String, Vec<String>>,
    ) -> Result<Vec<ContainerSummary>, Error> {
        let options = ListContainersOptionsBuilder::default().all(true).filters(filters).build();
        self.api().list_containers(Some(options)).await.map_err(|error| explain("list containers", error))
    }
}

fn named(summary: ContainerSummary, succeeded: &[String]) -> Option<(String, Container)> {
    let name = summary.names?.first()?.trim_start_matches('/').to_owned();
    let id = summary.id?;
    let labels = summary.labels.unwrap_or_default();
    let label = |key: &str| labels.get(key).cloned().unwrap_or_default();
    let networks = summary.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    let mut published: Vec<u16> =
        summary.ports.into_iter().flatten().filter_map(|port| port.public_port).collect();
    published.sort_unstable();
    published.dedup();
    let container = Container {
        published,
        service: label(SERVICE),
        job: label(KIND) == "job",
        spec: label(SPEC),
        parts: label(PARTS),
        image: summary.image_id.unwrap_or_default(),
        state: state(summary.state, succeeded.contains(&id)),
        status: summary.status.unwrap_or_default(),
        joins: summary
            .host_config
            .and_then(|host| Some(host.network_mode?.strip_prefix("container:")?.to_owned())),
        address: networks.values().find_map(|network| network.ip_address.as_deref()?.parse().ok()),
        id,
    };
    Some((name, container))
}

fn state(docker: Option<DockerState>, succeeded: bool) -> State {
    match docker {
        Some(DockerState::RUNNING) => State::Running,
        Some(DockerState::RESTARTING) => State::Restarting,
        Some(DockerState::CREATED) => State::Created,
        Some(DockerState::PAUSED) => State::Paused,
        _ if succeeded => State::Succeeded,
        _ => State::Failed,
    }
}
