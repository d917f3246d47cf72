//! `nova.objects.migration`: an instance on its way from one host to another.

object! {
    /// A resize, a migration or an evacuation.
    Migration = "Migration" "1.8" {
        int id;
        text uuid;
        text instance_uuid;
        text source_compute;
        text source_node;
        text dest_compute, set_dest_compute;
        text dest_node, set_dest_node;
        int dest_compute_id, set_dest_compute_id;
        text dest_host, set_dest_host;
        int old_instance_type_id;
        int new_instance_type_id;
        text migration_type;
        text status, set_status;
    }
}

impl Migration {
    /// True when source and destination are one host.
    pub fn stays(&self) -> bool {
        self.source_compute() == self.dest_compute()
    }

    /// True when the instance gets another flavor.
    pub fn resizes(&self) -> bool {
        self.old_instance_type_id() != self.new_instance_type_id()
    }
}
