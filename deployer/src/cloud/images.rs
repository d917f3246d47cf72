//! Images in Glance.

use common::openstack::http::Request;
use reqwest::{Body, Method};
use serde::Deserialize;
use serde_json::json;

use super::{Cloud, Error};

#[derive(Deserialize)]
struct Images {
    images: Vec<Image>,
}

#[derive(Deserialize)]
struct Image {
    id: String,
    status: String,
}

impl Cloud {
    /// The id of the active image of that name.
    ///
    /// # Errors
    /// When Glance does not answer.
    pub(crate) async fn find_image(&self, name: &str) -> Result<Option<String>, Error> {
        let path = format!("/v2/images?name={name}&sort=created_at:desc");
        let images: Images = self.image.json(&Request::new(Method::GET, &path)).await?;
        Ok(images.images.into_iter().find(|image| image.status == "active").map(|image| image.id))
    }

    /// Uploads a `docker save` archive as a public image and returns its id. An upload that breaks leaves no image.
    ///
    /// # Errors
    /// When Glance refuses the record or the data.
    pub(crate) async fn upload_image(&self, name: &str, archive: Body) -> Result<String, Error> {
        let record = json!({"name": name, "container_format": "docker", "disk_format": "raw",
            "visibility": "public", "min_ram": 32});
        let image: Image = self.image.json(&Request::new(Method::POST, "/v2/images").json(record)).await?;
        let file = format!("/v2/images/{}/file", image.id);
        if let Err(error) = self.image.upload(&Request::new(Method::PUT, &file), archive).await {
            let path = format!("/v2/images/{}", image.id);
            // The first error is the one to tell.
            let _ = self.image.send(&Request::new(Method::DELETE, &path)).await;
            return Err(error.into());
        }
        Ok(image.id)
    }
}
