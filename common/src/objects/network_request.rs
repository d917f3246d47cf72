//! `nova.objects.network_request`: which networks the user asked for.

object! {
    /// One network, port, or the words `none` and `auto`.
    NetworkRequest = "NetworkRequest" "1.3" {
        text network_id;
        text port_id;
        text device_profile;
    }
}

impl NetworkRequest {
    /// True when the user asked to have no network (`--nic none`).
    pub fn is_none(&self) -> bool {
        self.network_id() == Some("none")
    }
}
