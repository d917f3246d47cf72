//! Keystone's users and catalogue, from what the services say they need.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use common::openstack::{Credentials, Domain, EndpointFilter, Session};

use super::{Apply, Error};
use crate::bootstrap::keystone::{self, Service, User, Wanted};
use crate::plan::platform::{self, keystone_secret};

impl Apply<'_> {
    /// Makes what is missing in a Keystone that is ready. Returns the number of things done.
    ///
    /// Keystone is asked directly, not through the load balancer: the two come up at the same time.
    pub(super) async fn identity(&self, keystone: &str) -> Result<usize, Error> {
        let Some(credentials) = self.admin_login(keystone) else { return Ok(0) };
        let task = self.settings.printer.task("keystone catalogue");
        task.now("users, roles, services, endpoints");
        let result = async {
            let direct = EndpointFilter {
                endpoint_override: Some(credentials.auth_url.clone()),
                ..EndpointFilter::default()
            };
            let api = Session::new(credentials)?.service("identity", direct);
            keystone::ensure(&api, &self.wanted_identity()).await
        };
        let result: Result<Vec<String>, common::openstack::Error> = result.await;
        match &result {
            Ok(done) if !done.is_empty() => {
                task.done(&format!("{} users, roles and endpoints made", done.len()))
            }
            _ => task.clear(),
        }
        result.map(|done| done.len()).map_err(Error::Identity)
    }

    /// The administrator's login at Keystone's own container.
    fn admin_login(&self, keystone: &str) -> Option<Credentials> {
        let address: Ipv4Addr = self.address_of(keystone)?;
        let api = self.platform.services[keystone].api.as_ref()?;
        let path = api.catalogue.as_ref().map_or("", |catalogue| catalogue.path.as_str());
        let admin = &self.platform.config.configuration.admin;
        let domain = || Domain::Id("default".to_owned());
        Some(Credentials {
            auth_url: format!("http://{address}:{}{path}", api.port),
            username: admin.user.clone(),
            project_name: admin.project.clone(),
            password: self.secrets.get(platform::ADMIN_SECRET)?.clone(),
            user_domain: domain(),
            project_domain: domain(),
            cafile: None,
            insecure: false,
        })
    }

    fn wanted_identity(&self) -> Wanted {
        let mut users: BTreeMap<String, User> = BTreeMap::new();
        for service in self.platform.services.values() {
            let Some(name) = &service.needs.keystone_user else { continue };
            let Some(password) = self.secrets.get(&keystone_secret(name)) else { continue };
            let mark = self.key.hash([password.reveal().as_bytes()]);
            users.insert(
                name.value.clone(),
                User { name: name.value.clone(), password: password.clone(), mark },
            );
        }
        let services = self.platform.apis().filter_map(|(_, api)| {
            let catalogue = api.catalogue.as_ref()?;
            let internal = format!("{}{}", self.platform.internal_url(api), catalogue.path);
            let public = format!("{}{}", self.platform.public_url(api), catalogue.path);
            let urls =
                BTreeMap::from([("admin", internal.clone()), ("internal", internal), ("public", public)]);
            Some(Service { kind: catalogue.kind.value.clone(), name: catalogue.name.clone(), urls })
        });
        let region = self.platform.config.configuration.region.clone();
        Wanted { region, users: users.into_values().collect(), services: services.collect() }
    }
}
