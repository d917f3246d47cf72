//! Nova's `quota:disk_*` extra specs (Nova: `nova/virt/libvirt/config.py`, iotune), kept by the kernel's block device
//! throttling: for all that a container reads from and writes to the disk with Docker's files.

use std::collections::BTreeMap;

use common::docker::DiskIo;

use super::{Error, extra_specs};

/// Limits that libvirt has and control groups have not.
const IMPOSSIBLE: [&str; 2] = ["quota:disk_total_bytes_sec", "quota:disk_total_iops_sec"];

/// The limits of a flavor's disk traffic; none when it has none. `device`: the disk with Docker's files, if it is known.
///
/// # Errors
/// [`Error::InvalidSpec`] for a limit that cannot be, [`Error::Docker`] when this host cannot keep any.
pub(super) fn limits(
    specs: &BTreeMap<String, String>,
    device: Option<&str>,
) -> Result<Option<DiskIo>, Error> {
    if let Some(name) = IMPOSSIBLE.iter().find(|name| specs.contains_key(**name)) {
        return Err(Error::InvalidSpec(format!(
            "the flavor has {name}, but a container's reads and writes can only be limited apart: set quota:disk_read_… and \
             quota:disk_write_… instead"
        )));
    }
    let rate = |name: &str| {
        let name = format!("quota:disk_{name}");
        extra_specs::number(specs, &name, 0..=i64::MAX).map(Option::unwrap_or_default)
    };
    let limits = DiskIo {
        device: device.unwrap_or_default().to_owned(),
        read_bytes_sec: rate("read_bytes_sec")?,
        write_bytes_sec: rate("write_bytes_sec")?,
        read_iops_sec: rate("read_iops_sec")?,
        write_iops_sec: rate("write_iops_sec")?,
    };
    if limits == (DiskIo { device: limits.device.clone(), ..DiskIo::default() }) {
        return Ok(None);
    }
    if device.is_none() {
        return Err(Error::Docker {
            what: "limit the traffic of the disk",
            message: "the device with Docker's files is not known; set [docker] disk_device".into(),
        });
    }
    Ok(Some(limits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)], device: Option<&str>) -> Result<Option<DiskIo>, Error> {
        limits(&pairs.iter().map(|&(key, value)| (key.into(), value.into())).collect(), device)
    }

    #[test]
    fn a_flavor_limits_reads_and_writes() {
        assert_eq!(of(&[], None).unwrap(), None);
        assert_eq!(of(&[("quota:disk_read_iops_sec", "0")], None).unwrap(), None);
        let pairs = [("quota:disk_read_bytes_sec", "1048576"), ("quota:disk_write_iops_sec", "10")];
        let expected = DiskIo {
            device: "/dev/vda".into(),
            read_bytes_sec: 1_048_576,
            write_iops_sec: 10,
            ..DiskIo::default()
        };
        assert_eq!(of(&pairs, Some("/dev/vda")).unwrap(), Some(expected));
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        for (pair, words) in [
            (("quota:disk_total_bytes_sec", "1"), "reads and writes can only be limited apart"),
            (("quota:disk_write_bytes_sec", "fast"), "quota:disk_write_bytes_sec is fast"),
        ] {
            let error = of(&[pair], Some("/dev/vda")).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let error = of(&[("quota:disk_read_iops_sec", "5")], None).unwrap_err().to_string();
        assert!(error.contains("set [docker] disk_device"), "{error}");
    }
}
