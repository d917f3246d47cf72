//! `nova.objects.instance_fault`: why an instance is in ERROR.

object! {
    /// What went wrong, for the user.
    InstanceFault = "InstanceFault" "1.2" {
        text instance_uuid, set_instance_uuid;
        int code, set_code;
        text message, set_message;
        text details, set_details;
        text host, set_host;
    }
}
