//! Networks and volumes.

use std::collections::HashMap;

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest, VolumeCreateRequest};
use bollard::query_parameters::{ListNetworksOptionsBuilder, RemoveVolumeOptionsBuilder};
use common::config::Subnet;

use super::docker::explain;
use super::{Docker, Error, KIND, PROJECT, SPEC};

impl Docker {
    /// The platform's bridge. The lower half of the subnet is for fixed addresses, Docker gives from the upper half.
    pub(crate) async fn create_network(
        &self,
        project: &str,
        name: &str,
        bridge: &str,
        subnet: &Subnet,
    ) -> Result<(), Error> {
        let range = IpamConfig {
            subnet: Some(subnet.to_string()),
            ip_range: Some(subnet.dynamic_range()),
            gateway: Some(subnet.gateway().to_string()),
            ..IpamConfig::default()
        };
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".into()),
            ipam: Some(Ipam { config: Some(vec![range]), ..Ipam::default() }),
            options: Some(HashMap::from([("com.docker.network.bridge.name".into(), bridge.into())])),
            labels: Some(
                labels(project, "network")
                    .into_iter()
                    .chain([(SPEC.to_owned(), subnet.to_string())])
                    .collect(),
            ),
            ..NetworkCreateRequest::default()
        };
        let doing = format!(
            "create network {name} with subnet {subnet} (`subnet` in configuration.yaml chooses another)"
        );
        self.api().create_network(request).await.map_err(|error| explain(&doing, error))?;
        Ok(())
    }

    /// The project's networks: names, each with the subnet it was made with.
    pub(crate) async fn networks(&self, project: &str) -> Result<Vec<(String, String)>, Error> {
        let options = ListNetworksOptionsBuilder::default().filters(&filter(project)).build();
        let list =
            self.api().list_networks(Some(options)).await.map_err(|error| explain("list networks", error))?;
        let subnet = |labels: Option<HashMap<String, String>>| {
            labels.and_then(|mut labels| labels.remove(SPEC)).unwrap_or_default()
        };
        Ok(list.into_iter().filter_map(|network| Some((network.name?, subnet(network.labels)))).collect())
    }

    /// Removes a network; an absent one is fine.
    pub(crate) async fn remove_network(&self, name: &str) -> Result<(), Error> {
        match self
            .api()
            .remove_network(name)
            .await
            .map_err(|error| explain(&format!("remove network {name}"), error))
        {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    /// A named volume with our label.
    pub(crate) async fn create_volume(&self, project: &str, name: &str) -> Result<(), Error> {
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            labels: Some(labels(project, "volume")),
            ..VolumeCreateRequest::default()
        };
        self.api()
            .create_volume(request)
            .await
            .map_err(|error| explain(&format!("create volume {name}"), error))?;
        Ok(())
    }

    /// Names of the project's volumes.
    pub(crate) async fn volumes(&self, project: &str) -> Result<Vec<String>, Error> {
        let options =
            bollard::query_parameters::ListVolumesOptionsBuilder::default().filters(&filter(project)).build();
        let list =
            self.api().list_volumes(Some(options)).await.map_err(|error| explain("list volumes", error))?;
        Ok(list.volumes.unwrap_or_default().into_iter().map(|volume| volume.name).collect())
    }

    /// Removes a volume; an absent one is fine.
    pub(crate) async fn remove_volume(&self, name: &str) -> Result<(), Error> {
        let options = RemoveVolumeOptionsBuilder::default().force(true).build();
        let answer = self.api().remove_volume(name, Some(options)).await;
        match answer.map_err(|error| explain(&format!("remove volume {name}"), error)) {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }
}

/// Docker's filter for "ours".
pub(crate) fn filter(project: &str) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![format!("{PROJECT}={project}")])])
}

fn labels(project: &str, kind: &str) -> HashMap<String, String> {
    HashMap::from([(PROJECT.to_owned(), project.to_owned()), (KIND.to_owned(), kind.to_owned())])
}
