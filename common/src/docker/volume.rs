//! Calls on volumes.

use std::collections::{BTreeMap, HashMap};

use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptionsBuilder};

use super::{Engine, Error};

impl Engine {
    /// Makes a volume of the driver `local`, which mounts what `options` say (`type`, `device`, `o`) when a container
    /// that has it starts. One that is there already is fine if it is the same.
    ///
    /// # Errors
    /// [`Error::Conflict`] when one of that name has other options.
    pub async fn create_volume(
        &self,
        name: &str,
        options: &[(&str, &str)],
        labels: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            driver: Some("local".into()),
            driver_opts: Some(options.iter().copied().map(owned).collect()),
            labels: Some(labels.clone().into_iter().collect()),
            ..VolumeCreateRequest::default()
        };
        self.docker().create_volume(request).await.map(drop).map_err(|e| self.error(e))
    }

    /// Removes a volume. Returns false when there was none.
    ///
    /// # Errors
    /// [`Error::Conflict`] while containers have it.
    pub async fn remove_volume(&self, name: &str) -> Result<bool, Error> {
        let options = RemoveVolumeOptionsBuilder::default().build();
        match self.docker().remove_volume(name, Some(options)).await.map_err(|e| self.error(e)) {
            Ok(()) => Ok(true),
            Err(Error::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Names of the volumes that carry all `labels` (`key` or `key=value`).
    ///
    /// # Errors
    /// When dockerd does not answer.
    pub async fn list_volumes(&self, labels: &[String]) -> Result<Vec<String>, Error> {
        let filters = HashMap::from([("label".to_owned(), labels.to_vec())]);
        let options = ListVolumesOptionsBuilder::default().filters(&filters).build();
        let found = self.docker().list_volumes(Some(options)).await.map_err(|e| self.error(e))?;
        Ok(found.volumes.unwrap_or_default().into_iter().map(|volume| volume.name).collect())
    }
}
