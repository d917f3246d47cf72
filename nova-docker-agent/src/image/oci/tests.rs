//! Archives of OCI's image layout, good and hostile ones.

use std::io::Cursor;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::image::archive::tests::{digest_of, gzip, layer, limits, tar};
use crate::image::archive::{Archive, check};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A layout whose parts a test may spoil; blobs by their name.
struct Laid {
    blobs: Vec<(String, Vec<u8>)>,
    index: Value,
}

impl Laid {
    /// One image of two layers, one of them compressed.
    fn new() -> Self {
        let mut laid = Self { blobs: Vec::new(), index: json!({}) };
        let manifest = laid.manifest("amd64");
        laid.index = json!({"schemaVersion": 2, "manifests": [manifest]});
        laid
    }

    /// Adds an image; gives the descriptor of its manifest.
    fn manifest(&mut self, architecture: &str) -> Value {
        let (one, two) = (layer("etc/a", 600), layer("etc/b", 700));
        let config = json!({
            "architecture": architecture, "os": "linux", "config": {"Entrypoint": ["/sbin/init"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(&one), digest_of(&two)]},
        });
        let layers = [
            self.blob("application/vnd.oci.image.layer.v1.tar+gzip", gzip(&one)),
            self.blob("application/vnd.oci.image.layer.v1.tar", two),
        ];
        let config = self.blob("application/vnd.oci.image.config.v1+json", config.to_string().into_bytes());
        self.blob(
            MANIFEST,
            json!({"schemaVersion": 2, "config": config, "layers": layers}).to_string().into_bytes(),
        )
    }

    /// Adds a blob; gives its descriptor.
    fn blob(&mut self, media_type: &str, data: Vec<u8>) -> Value {
        let (digest, size) = (digest_of(&data), data.len());
        let name = digest.replace("sha256:", "blobs/sha256/");
        if !self.blobs.iter().any(|(known, _)| *known == name) {
            self.blobs.push((name, data));
        }
        json!({"mediaType": media_type, "digest": digest, "size": size})
    }

