//! `nova-docker-agent`: takes the place of nova-compute.
