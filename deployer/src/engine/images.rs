//! Removing images, and finding the instances that the agent made from images.

use std::collections::{BTreeSet, HashMap};

use bollard::models::ContainerSummary;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, PruneImagesOptionsBuilder, RemoveImageOptions,
};

use super::docker::explain;
use super::{Docker, Error, KIND};

/// Label of an instance's container with its hypervisor's name in Nova.
const INSTANCE_HOST: &str = "nova.host";
/// Label of an instance's container with the id of its image in Glance.
const INSTANCE_IMAGE: &str = "nova.image_id";
/// Repository the agent keeps Glance's images under.
const INSTANCE_REPOSITORY: &str = "nova-image";

/// Repository of the image of sandboxes, which an agent brings along and makes again when it is gone.
const SANDBOX_REPOSITORY: &str = "nova-sandbox";

/// What became of an image that was to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    Gone,
    /// A container uses it.
    InUse,
}

impl Docker {
    /// Removes an image's name, and the image when it has no other; an absent one is fine.
    pub(crate) async fn remove_image(&self, name: &str) -> Result<Removal, Error> {
        let answer = self.api().remove_image(name, None::<RemoveImageOptions>, None).await;
        match answer.map_err(|error| explain(&format!("remove image {name}"), error)) {
            Ok(_) => Ok(Removal::Gone),
            Err(error) if error.is_not_found() => Ok(Removal::Gone),
            Err(error) if error.is_conflict() => Ok(Removal::InUse),
            Err(error) => Err(error),
        }
    }

    /// Removes what our earlier builds left without a name. Images in use stay.
    pub(crate) async fn prune_images(&self) -> Result<(), Error> {
        let ours = HashMap::from([
            ("label".to_owned(), vec![format!("{KIND}=image")]),
            ("dangling".to_owned(), vec!["true".to_owned()]),
        ]);
        let options = PruneImagesOptionsBuilder::default().filters(&ours).build();
        let answer = self.api().prune_images(Some(options)).await;
        match answer.map_err(|error| explain("remove old images", error)) {
            // Another prune runs.
            Err(error) if error.is_conflict() => Ok(()),
            other => other.map(drop),
        }
    }

    /// True when a container, running or not, was made from the image.
    pub(crate) async fn is_image_used(&self, name: &str) -> Result<bool, Error> {
        Ok(!self.containers_by("ancestor", name).await?.is_empty())
    }

    /// Names of the containers that are instances on the hypervisor `host`.
    pub(crate) async fn instances(&self, host: &str) -> Result<Vec<String>, Error> {
        let list = self.containers_by("label", &format!("{INSTANCE_HOST}={host}")).await?;
        let name =
            |container: ContainerSummary| Some(container.names?.first()?.trim_start_matches('/').to_owned());
        Ok(list.into_iter().filter_map(name).collect())
    }

    /// Names of the images these instances and their sandboxes were made from.
    pub(crate) async fn instance_images(&self, host: &str) -> Result<BTreeSet<String>, Error> {
        let list = self.containers_by("label", &format!("{INSTANCE_HOST}={host}")).await?;
        let ids: BTreeSet<String> =
            list.into_iter().filter_map(|container| container.labels?.remove(INSTANCE_IMAGE)).collect();
        let repositories = ids.into_iter().map(|id| format!("{INSTANCE_REPOSITORY}/{id}"));
        let mut names = BTreeSet::new();
        for repository in repositories.chain([SANDBOX_REPOSITORY.to_owned()]) {
            let reference = HashMap::from([("reference".to_owned(), vec![repository])]);
            let options = ListImagesOptionsBuilder::default().filters(&reference).build();
            let images =
                self.api().list_images(Some(options)).await.map_err(|error| explain("list images", error))?;
            names.extend(images.into_iter().flat_map(|image| image.repo_tags));
        }
        Ok(names)
    }

    async fn containers_by(&self, filter: &str, value: &str) -> Result<Vec<ContainerSummary>, Error> {
        let filters = HashMap::from([(filter.to_owned(), vec![value.to_owned()])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        self.api().list_containers(Some(options)).await.map_err(|error| explain("list containers", error))
    }
}
