//! `nova.objects.service`: the record by which a compute service is known and lives.

object! {
    /// A row of `openstack compute service list`.
    Service = "Service" "1.22" {
        int id;
        text uuid;
        text host, set_host;
        text binary, set_binary;
        text topic, set_topic;
        int report_count, set_report_count;
        int version, set_version;
        flag disabled;
        flag forced_down;
        text last_seen_up;
    }
}
