//! Memory of processes, from `/proc`.

use std::fs;

/// Resident and proportional memory in kB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) rss: u64,
    pub(super) pss: u64,
}

impl Memory {
    pub(super) fn rss_mb(self) -> f64 {
        kb_to_mb(self.rss)
    }

    pub(super) fn pss_mb(self) -> f64 {
        kb_to_mb(self.pss)
    }
}

/// The process and all that descend from it.
pub(super) fn tree(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, parent(pid)?)))
        .collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        found.extend(parents.iter().filter(|(_, parent)| *parent == pid).map(|(child, _)| *child));
        next += 1;
    }
    found
}

/// Memory of these processes together; one that has ended counts nothing.
pub(super) fn memory(pids: &[u32]) -> Memory {
    pids.iter()
        .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok())
        .map(|rollup| parse_rollup(&rollup))
        .fold(Memory::default(), |sum, one| Memory { rss: sum.rss + one.rss, pss: sum.pss + one.pss })
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name stands in parentheses and may hold anything, also spaces and parentheses.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn parse_rollup(rollup: &str) -> Memory {
    let field = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
    };
    Memory { rss: field("Rss:"), pss: field("Pss:") }
}

fn kb_to_mb(kb: u64) -> f64 {
    // Far below 2^52 kB.
    #[expect(clippy::cast_precision_loss, reason = "a machine's memory in kB fits")]
    let kb = kb as f64;
    kb / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollup_gives_rss_and_pss() {
        let text = "00400000-7ffd [rollup]\nRss:               12345 kB\nPss:                2345 kB\nPss_Dirty: 1 kB\n";
        assert_eq!(parse_rollup(text), Memory { rss: 12345, pss: 2345 });
    }

    #[test]
    fn this_process_has_memory_and_is_in_its_own_tree() {
        let own = std::process::id();
        assert!(tree(own).contains(&own));
        assert!(memory(&[own]).rss > 0);
    }
}
