//! `nova.objects.network_request`: which networks the user asked for.

object! {
    /// One network, port, or the words `none` and `auto`.
    NetworkRequest = "NetworkRequest" "1.3" {
        text network_id, set_network_id;
        text port_id, set_port_id;
        text address, set_address;
        text tag, set_tag;
        text pci_request_id;
        text arq_uuid;
        text device_profile;
    }
}

impl NetworkRequest {
    /// True when the user asked to have no network (`--nic none`).
    pub fn is_none(&self) -> bool {
        self.network_id() == Some("none")
    }

    /// True when Neutron shall make a network if the project has none (`--nic auto`).
    pub fn is_auto(&self) -> bool {
        self.network_id() == Some("auto")
    }

    /// True when the user said nothing: the only network that the project has is meant.
    pub fn is_unspecified(&self) -> bool {
        let said =
            [self.network_id(), self.port_id(), self.address(), self.pci_request_id(), self.arq_uuid()];
        said.iter().all(Option::is_none)
    }
}
