//! The content of a config drive: what nova-metadata tells an instance, as the tree of files that Nova's own config drives
//! are (`nova.api.metadata.base.InstanceMetadata.metadata_for_config_drive`).

use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Map, Value, json};

use super::nova::NovaMetadata;
use super::{Error, Identity};

/// Files of each version; `password` is left out, for it is written by the guest and not read.
const FILES: [&str; 5] =
    ["meta_data.json", "user_data", "network_data.json", "vendor_data.json", "vendor_data2.json"];

/// The version of EC2's metadata that Nova puts on a drive besides `latest` (`config_drive_skip_versions`).
const EC2: &str = "2009-04-04";

/// Requests at a time.
const AT_ONCE: usize = 8;

/// A file of the drive: its path without a slash at the beginning, and its content.
pub type File = (String, Vec<u8>);

/// Everything that belongs on the drive of an instance.
pub(super) async fn files(nova: &NovaMetadata, identity: &Identity) -> Result<Vec<File>, Error> {
    let (openstack, ec2) = tokio::try_join!(openstack(nova, identity), ec2(nova, identity))?;
    Ok(openstack.into_iter().chain(ec2).collect())
}

async fn openstack(nova: &NovaMetadata, identity: &Identity) -> Result<Vec<File>, Error> {
    let versions = lines(nova, "/openstack/", identity).await?;
    let of_each = versions.into_iter().map(|version| of_version(nova, version, identity));
    let files: Vec<Vec<File>> = stream::iter(of_each).buffered(AT_ONCE).try_collect().await?;
    Ok(files.into_iter().flatten().collect())
}

async fn of_version(nova: &NovaMetadata, version: String, identity: &Identity) -> Result<Vec<File>, Error> {
    let path = format!("/openstack/{}/", version.trim_end_matches('/'));
    let listed = lines(nova, &path, identity).await?;
    let mut files = Vec::new();
    for file in FILES.iter().filter(|file| listed.iter().any(|line| line == **file)) {
        let path = format!("{path}{file}");
        if let Some(content) = nova.read(&path, identity).await? {
            files.push((path.trim_start_matches('/').to_owned(), content));
        }
    }
    Ok(files)
}

async fn ec2(nova: &NovaMetadata, identity: &Identity) -> Result<Vec<File>, Error> {
    let (data, user_data) = tokio::try_join!(
        directory(nova, "/latest/meta-data/".to_owned(), identity),
        nova.read("/latest/user-data", identity),
    )?;
    let data = serde_json::to_vec(&data).unwrap_or_default();
    let of_version = |version: &str| {
        let file = |name: &str, content: &[u8]| (format!("ec2/{version}/{name}"), content.to_vec());
        let user_data = user_data.as_ref().map(|content| file("user-data", content));
        std::iter::once(file("meta-data.json", &data)).chain(user_data)
    };
    Ok([EC2, "latest"].into_iter().flat_map(of_version).collect())
}

/// A directory of EC2's metadata as one object. An entry is a text, `NAME/` a directory, and `0=NAME` the first of several.
fn directory<'a>(
    nova: &'a NovaMetadata,
    path: String,
    identity: &'a Identity,
) -> BoxFuture<'a, Result<Value, Error>> {
    Box::pin(async move {
        let entries = lines(nova, &path, identity).await?;
        let read = |entry: String| {
            let path = &path;
            async move {
                let (name, folder) = named(&entry);
                let value = match folder {
                    true => directory(nova, format!("{path}{name}/"), identity).await?,
                    false => scalar(
                        name,
                        &nova.read(&format!("{path}{name}"), identity).await?.unwrap_or_default(),
                    ),
                };
                Ok::<_, Error>((name.to_owned(), value))
            }
        };
        let object: Map<String, Value> =
            stream::iter(entries.into_iter().map(read)).buffered(AT_ONCE).try_collect().await?;
        Ok(Value::Object(object))
    })
}

/// The name of an entry, and whether there is more below it.
fn named(entry: &str) -> (&str, bool) {
    match entry.split_once('=') {
        Some((index, _)) => (index, true),
        None => (entry.trim_end_matches('/'), entry.ends_with('/')),
    }
}

/// Everything is text but the number of the instance in its request.
fn scalar(name: &str, content: &[u8]) -> Value {
    let text = String::from_utf8_lossy(content);
    match (name, text.parse::<i64>()) {
        ("ami-launch-index", Ok(number)) => json!(number),
        _ => json!(text),
    }
}

async fn lines(nova: &NovaMetadata, path: &str, identity: &Identity) -> Result<Vec<String>, Error> {
    let Some(content) = nova.read(path, identity).await? else { return Ok(Vec::new()) };
    let text = String::from_utf8_lossy(&content);
    Ok(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_nova_writes_them() {
        assert_eq!(named("placement/"), ("placement", true));
        assert_eq!(named("0=my key"), ("0", true));
        assert_eq!(named("ami-id"), ("ami-id", false));
        assert_eq!(scalar("ami-launch-index", b"0"), json!(0));
        assert_eq!(scalar("instance-id", b"1"), json!("1"));
    }
}
