//! What a guest is told of itself in `/etc`: host name, name servers, hosts file. Pure.

use std::net::IpAddr;

use super::model::Vif;

/// The kernel's limit is 64 bytes with the terminating zero.
const LONGEST_HOSTNAME: usize = 63;

/// Identity of a guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuestFiles {
    /// The host's name, at most 63 characters; Docker's choice (the container's id) when empty.
    pub hostname: String,
    /// `nameserver` lines of `/etc/resolv.conf`.
    pub dns: Vec<IpAddr>,
    /// Lines of `/etc/hosts` beside the usual ones: an address and its name.
    pub hosts: Vec<(IpAddr, String)>,
}

/// Decides for an instance with `hostname` (`Instance.hostname`) and the ports of `network_info`. `default_dns` serves
/// subnets without `dns_nameservers`, as Neutron's own DHCP does.
pub fn guest_files(hostname: &str, network_info: &[Vif], default_dns: &[IpAddr]) -> GuestFiles {
    let hostname = usable(hostname);
    let subnets = || network_info.iter().flat_map(|vif| &vif.network.subnets);
    let mut dns: Vec<IpAddr> = Vec::new();
    for server in subnets().flat_map(|subnet| &subnet.dns).filter_map(|server| server.address) {
        if !dns.contains(&server) {
            dns.push(server);
        }
    }
    if dns.is_empty() && !network_info.is_empty() {
        dns = default_dns.to_vec();
    }
    let addresses = || subnets().flat_map(|subnet| &subnet.ips).map(|ip| ip.address);
    // One of each family: more would only make lookups of the own name slower.
    let first = [addresses().find(IpAddr::is_ipv4), addresses().find(IpAddr::is_ipv6)];
    let hosts = first.into_iter().flatten().filter(|_| !hostname.is_empty());
    let hosts = hosts.map(|address| (address, hostname.clone())).collect();
    GuestFiles { hostname, dns, hosts }
}

/// The part of a name that the kernel takes.
pub(crate) fn usable(name: &str) -> String {
    let short: String = name.chars().take(LONGEST_HOSTNAME).collect();
    short.trim_end_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn vif(subnets: &serde_json::Value) -> Vif {
        let id = "9a4e1a1b-1c2d-4e5f-8a9b-0c1d2e3f4a5b";
        serde_json::from_value(json!({"id": id, "network": {"subnets": subnets}})).unwrap()
    }

    #[test]
    fn servers_and_names_come_from_the_subnets() {
        let v4 = json!({"cidr": "10.0.0.0/24", "ips": [{"address": "10.0.0.5"}, {"address": "10.0.0.6"}],
                        "dns": [{"address": "9.9.9.9"}, {"address": "1.1.1.1"}]});
        let v6 =
            json!({"cidr": "fd00::/64", "ips": [{"address": "fd00::5"}], "dns": [{"address": "9.9.9.9"}]});
        let files = guest_files("web-1", &[vif(&json!([v4])), vif(&json!([v6]))], &[]);
        assert_eq!(files.dns.iter().map(ToString::to_string).collect::<Vec<_>>(), ["9.9.9.9", "1.1.1.1"]);
        let hosts: Vec<String> =
            files.hosts.iter().map(|(address, name)| format!("{address} {name}")).collect();
        assert_eq!(hosts, ["10.0.0.5 web-1", "fd00::5 web-1"]);
    }

    #[test]
    fn a_subnet_without_servers_gets_the_default_and_no_network_none() {
        let default = ["10.20.0.1".parse().unwrap()];
        let silent = vif(&json!([{"cidr": "10.0.0.0/24", "ips": [{"address": "10.0.0.5"}]}]));
        assert_eq!(guest_files("web-1", &[silent], &default).dns, default);
        assert!(guest_files("web-1", &[], &default).dns.is_empty());
    }

    #[test]
    fn a_name_fits_the_kernel() {
        assert_eq!(guest_files(&format!("{}-tail", "h".repeat(62)), &[], &[]).hostname, "h".repeat(62));
        assert_eq!(guest_files("", &[], &[]), GuestFiles::default());
    }
}
