//! `nova.objects.migration`: an instance on its way from one host to another.

object! {
    /// A resize, a migration or an evacuation.
    Migration = "Migration" "1.8" {
        int id;
        text uuid;
        text instance_uuid;
        text source_compute;
        text dest_compute;
        text migration_type;
        text status, set_status;
    }
}
