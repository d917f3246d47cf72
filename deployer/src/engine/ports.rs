//! Is a port free, and if not, who has it?

use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// A port that the platform needs and cannot have.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Somebody listens there.
    #[error(
        "port {port} on {address} is in use by {holder}; the API of {service} needs it. Stop that program, or choose another `api_address` in configuration.yaml"
    )]
    InUse {
        address: Ipv4Addr,
        port: u16,
        service: String,
        /// Program and process id, or "another program".
        holder: String,
    },
    /// The address is not the host's.
    #[error(
        "this host does not have the address {address}; set `api_address` in configuration.yaml to one of its own"
    )]
    NotOurs { address: Ipv4Addr },
    /// Something else.
    #[error("cannot listen on {address}:{port}")]
    Other { address: Ipv4Addr, port: u16, source: io::Error },
}

/// Checks that `port` on `address` can be listened on.
pub(crate) fn check(address: Ipv4Addr, port: u16, service: &str) -> Result<(), Error> {
    match TcpListener::bind((address, port)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let holder = holder(port).unwrap_or_else(|| "another program".into());
            Err(Error::InUse { address, port, service: service.to_owned(), holder })
        }
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Err(Error::NotOurs { address }),
        Err(source) => Err(Error::Other { address, port, source }),
    }
}

/// The process that listens on `port`, as `name (pid n)`. Needs root to see other users' processes.
fn holder(port: u16) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|table| {
            let inodes = table.lines().filter_map(|line| listening_inode(line, port));
            inodes.map(|inode| format!("socket:[{inode}]")).collect::<Vec<_>>()
        })
        .collect();
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let Ok(pid) = process.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let mut links = files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
        if links.any(|link| inodes.iter().any(|inode| link.as_os_str() == inode.as_str())) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", name.trim()));
        }
    }
    None
}

/// The inode in a line of /proc/net/tcp when it is a listener (state 0A) on `port`.
fn listening_inode(line: &str, port: u16) -> Option<&str> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let local = columns.get(1)?.rsplit_once(':')?.1;
    let listens = *columns.get(3)? == "0A" && u16::from_str_radix(local, 16).ok()? == port;
    listens.then(|| columns.get(9).copied())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_port_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let message = check(Ipv4Addr::LOCALHOST, port, "keystone").unwrap_err().to_string();
        assert!(message.contains(&format!("(pid {})", std::process::id())), "{message}");
        drop(listener);
        check(Ipv4Addr::LOCALHOST, port, "keystone").unwrap();
    }

    #[test]
    fn a_foreign_address_is_said_to_be_one() {
        let message = check(Ipv4Addr::new(203, 0, 113, 7), 0, "x").unwrap_err().to_string();
        assert!(message.contains("does not have the address 203.0.113.7"), "{message}");
    }
}
