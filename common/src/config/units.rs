//! Values of the configuration with a syntax of their own: memory sizes and subnets.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A number of bytes, written as `512m`, `1g`, or plain bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Memory(pub u64);

impl FromStr for Memory {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim().to_ascii_lowercase();
        let (digits, unit) = match text.char_indices().find(|(_, c)| !c.is_ascii_digit()) {
            Some((at, _)) => text.split_at(at),
            None => (text.as_str(), ""),
        };
        let factor = match unit {
            "" | "b" => 1,
            "k" => 1 << 10,
            "m" => 1 << 20,
            "g" => 1 << 30,
            _ => return Err(format!("`{text}` is no memory size; write for example 512m or 1g")),
        };
        let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
        match bytes {
            Some(bytes) if bytes >= 6 << 20 => Ok(Memory(bytes)),
            Some(_) => Err(format!("`{text}` is less than Docker's minimum of 6m")),
            None => Err(format!("`{text}` is no memory size; write for example 512m or 1g")),
        }
    }
}

impl TryFrom<String> for Memory {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Memory> for String {
    fn from(memory: Memory) -> String {
        memory.0.to_string()
    }
}

/// An IPv4 subnet, for example `172.31.250.0/24`. The first half holds the fixed addresses, the second half is Docker's to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    base: Ipv4Addr,
    prefix: u8,
}

impl Subnet {
    /// `172.31.250.0/24`: a corner of the private ranges that home routers and VPNs rarely use.
    pub const DEFAULT: Subnet = Subnet { base: Ipv4Addr::new(172, 31, 250, 0), prefix: 24 };

    /// `10.20.0.0/24`, for floating addresses.
    pub const DEFAULT_PROVIDER: Subnet = Subnet { base: Ipv4Addr::new(10, 20, 0, 0), prefix: 24 };

    /// The address with this host number.
    pub fn host(&self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.base) + number)
    }

    /// Number of addresses.
    pub fn size(&self) -> u32 {
        1 << (32 - u32::from(self.prefix))
    }

    /// First host number Docker may give by itself; the fixed addresses lie below.
    pub fn dynamic_from(&self) -> u32 {
        self.size() / 2
    }

    /// The upper half, in CIDR notation.
    pub fn dynamic_range(&self) -> String {
        format!("{}/{}", self.host(self.dynamic_from()), self.prefix + 1)
    }

    /// Length of the network's part of an address.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The first address: the bridge's own.
    pub fn gateway(&self) -> Ipv4Addr {
        self.host(1)
    }

    /// True when the two share an address.
    pub fn overlaps(&self, other: &Subnet) -> bool {
        let prefix = self.prefix.min(other.prefix);
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        u32::from(self.base) & mask == u32::from(other.base) & mask
    }
}

impl FromStr for Subnet {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no subnet; write for example 172.31.250.0/24");
        let (base, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let base: Ipv4Addr = base.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        if !(8..=26).contains(&prefix) {
            return Err(format!("`{text}`: the prefix must lie between /8 and /26"));
        }
        let mask = u32::MAX << (32 - u32::from(prefix));
        if u32::from(base) & !mask != 0 {
            let first = Ipv4Addr::from(u32::from(base) & mask);
            return Err(format!("`{text}` has host bits set; the subnet is {first}/{prefix}"));
        }
        Ok(Subnet { base, prefix })
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl TryFrom<String> for Subnet {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> String {
        subnet.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_sizes_have_units() {
        assert_eq!("512m".parse(), Ok(Memory(512 << 20)));
        assert_eq!("1G".parse(), Ok(Memory(1 << 30)));
        assert!("1gigabyte".parse::<Memory>().is_err());
        assert!("3".parse::<Memory>().is_err());
        assert!("99999999999999999999g".parse::<Memory>().is_err());
    }

    #[test]
    fn a_subnet_is_split_into_fixed_and_dynamic_halves() {
        let subnet: Subnet = "172.31.250.0/24".parse().unwrap();
        assert_eq!(subnet.host(11).to_string(), "172.31.250.11");
        assert_eq!(subnet.dynamic_range(), "172.31.250.128/25");
        assert_eq!(subnet.dynamic_from(), 128);
    }

    #[test]
    fn wrong_subnets_are_refused_with_the_right_one() {
        assert!("172.31.250.7/24".parse::<Subnet>().unwrap_err().contains("172.31.250.0/24"));
        assert!("172.31.250.0/30".parse::<Subnet>().is_err());
        assert!("x/24".parse::<Subnet>().is_err());
    }

    #[test]
    fn overlapping_subnets_are_seen() {
        let a: Subnet = "172.31.0.0/16".parse().unwrap();
        assert!(a.overlaps(&"172.31.250.0/24".parse().unwrap()));
        assert!(!a.overlaps(&"172.30.250.0/24".parse().unwrap()));
    }
}