    fn bytes(&self) -> Vec<u8> {
        let index = self.index.to_string();
        let mut files: Vec<(&str, &[u8])> =
            vec![("oci-layout", br#"{"imageLayoutVersion": "1.0.0"}"#), ("index.json", index.as_bytes())];
        files.extend(self.blobs.iter().map(|(name, data)| (name.as_str(), data.as_slice())));
        tar(&files)
    }

    fn check(&self) -> Result<Archive, Fault> {
        check(&mut Cursor::new(self.bytes()), &limits())
    }

    fn refusal(&self) -> String {
        match self.check() {
            Err(Fault::Refused(clause)) => clause,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }
}

fn platform(mut descriptor: Value, os: &str, architecture: &str, variant: &str) -> Value {
    descriptor["platform"] = json!({"os": os, "architecture": architecture, "variant": variant});
    descriptor
}

#[test]
fn an_image_is_found_and_its_layers_are_measured_unpacked() {
    let archive = Laid::new().check().unwrap();
    assert_eq!(archive.layers.iter().map(|layer| layer.len).collect::<Vec<_>>(), [2560, 2560]);
    assert!(archive.layers[0].extent.len < 500 && archive.has_command);
}

#[test]
fn the_image_for_this_host_is_chosen_among_others_and_attestations() {
    let mut laid = Laid::new();
    let (ours, arm) = (laid.manifest("amd64"), laid.manifest("arm64"));
    let newer = laid.blob(MANIFEST, b"{}".to_vec());
    let inner = json!({"manifests": [
        platform(arm.clone(), "linux", "arm64", "v8"),
        platform(newer.clone(), "linux", "amd64", "v3"),
        platform(ours, "linux", "amd64", ""),
        platform(newer, "unknown", "unknown", ""),
    ]});
    let inner = laid.blob(INDEXES[0], inner.to_string().into_bytes());
    laid.index = json!({"manifests": [inner]});
    laid.check().unwrap();
    laid.index = json!({"manifests": [platform(arm.clone(), "linux", "arm64", ""), platform(arm, "windows", "amd64", "")]});
    assert_eq!(laid.refusal(), "it is for linux/arm64, windows/amd64, but this host is linux/amd64");
}

#[test]
fn one_image_and_no_more() {
    let mut laid = Laid::new();
    let twice = laid.index["manifests"][0].clone();
    laid.index = json!({"manifests": [twice, twice]});
    laid.check().unwrap();
    let other = laid.manifest("");
    laid.index = json!({"manifests": [twice, other]});
    assert_eq!(laid.refusal(), "it holds 2 images instead of one");
    laid.index = json!({"manifests": []});
    assert_eq!(laid.refusal(), "it holds no image");
}

#[test]
fn every_blob_must_be_what_its_digest_says() {
    for what in ["layer", "configuration", "manifest"] {
        let mut laid = Laid::new();
        let index = match what {
            "layer" => 0,
            "configuration" => 2,
            _ => 3,
        };
        let middle = laid.blobs[index].1.len() / 2;
        laid.blobs[index].1[middle] ^= 1;
        let clause = laid.refusal();
        assert!(clause.starts_with(&format!("the digest of its {what} \"blobs/sha256/")), "{clause}");
        laid.blobs[index].1.push(b' ');
        assert!(laid.refusal().contains("bytes long, but should be"));
        laid.blobs.remove(index);
        assert!(laid.refusal().ends_with("is not in the archive"));
    }
}

#[test]
fn a_layer_that_is_not_what_the_configuration_says_is_refused() {
    let mut laid = Laid::new();
    let (config, layers) =
        (json!({"rootfs": {"diff_ids": [digest_of(b"")]}}), laid.blob("x", gzip(&layer("a", 9))));
    let config = laid.blob("x", config.to_string().into_bytes());
    let manifest = json!({"config": config, "layers": [layers]}).to_string().into_bytes();
    laid.index = json!({"manifests": [laid.blob(MANIFEST, manifest)]});
    assert!(laid.refusal().starts_with("the digest of its layer"));
}

#[test]
fn digests_are_no_paths() {
    for digest in [
        "sha256:../../../etc/shadow",
        "sha512:00",
        "sha256:",
        "/etc/shadow",
        &format!("sha256:{}", "Z".repeat(64)),
    ] {
        let mut laid = Laid::new();
        laid.index["manifests"][0]["digest"] = json!(digest);
        assert!(laid.refusal().ends_with("no sha256"), "{digest}");
    }
}

#[test]
fn absurd_sizes_numbers_and_depths_are_refused() {
    let mut laid = Laid::new();
    laid.index["manifests"][0]["size"] = json!(u64::MAX);
    assert!(laid.refusal().contains("should be 18446744073709551615"));
    laid.index["manifests"][0]["size"] = json!(-1);
    assert!(laid.refusal().contains("index.json cannot be understood"));

    let mut laid = Laid::new();
    let empty = layer("a", 0);
    let config = json!({"rootfs": {"diff_ids": vec![digest_of(&empty); 200]}}).to_string().into_bytes();
    let (config, one) = (laid.blob("x", config), laid.blob("x", empty));
    let manifest = json!({"config": config, "layers": vec![one; 200]}).to_string().into_bytes();
    laid.index = json!({"manifests": [laid.blob(MANIFEST, manifest)]});
    assert_eq!(laid.refusal(), "it has 200 layers, but Docker stacks 125 at most");

    let mut laid = Laid::new();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (index, clause) in [
        (format!("{{\"manifests\": {deep}}}"), "its index cannot be understood"),
        (format!("{{\"ignored\": {deep}}}"), "it holds no image"),
        (deep, "its index cannot be understood"),
    ] {
        laid.index = json!({"manifests": [laid.blob(INDEXES[0], index.into_bytes())]});
        assert!(laid.refusal().starts_with(clause), "{}", laid.refusal());
    }

    let mut laid = Laid::new();
    for _ in 0..10 {
        let outer = laid.index.to_string().into_bytes();
        laid.index = json!({"manifests": [laid.blob(INDEXES[0], outer)]});
    }
    assert_eq!(laid.refusal(), "its indexes lead to indexes without end");

    let mut laid = Laid::new();
    laid.index = json!({"manifests": [laid.blob(MANIFEST, vec![b' '; 5 * 1024 * 1024])]});
    assert_eq!(laid.refusal(), "its manifest is 5242880 bytes long");
}

#[test]
fn another_version_of_the_layout_is_refused() {
    let files = tar(&[("oci-layout", br#"{"imageLayoutVersion": "2.0"}"#), ("index.json", b"{}")]);
    let refused = check(&mut Cursor::new(files), &limits()).unwrap_err();
    assert_eq!(refused.to_string(), "its layout has version \"2.0\", but 1.0.0 is known");
}

proptest! {
    /// A damaged archive is refused, or the damage is in what nobody looks at: the image is the same.
    #[test]
    fn damage_never_makes_another_image(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let good = Laid::new();
        let mut bytes = good.bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(archive) = check(&mut Cursor::new(bytes), &limits()) {
            prop_assert_eq!(archive.config_digest, good.check().unwrap().config_digest);
        }
    }

    /// Any JSON in the place of an index: a clause, no panic.
    #[test]
    fn an_index_may_be_anything(
        digest in ".*", size in any::<u64>(), media in "(application/vnd.oci.image.index.v1\\+json|.*)", os in ".*",
    ) {
        let mut laid = Laid::new();
        laid.index = json!({"manifests": [{"digest": digest, "size": size, "mediaType": media, "platform": {"os": os}}]});
        prop_assert!(matches!(laid.check(), Err(Fault::Refused(_))));
    }
}
