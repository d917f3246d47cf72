//! Nova's `quota:cpu_*` extra specs (Nova: `nova/virt/libvirt/config.py`, cputune).

use std::collections::BTreeMap;

use super::{Error, extra_specs};

/// The kernel's usual period, in microseconds.
const PERIOD: i64 = 100_000;

/// Processor limits of a container, in Docker's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cpu {
    pub(super) shares: i64,
    pub(super) period: i64,
    /// 0 means no limit.
    pub(super) quota: i64,
}

/// An instance gets the time of its vCPUs at most, and a weight in proportion to them, unless the flavor says otherwise.
///
/// # Errors
/// [`Error::InvalidSpec`] for numbers that the kernel does not take.
pub(super) fn limits(vcpus: u32, specs: &BTreeMap<String, String>) -> Result<Cpu, Error> {
    let vcpus = i64::from(vcpus.max(1));
    let number = |name: &str, low: i64, high: i64, default: i64| {
        extra_specs::number(specs, name, low..=high).map(|number| number.unwrap_or(default))
    };
    let shares = number("quota:cpu_shares", 2, 262_144, (1024 * vcpus).min(262_144))?;
    let period = number("quota:cpu_period", 1_000, 1_000_000, PERIOD)?;
    // libvirt's quota is one vCPU's; a container has but one for all of them.
    let per_vcpu = number("quota:cpu_quota", -1, i64::from(i32::MAX), period)?;
    let quota = match per_vcpu {
        -1 | 0 => 0,
        few if few < 1_000 => {
            return Err(Error::InvalidSpec(format!(
                "the flavor's quota:cpu_quota is {few}, but must be at least 1000 microseconds, or -1 for no limit"
            )));
        }
        enough => enough * vcpus,
    };
    Ok(Cpu { shares, period, quota })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|&(key, value)| (key.into(), value.into())).collect()
    }

    #[test]
    fn vcpus_are_cores_unless_the_flavor_says_otherwise() {
        let cpu = |vcpus, pairs: &[_]| limits(vcpus, &specs(pairs)).unwrap();
        assert_eq!(cpu(2, &[]), Cpu { shares: 2048, period: 100_000, quota: 200_000 });
        assert_eq!(cpu(1, &[("quota:cpu_quota", "-1")]).quota, 0);
        assert_eq!(
            cpu(
                2,
                &[("quota:cpu_period", "20000"), ("quota:cpu_quota", "10000"), ("quota:cpu_shares", "64")]
            ),
            Cpu { shares: 64, period: 20_000, quota: 20_000 }
        );
        assert_eq!(cpu(1000, &[]).shares, 262_144);
    }

    #[test]
    fn impossible_numbers_name_the_option() {
        for (name, value) in [("quota:cpu_shares", "1"), ("quota:cpu_period", "x"), ("quota:cpu_quota", "5")]
        {
            let error = limits(1, &specs(&[(name, value)])).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(value), "{error}");
        }
    }
}
