//! Fetches a disk that another agent offers, into Docker.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::error_chain::Chain;
use common::ids::InstanceUuid;
use futures_util::StreamExt;
use reqwest::StatusCode;
use reqwest::header::RANGE;
use tokio::io::AsyncWriteExt;

use super::spool::copy;
use super::{Error, Offer, folder, hex, load, remove};
use crate::virt::Driver;

/// How often a broken transfer is gone on with where it broke.
const ATTEMPTS: u32 = 5;
/// The pause before the first of them; it doubles.
const PAUSE: Duration = Duration::from_millis(500);
/// The source may not be silent for longer; making a layer ready takes time.
const SILENCE: Duration = Duration::from_secs(300);
const CONNECTING: Duration = Duration::from_secs(10);

/// Where a disk arrives.
pub struct Destination<'a> {
    /// This host's Docker.
    pub driver: &'a Driver,
    /// `[DEFAULT] state_path`
    pub state_path: &'a Path,
}

/// The files of one disk on their way in; removed when this is dropped.
pub struct Arriving(PathBuf);

impl Drop for Arriving {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Brings an offered disk into Docker under its name. `base`: layers that Docker has already, from the instance's image.
///
/// # Errors
/// When the source cannot be reached, what comes is not what was offered, or Docker does not take it.
pub async fn fetch(
    here: &Destination<'_>,
    uuid: InstanceUuid,
    (offer, base): (&Offer, &[String]),
) -> Result<(), Error> {
    let arriving = Arriving(folder(here.state_path).join(format!("in-{uuid}")));
    std::fs::create_dir_all(&arriving.0).map_err(Error::file(&arriving.0))?;
    room_for(&arriving.0, offer.size)?;
    let source = Source::new(offer)?;
    let present = base.len() <= offer.layers.len() && offer.layers.starts_with(base);
    let shared = if present { base.len() } else { 0 };
    source.get(&offer.image, &arriving.0).await?;
    for layer in &offer.layers[shared..] {
        source.get(layer, &arriving.0).await?;
    }
    if let Some(digest) = &offer.ephemeral {
        source.get(digest, &arriving.0).await?;
        here.driver.keep_ephemeral(uuid, &arriving.0.join(hex(digest)))?;
    }
    let name = here.driver.moved_name(uuid);
    match here.driver.load_moved(load::archive(offer, &arriving.0, &name)).await {
        Err(error) if shared > 0 => {
            tracing::warn!(error = %Chain(&error), "Docker wants the layers that it has, too");
            for layer in &offer.layers[..shared] {
                source.get(layer, &arriving.0).await?;
            }
            Ok(here.driver.load_moved(load::archive(offer, &arriving.0, &name)).await?)
        }
        other => Ok(other?),
    }
}

/// As long as the disk is fetched and loaded its bytes are here, and in Docker on the same disk or another.
fn room_for(path: &Path, needed: u64) -> Result<(), Error> {
    let found = nix::sys::statvfs::statvfs(path).map_err(|errno| Error::file(path)(errno.into()))?;
    let free = found.blocks_available().saturating_mul(found.fragment_size());
    if free < needed {
        return Err(Error::NoRoom { path: path.to_owned(), needed, free });
    }
    Ok(())
}

struct Source<'a> {
    http: reqwest::Client,
    offer: &'a Offer,
}

impl<'a> Source<'a> {
    fn new(offer: &'a Offer) -> Result<Self, Error> {
        let failed =
            |error: reqwest::Error| Error::Fetch { url: offer.url.clone(), why: Chain(&error).to_string() };
        let certificate = reqwest::Certificate::from_pem(offer.certificate.as_bytes()).map_err(failed)?;
        let http = reqwest::Client::builder()
            .tls_certs_only([certificate])
            .https_only(true)
            .no_proxy()
            .connect_timeout(CONNECTING)
            .read_timeout(SILENCE)
            .build()
            .map_err(failed)?;
        Ok(Self { http, offer })
    }

    /// Fetches one file, going on where it broke off.
    async fn get(&self, digest: &str, directory: &Path) -> Result<(), Error> {
        let path = directory.join(hex(digest));
        let mut pause = PAUSE;
        for attempt in 1.. {
            let Err(why) = self.go_on(hex(digest), &path).await else { break };
            if attempt == ATTEMPTS {
                return Err(Error::Fetch { url: self.offer.url.clone(), why });
            }
            tracing::warn!(digest, why, attempt, "a disk that moves here is held up");
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        let (digest, file) = (digest.to_owned(), path.clone());
        let same =
            tokio::task::spawn_blocking(move || is(&file, hex(&digest)).map(|same| (same, digest))).await;
        let (same, digest) =
            same.map_err(io::Error::other).and_then(|read| read).map_err(Error::file(&path))?;
        if same { Ok(()) } else { Err(Error::Digest { digest }) }
    }

    async fn go_on(&self, digest: &str, path: &Path) -> Result<(), String> {
        let disk = |error: io::Error| format!("{}: {error}", path.display());
        let mut file =
            tokio::fs::OpenOptions::new().create(true).append(true).open(path).await.map_err(disk)?;
        let have = file.metadata().await.map_err(disk)?.len();
        let mut request =
            self.http.get(format!("{}/{digest}", self.offer.url)).bearer_auth(&self.offer.token);
        if have > 0 {
            request = request.header(RANGE, format!("bytes={have}-"));
        }
        let answer = request.send().await.map_err(|error| Chain(&error).to_string())?;
        if have > 0 && answer.status() == StatusCode::OK {
            // It does not know ranges: all of it comes again.
            file.set_len(0).await.map_err(disk)?;
        } else if !answer.status().is_success() {
            return Err(format!("the source answers {}", answer.status()));
        }
        let mut bytes = answer.bytes_stream();
        let mut broken = Ok(());
        while let Some(chunk) = bytes.next().await {
            match chunk {
                Ok(chunk) => file.write_all(&chunk).await.map_err(disk)?,
                Err(error) => {
                    broken = Err(Chain(&error).to_string());
                    break;
                }
            }
        }
        // What has come stays, so that the next attempt goes on after it.
        file.flush().await.map_err(disk)?;
        broken
    }
}

fn is(path: &Path, digest: &str) -> io::Result<bool> {
    Ok(copy(&mut std::fs::File::open(path)?, &mut io::sink())? == digest)
}

#[cfg(test)]
mod tests;
