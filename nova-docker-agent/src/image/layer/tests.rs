//! Layers of every compression, and what a hostile one tries.

use std::io::Cursor;

use proptest::prelude::*;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::*;
use crate::image::archive::tests::{digest_of, gzip, layer, tar};

const ROOM: u64 = 100_000;

fn measured(packed: Vec<u8>) -> Result<(Layer, String), Fault> {
    let len = packed.len() as u64;
    measure(&mut Cursor::new(packed), ("l", Extent { offset: 0, len }), ROOM, ROOM)
}

fn refusal(packed: Vec<u8>) -> String {
    match measured(packed) {
        Err(Fault::Refused(clause)) => clause,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn zstd(data: &[u8]) -> Vec<u8> {
    compress_to_vec(data, CompressionLevel::Fastest)
}

/// An entry with a raw header, which the crate would not write.
fn entry(name: &str, kind: tar::EntryType, link: &str, data: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_size(data.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn end(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.extend_from_slice(&[0; 1024]);
    bytes
}

#[test]
fn length_and_digest_are_those_of_the_unpacked_layer() {
    let plain = layer("etc/motd", 20_000);
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"xyz"].concat();
    let frames = [zstd(&plain[..7000]), skippable, zstd(&plain[7000..])].concat();
    let members = [gzip(&plain[..7000]), gzip(&plain[7000..])].concat();
    for (packed, codec) in [
        (plain.clone(), Codec::Plain),
        (gzip(&plain), Codec::Gzip),
        (members, Codec::Gzip),
        (zstd(&plain), Codec::Zstd),
        (frames, Codec::Zstd),
    ] {
        let (layer, digest) = measured(packed.clone()).unwrap();
        assert_eq!((layer.codec, layer.len, digest), (codec, plain.len() as u64, digest_of(&plain)));
        let mut again = Vec::new();
        layer.unpacked(&mut Cursor::new(packed)).unwrap().read_to_end(&mut again).unwrap();
        assert!(again == plain, "{codec:?}");
    }
}

#[test]
fn what_follows_the_end_of_the_archive_counts() {
    let mut padded = layer("a", 10);
    padded.resize(padded.len() + 5000, 0);
    assert_eq!(measured(padded.clone()).unwrap().1, digest_of(&padded));
}

#[test]
fn a_bomb_is_unpacked_no_further_than_there_is_room() {
    let zeros = vec![0; 50_000_000];
    for packed in [gzip(&zeros), zstd(&zeros)] {
        assert!(packed.len() < 1_000_000);
        let most = "its layers are longer than this host takes: unpacked 97.6 KiB at most";
        assert_eq!(refusal(packed), most);
    }
}

#[test]
fn names_and_links_that_leave_the_image_are_refused() {
    use tar::EntryType as Kind;
    for (name, kind, link) in [
        ("../x", Kind::Regular, ""),
        ("a/../../x", Kind::Directory, ""),
        ("./../x", Kind::Regular, ""),
        ("a", Kind::Link, "../etc/shadow"),
        ("a/b", Kind::Link, "a/../../x"),
        ("a", Kind::Symlink, "../etc"),
        ("a/b", Kind::Symlink, "../../etc"),
        ("a/b", Kind::Symlink, "/../etc"),
    ] {
        let clause = refusal(end(entry(name, kind, link, b"")));
        assert!(clause.contains("leads out of the image"), "{name} -> {link}: {clause}");
        assert!(clause.ends_with("in layer \"l\""), "{clause}");
    }
    for (name, kind, link) in [
        ("/etc/motd", Kind::Regular, ""),
        ("./a/../b", Kind::Regular, ""),
        ("a/b", Kind::Symlink, "../c"),
        ("bin/sh", Kind::Symlink, "/usr/bin/dash"),
        ("a/b", Kind::Link, "/a/c"),
        ("dev/null", Kind::Char, ""),
    ] {
        measured(end(entry(name, kind, link, b""))).unwrap();
    }
}

#[test]
fn files_that_are_longer_than_their_data_are_refused() {
    let record = b"27 GNU.sparse.realsize=9e9\n";
    let extended =
        [entry("x", tar::EntryType::XHeader, "", record), entry("big", tar::EntryType::Regular, "", b"x")];
    assert!(refusal(end(extended.concat())).contains("one of its files is sparse"));
    // The crate refuses the old kind when its numbers do not add up, this look does when they do.
    let old = refusal(end(entry("big", tar::EntryType::GNUSparse, "", b"")));
    assert!(old.contains("is sparse") || old.contains("cannot be unpacked"), "{old}");
}

#[test]
fn a_name_without_end_is_not_read() {
    let long = vec![b'a'; 3_000_000];
    let bytes =
        [layer("a", 0)[..512].to_vec(), entry("././@LongLink", tar::EntryType::GNULongName, "", &long)]
            .concat();
    let packed = gzip(&end(bytes));
    let len = packed.len() as u64;
    let room = 100_000_000;
    let refused =
        measure(&mut Cursor::new(packed), ("l", Extent { offset: 0, len }), room, room).unwrap_err();
    assert_eq!(refused.to_string(), "its layer \"l\" has an entry with names of megabytes");
}

#[test]
fn damage_is_told() {
    let plain = layer("etc/motd", 20_000);
    for packed in [gzip(&plain), zstd(&plain)] {
        let cut = packed[..packed.len() - 10].to_vec();
        assert!(refusal(cut).starts_with("its layer \"l\" cannot be unpacked"));
    }
    assert!(refusal(vec![7; 2000]).starts_with("its layer \"l\" cannot be unpacked"));
}

proptest! {
    /// Whatever the bytes are: a layer of some length, or a clause.
    #[test]
    fn no_layer_does_harm(
        which in 0..3_usize, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let plain = tar(&[("a", b"one"), ("b/c", &[7; 3000])]);
        let mut packed = match which { 0 => plain, 1 => gzip(&plain), _ => zstd(&plain) };
        for (at, byte) in changes {
            let at = at.index(packed.len());
            packed[at] = byte;
        }
        if let Ok((layer, _)) = measured(packed) {
            prop_assert!(layer.len <= ROOM);
        }
    }

    /// A path leaves the root when it ever has more steps up than down.
    #[test]
    fn a_path_leaves_when_it_climbs_above_the_root(steps in prop::collection::vec(any::<bool>(), 0..12)) {
        let path: Vec<&str> = steps.iter().map(|down| if *down { "d" } else { ".." }).collect();
        let depths = steps.iter().scan(0_i32, |depth, down| {
            *depth += if *down { 1 } else { -1 };
            Some(*depth)
        });
        prop_assert_eq!(leaves_root(Path::new(&path.join("/"))), depths.min().unwrap_or(0) < 0);
    }
}
