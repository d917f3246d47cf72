//! Names of the disks of an instance, shown by the API and by the metadata service (Nova: `_default_block_device_names`). A
//! container has no such devices; pure.

use common::objects::BlockDeviceMapping;

/// Where the root disk of a container would be.
pub const ROOT_DEVICE: &str = "/dev/sda";

/// What the names of disks begin with, and the letters that follow.
const PREFIX: &str = "/dev/sd";
const LETTERS: std::ops::RangeInclusive<char> = 'b'..='z';

/// Gives names to the root disk, to ephemeral disks and to swap that have none, in this order (Nova:
/// `nova.compute.utils.default_device_names_for_instance`).
pub fn name(disks: &mut [BlockDeviceMapping]) {
    let named = disks.iter().filter_map(|disk| disk.device_name()?.chars().next_back());
    let used: Vec<char> = named.collect();
    let mut letters = LETTERS.filter(|letter| !used.contains(letter));
    for disk in disks.iter_mut().filter(|disk| disk.is_root()) {
        disk.set_device_name(ROOT_DEVICE);
    }
    for kind in [BlockDeviceMapping::is_ephemeral, BlockDeviceMapping::is_swap] {
        for disk in disks.iter_mut().filter(|disk| kind(disk) && disk.device_name().is_none()) {
            let Some(letter) = letters.next() else { return };
            disk.set_device_name(format!("{PREFIX}{letter}").as_str());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::objects::Versioned;
    use serde_json::json;

    #[test]
    fn disks_without_a_name_get_the_next_one() {
        let disk = |source: &str, format: Option<&str>, boot: i64, name: Option<&str>| {
            let data = json!({"source_type": source, "destination_type": "local", "guest_format": format,
                              "boot_index": boot, "device_name": name});
            BlockDeviceMapping::parse(
                json!({"nova_object.name": "BlockDeviceMapping", "nova_object.namespace": "nova",
                "nova_object.version": "1.21", "nova_object.data": data}),
            )
            .unwrap()
        };
        let mut disks = [
            disk("blank", Some("swap"), -1, None),
            disk("image", None, 0, None),
            disk("blank", None, -1, None),
            disk("blank", Some("ext4"), -1, Some("/dev/sdb")),
        ];
        name(&mut disks);
        let names: Vec<_> = disks.iter().filter_map(BlockDeviceMapping::device_name).collect();
        assert_eq!(names, ["/dev/sdd", "/dev/sda", "/dev/sdc", "/dev/sdb"]);
        // What had a name is not saved again.
        assert_eq!(disks[3].object().changes().count(), 0);
    }
}
