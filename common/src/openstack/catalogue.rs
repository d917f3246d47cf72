//! Keystone's service catalogue: which URL a service has.

use serde::Deserialize;

use super::error::Error;
use super::session::EndpointFilter;

/// The services of a login.
#[derive(Debug, Default)]
pub(super) struct Catalogue(Vec<Entry>);

/// One service.
#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    #[serde(rename = "type")]
    service_type: String,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    interface: String,
    #[serde(default)]
    region_id: Option<String>,
    url: String,
}

impl Catalogue {
    pub(super) fn new(entries: Vec<Entry>) -> Self {
        Self(entries)
    }

    /// The URL of a service: the first of the wanted interfaces that the wanted region has.
    ///
    /// # Errors
    /// [`Error::NoEndpoint`] naming what was looked for and what is there.
    pub(super) fn endpoint(&self, service_type: &str, filter: &EndpointFilter) -> Result<&str, Error> {
        let endpoints =
            || self.0.iter().filter(|e| e.service_type == service_type).flat_map(|e| &e.endpoints);
        let in_region = |endpoint: &&Endpoint| match &filter.region_name {
            Some(region) => endpoint.region_id.as_ref() == Some(region),
            None => true,
        };
        filter
            .valid_interfaces
            .iter()
            .find_map(|interface| endpoints().filter(in_region).find(|e| &e.interface == interface))
            .map(|endpoint| endpoint.url.as_str())
            .ok_or_else(|| self.no_endpoint(service_type, filter))
    }

    fn no_endpoint(&self, service_type: &str, filter: &EndpointFilter) -> Error {
        let region =
            filter.region_name.as_deref().map(|region| format!(" in region {region}")).unwrap_or_default();
        let wanted =
            format!("{} endpoint of type {service_type}{region}", filter.valid_interfaces.join(" or "));
        let mut found: Vec<_> = self.0.iter().map(|entry| entry.service_type.as_str()).collect();
        found.sort_unstable();
        found.dedup();
        Error::NoEndpoint {
            wanted,
            found: if found.is_empty() { "nothing".into() } else { found.join(", ") },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue() -> Catalogue {
        let entries = serde_json::json!([
            { "type": "placement", "endpoints": [
                { "interface": "public", "region_id": "One", "url": "http://public-one" },
                { "interface": "internal", "region_id": "One", "url": "http://internal-one" },
                { "interface": "public", "region_id": "Two", "url": "http://public-two" } ] },
            { "type": "image", "endpoints": [] }
        ]);
        Catalogue::new(serde_json::from_value(entries).unwrap())
    }

    fn filter(region: Option<&str>, interfaces: &[&str]) -> EndpointFilter {
        EndpointFilter {
            region_name: region.map(Into::into),
            valid_interfaces: interfaces.iter().map(|&i| i.into()).collect(),
            endpoint_override: None,
        }
    }

    #[test]
    fn interfaces_are_tried_in_the_operators_order() {
        let catalogue = catalogue();
        let find = |region, interfaces: &[_]| {
            catalogue.endpoint("placement", &filter(region, interfaces)).unwrap().to_owned()
        };
        assert_eq!(find(None, &["internal", "public"]), "http://internal-one");
        assert_eq!(find(Some("Two"), &["internal", "public"]), "http://public-two");
    }

    #[test]
    fn a_missing_endpoint_is_told_with_what_is_there() {
        let error = catalogue().endpoint("image", &filter(Some("One"), &["internal", "public"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the service catalogue has no internal or public endpoint of type image in region One; \
             it has: image, placement"
        );
    }
}
