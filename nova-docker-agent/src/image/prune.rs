//! Removes images from Docker that no instance uses any more (Nova: the image cache manager).

use std::collections::{BTreeSet, HashMap};

use common::docker;
use common::error_chain::Chain;
use jiff::Timestamp;

use super::store::{ImageStore, REPOSITORY};

/// When each image was last seen in use, by its name in Docker. Kept by the caller from one look to the next.
pub type LastUsed = HashMap<String, Timestamp>;

impl ImageStore {
    /// Removes the images that nobody has used for `minimum_age` seconds, those that were fetched ahead, too.
    ///
    /// `wanted`: glance ids of the images of this host's instances, which may be made anew from them. What any container
    /// on this engine is made from is in use as well.
    ///
    /// # Errors
    /// When dockerd cannot be asked; that one image cannot be removed is only logged.
    pub async fn prune(
        &self,
        wanted: &BTreeSet<String>,
        last_used: &mut LastUsed,
        minimum_age: u64,
    ) -> Result<(), docker::Error> {
        let now = Timestamp::now();
        let ours = format!("{REPOSITORY}/*");
        let (images, containers) =
            tokio::try_join!(self.engine.list_images(&ours), self.engine.list_containers(&[]))?;
        let run: BTreeSet<&str> = containers.iter().map(|container| container.image_id.as_str()).collect();
        let mut present = BTreeSet::new();
        for image in &images {
            for name in &image.tags {
                let Some(id) = glance_id(name) else { continue };
                present.insert(name.clone());
                if wanted.contains(id) || run.contains(image.id.as_str()) {
                    last_used.insert(name.clone(), now);
                    continue;
                }
                let since = self.unused_since(name, last_used, now).await;
                if is_old(since, now, minimum_age) {
                    self.remove(id, name).await;
                }
            }
        }
        last_used.retain(|name, _| present.contains(name));
        Ok(())
    }

    /// From when on the image was not used: when it was last seen in use, or when it came.
    async fn unused_since(&self, name: &str, last_used: &mut LastUsed, now: Timestamp) -> Timestamp {
        let came = self.engine.inspect_image(name).await.ok().and_then(|image| image.tagged_at);
        let came = came.and_then(|time| time.parse::<Timestamp>().ok());
        // dockerd writes a time before all others when it does not know.
        let came = came.filter(|time| *time > Timestamp::UNIX_EPOCH);
        match (last_used.get(name), came) {
            (Some(used), came) => came.map_or(*used, |came| came.max(*used)),
            (None, Some(came)) => came,
            (None, None) => *last_used.entry(name.to_owned()).or_insert(now),
        }
    }

    /// Removes the image `name` of the glance image `id`, unless somebody is about to use it.
    async fn remove(&self, id: &str, name: &str) {
        let slot = self.slot(id);
        let Ok(mut known) = slot.try_lock() else { return };
        match self.engine.remove_image(name).await {
            Ok(_) => {
                *known = None;
                tracing::info!(image = id, name, "removed an image that no instance uses");
            }
            // A container was made from it just now.
            Err(docker::Error::Conflict(why)) => tracing::debug!(name, why, "the image is in use"),
            Err(error) => {
                let error = Chain(&error);
                tracing::warn!(image = id, name, %error, "an image that no instance uses stays");
            }
        }
    }
}

/// The glance image in a name of ours.
fn glance_id(name: &str) -> Option<&str> {
    let (id, _) = name.strip_prefix(REPOSITORY)?.strip_prefix('/')?.rsplit_once(':')?;
    Some(id)
}

fn is_old(since: Timestamp, now: Timestamp, minimum_age: u64) -> bool {
    u64::try_from(now.duration_since(since).as_secs()).is_ok_and(|age| age >= minimum_age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_are_looked_at() {
        assert_eq!(glance_id("nova-image/abc-1:0123"), Some("abc-1"));
        for other in ["debian:12", "nova-image:x", "nova-images/abc:0123", "nova-image/abc"] {
            assert_eq!(glance_id(other), None, "{other}");
        }
    }

    #[test]
    fn a_clock_that_went_back_keeps_an_image() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2026-11-24T12:00:00Z");
        assert!(is_old(at("2026-11-23T11:59:00Z"), now, 86_400));
        assert!(!is_old(at("2026-11-23T12:01:00Z"), now, 86_400));
        assert!(!is_old(at("2026-11-24T13:00:00Z"), now, 0));
    }
}
