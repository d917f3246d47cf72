//! `nova.objects.flavor`: what an instance may use.

object! {
    /// A flavor, as it was when the instance was made.
    Flavor = "Flavor" "1.2" {
        int id;
        text name;
        text flavorid;
        int memory_mb;
        int vcpus;
        int root_gb;
        int ephemeral_gb;
        int swap;
        dict extra_specs;
    }
}
