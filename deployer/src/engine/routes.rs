//! The host's IPv4 routes: is the range of the floating addresses free, and has ours gone?

use std::fmt;
use std::net::Ipv4Addr;

use common::config::Subnet;

/// The kernel's table of the namespace we are in.
const TABLE: &str = "/proc/net/route";

/// A route the host has already.
#[derive(Debug, thiserror::Error)]
#[error(
    "the provider network's range {subnet} overlaps the route {route} of this host, which would lose its way; set `networks: {{ provider_subnet: … }}` in configuration.yaml to a range that is free"
)]
pub(crate) struct Error {
    subnet: Subnet,
    route: Route,
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    device: String,
    network: Ipv4Addr,
    prefix: u8,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} through {}", self.network, self.prefix, self.device)
    }
}

impl Route {
    fn overlaps(&self, subnet: &Subnet) -> bool {
        let prefix = self.prefix.min(subnet.prefix());
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        u32::from(self.network) & mask == u32::from(subnet.host(0)) & mask
    }
}

/// Checks that no route but the default one, and ours through `bridge`, leads into `subnet`.
pub(crate) fn check(subnet: &Subnet, bridge: &str) -> Result<(), Error> {
    let foreign = |route: &Route| route.device != bridge && route.prefix > 0 && route.overlaps(subnet);
    let found = table().into_iter().find(foreign);
    found.map_or(Ok(()), |route| Err(Error { subnet: *subnet, route }))
}

/// Routes into `subnet` through `bridge`.
pub(crate) fn of(bridge: &str, subnet: &Subnet) -> Vec<Route> {
    table().into_iter().filter(|route| route.device == bridge && route.overlaps(subnet)).collect()
}

/// Empty where the kernel does not tell: Docker itself would not work there.
fn table() -> Vec<Route> {
    std::fs::read_to_string(TABLE).unwrap_or_default().lines().skip(1).filter_map(route).collect()
}

/// Device, destination, gateway, flags, counts, metric, mask: addresses as hexadecimal numbers in the order of memory.
fn route(line: &str) -> Option<Route> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let number = |column: usize| u32::from_str_radix(columns.get(column)?, 16).ok().map(u32::from_be);
    let prefix = u8::try_from(number(7)?.count_ones()).ok()?;
    Some(Route { device: (*columns.first()?).to_owned(), network: Ipv4Addr::from(number(1)?), prefix })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernels_table_is_read() {
        let line = "oct-octo\t0000140A\t0CFA1FAC\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0";
        let read = route(line).unwrap();
        assert_eq!(read.to_string(), "10.20.0.0/24 through oct-octo");
        assert!(read.overlaps(&"10.20.0.0/16".parse().unwrap()));
        assert!(!read.overlaps(&"10.21.0.0/24".parse().unwrap()));
        assert_eq!(route("Iface\tDestination"), None);
    }

    #[test]
    fn the_loopback_range_of_every_host_has_no_route_of_ours() {
        assert_eq!(of("oct-nobody", &"10.20.0.0/24".parse().unwrap()), []);
        check(&"198.18.0.0/15".parse().unwrap(), "oct-nobody").unwrap();
    }
}
