//! Finds the disk with Docker's files: the kernel limits the traffic of whole disks, by their device.

use std::path::{Path, PathBuf};

/// The device with the directory `root` as dockerd sees it (`/dev/sda`); None when it is on no disk.
///
/// Docker's files are looked for among the mounts of the host's first process, for the agent may have a file system of its
/// own. An agent that may not see that process looks among its own.
pub(super) fn of(root: &Path) -> Option<String> {
    let mounts = ["/proc/1/mountinfo", "/proc/self/mountinfo"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok())?;
    let (number, source) = mount_of(&mounts, root)?;
    match number.starts_with("0:") {
        // btrfs and the like number their file systems themselves.
        true => source.starts_with("/dev/").then(|| source.to_owned()),
        false => whole_disk(&Path::new("/sys/dev/block").join(number)),
    }
}

/// Device number and source of the mount that holds `path`.
fn mount_of<'a>(mountinfo: &'a str, path: &Path) -> Option<(&'a str, &'a str)> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mount: Vec<&str> = mount.split(' ').collect();
        let [_, _, number, _, point, ..] = mount.as_slice() else { return None };
        Some((*point, *number, file_system.split(' ').nth(1)?))
    });
    // The last of several at one place hides the others.
    let deepest = mounts.filter(|(point, ..)| path.starts_with(point)).max_by_key(|(point, ..)| point.len());
    deepest.map(|(_, number, source)| (number, source))
}

/// The disk that a block device is, or is a part of.
fn whole_disk(device: &Path) -> Option<String> {
    let device: PathBuf = device.canonicalize().ok()?;
    let disk = if device.join("partition").exists() { device.parent()? } else { &device };
    let uevent = std::fs::read_to_string(disk.join("uevent")).ok()?;
    uevent.lines().find_map(|line| line.strip_prefix("DEVNAME=")).map(|name| format!("/dev/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_and_last_mount_holds_a_directory() {
        let mounts = "21 1 0:30 / / rw - overlay overlay rw,lowerdir=/a\n\
                      22 21 254:1 /docker /var/lib/docker rw,relatime shared:1 - ext4 /dev/vda1 rw\n\
                      23 22 0:31 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw\n\
                      24 21 0:32 / /var/lib/doc rw - tmpfs tmpfs rw\n\
                      25 21 254:2 / /var/lib/docker rw - ext4 /dev/vda2 rw\n";
        assert_eq!(mount_of(mounts, Path::new("/var/lib/docker")), Some(("254:2", "/dev/vda2")));
        assert_eq!(mount_of(mounts, Path::new("/srv")), Some(("0:30", "overlay")));
    }

    #[test]
    fn a_partition_is_part_of_its_disk() {
        let folder = std::env::temp_dir().join(format!("disk-device-{}", std::process::id()));
        let part = folder.join("sda/sda1");
        std::fs::create_dir_all(&part).unwrap();
        std::fs::write(folder.join("sda/uevent"), "MAJOR=8\nDEVNAME=sda\nDEVTYPE=disk\n").unwrap();
        std::fs::write(part.join("uevent"), "DEVNAME=sda1\n").unwrap();
        std::fs::write(part.join("partition"), "1\n").unwrap();
        assert_eq!(whole_disk(&part).as_deref(), Some("/dev/sda"));
        assert_eq!(whole_disk(&folder.join("sda")).as_deref(), Some("/dev/sda"));
        assert_eq!(whole_disk(&folder.join("sdb")), None);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
