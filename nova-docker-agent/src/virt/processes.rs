//! Counts what the processes of a container have used, where dockerd does not: from `/proc`, as `top` does.
//!
//! A process that ended is counted with its parent, if that has waited for it.

use std::fs;

use common::docker::{DiskStats, Stats};

/// Of `/proc/<pid>/stat`: the kernel shows all times in this unit, whatever it counts in.
const TICKS_PER_SECOND: u64 = 100;
const NANOSECONDS_PER_TICK: u64 = 1_000_000_000 / TICKS_PER_SECOND;

/// The processes in the cgroup of `pid`, together. A process that ends meanwhile, or tells less than all, counts for less.
pub(super) async fn count(pid: u32) -> Stats {
    tokio::task::spawn_blocking(move || of_cgroup(pid)).await.unwrap_or_default()
}

fn of_cgroup(pid: u32) -> Stats {
    let read = |pid: &str, file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let cgroup = read(&pid.to_string(), "cgroup");
    let mut sum = Stats::default();
    if cgroup.is_empty() {
        return sum;
    }
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    for pid in names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) {
        if read(&pid, "cgroup") == cgroup {
            add(&mut sum, &read(&pid, "stat"), &read(&pid, "status"), &read(&pid, "io"));
        }
    }
    sum
}

/// Adds one process: its files `stat`, `status` and `io`.
fn add(sum: &mut Stats, stat: &str, status: &str, io: &str) {
    // The name may hold anything; utime, stime, cutime and cstime are the 12th to 15th field after it.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks: u64 = fields.skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
    sum.cpu_time += ticks * NANOSECONDS_PER_TICK;
    // What it shares with others is theirs, too.
    sum.memory_used += number(status, "RssAnon:") * 1024;
    let DiskStats { read_bytes, write_bytes, .. } = &mut sum.disk;
    *read_bytes += number(io, "read_bytes:");
    *write_bytes += number(io, "write_bytes:");
}

/// The number behind `name` at the beginning of a line.
fn number(text: &str, name: &str) -> u64 {
    let found = text.lines().find_map(|line| line.strip_prefix(name));
    found.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_counts_with_the_children_it_has_waited_for() {
        let mut sum = Stats::default();
        let stat = "12 (a) b) S 1 12 12 0 -1 4194560 100 200 0 0 1 2 3 4 20 0 1 0 100 1000 50\n";
        let status = "Name:\ta\nRssAnon:\t     12 kB\nRssFile:\t  99 kB\n";
        add(&mut sum, stat, status, "rchar: 5\nread_bytes: 7\nwrite_bytes: 8\ncancelled_write_bytes: 9\n");
        add(&mut sum, "gone", "", "");
        assert_eq!((sum.cpu_time, sum.memory_used), (100_000_000, 12 * 1024));
        assert_eq!((sum.disk.read_bytes, sum.disk.write_bytes, sum.disk.read_requests), (7, 8, None));
    }

    #[tokio::test]
    async fn our_own_processes_are_found() {
        let stats = count(std::process::id()).await;
        assert!(stats.memory_used > 1 << 20, "{stats:?}");
    }
}
