//! `nova.objects.instance_info_cache`: what Nova knows of an instance's ports.

object! {
    /// The network information of one instance.
    InstanceInfoCache = "InstanceInfoCache" "1.5" {
        text instance_uuid, set_instance_uuid;
        text network_info, set_network_info;
    }
}
