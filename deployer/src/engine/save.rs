//! Images as archives.

use futures_util::{Stream, TryStreamExt};
use tokio_util::bytes::Bytes;

use super::docker::explain;
use super::{Docker, Error};

impl Docker {
    /// `docker save` of one image; owned, so that it may outlive the caller as the body of a request.
    pub(crate) fn save_image(&self, image: &str) -> impl Stream<Item = Result<Bytes, Error>> + Send + use<> {
        let (api, image) = (self.api().clone(), image.to_owned());
        let doing = format!("save image {image}");
        export(api, image).map_err(move |error| explain(&doing, error))
    }
}

fn export(
    api: bollard::Docker,
    image: String,
) -> impl Stream<Item = Result<Bytes, bollard::errors::Error>> + Send {
    use futures_util::StreamExt;
    // bollard's stream borrows the client: the pair is moved along from chunk to chunk.
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    tokio::spawn(async move {
        let mut chunks = std::pin::pin!(api.export_image(&image));
        while let Some(chunk) = chunks.next().await {
            if sender.send(chunk).await.is_err() {
                return;
            }
        }
    });
    futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    })
}
