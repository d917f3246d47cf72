//! `nova.objects.instance_group`: servers that want to be together, or apart.

object! {
    /// A server group.
    InstanceGroup = "InstanceGroup" "1.11" {
        text uuid;
        text policy;
        any members;
        dict rules;
    }
}
