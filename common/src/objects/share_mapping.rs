//! `nova.objects.share_mapping`: a Manila share attached to an instance.

object! {
    /// A share and whether it is usable.
    ShareMapping = "ShareMapping" "1.2" {
        int id;
        text uuid;
        text instance_uuid;
        text share_id;
        text status, set_status;
    }
}
