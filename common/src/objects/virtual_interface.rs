//! `nova.objects.virtual_interface`: one row per port of an instance, in the order in which they were attached.

object! {
    /// A port and its tag. The address is `<MAC>/<port>` when the row is made, because the table wants it unique.
    VirtualInterface = "VirtualInterface" "1.3" {
        int id;
        text uuid, set_uuid;
        text instance_uuid, set_instance_uuid;
        text address, set_address;
        text tag, set_tag;
    }
}
