//! `nova.objects.block_device`: disks of an instance.

object! {
    /// A disk: the root disk, a volume, swap.
    BlockDeviceMapping = "BlockDeviceMapping" "1.21" {
        int id;
        text uuid;
        text instance_uuid;
        text source_type;
        text destination_type;
        text device_name, set_device_name;
        int boot_index;
        text volume_id;
        text image_id;
        text guest_format;
        flag delete_on_termination;
    }
}

impl BlockDeviceMapping {
    /// True for the disk the instance boots from.
    pub fn is_root(&self) -> bool {
        self.boot_index() == Some(0)
    }

    /// True for a disk of the flavor's ephemeral storage (Nova: `block_device.new_format_is_ephemeral`).
    pub fn is_ephemeral(&self) -> bool {
        self.is_blank() && self.guest_format() != Some("swap")
    }

    /// True for swap (Nova: `block_device.new_format_is_swap`).
    pub fn is_swap(&self) -> bool {
        self.is_blank() && self.guest_format() == Some("swap")
    }

    fn is_blank(&self) -> bool {
        self.source_type() == Some("blank") && self.destination_type() == Some("local")
    }

    /// True for a Cinder volume.
    pub fn is_volume(&self) -> bool {
        self.destination_type() == Some("volume")
    }
}
