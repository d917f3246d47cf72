//! Makes and binds the ports of an instance: in one request each where the user may have it so, side by side, and taken
//! back as a whole when one of them fails (Nova: `allocate_for_instance`).

use std::collections::{BTreeMap, BTreeSet};

use common::error_chain::Chain;
use common::openstack::neutron::{Network, Port};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::rules::{assign, group_id, has_resource_request, may_attach, profile, refused, usable};
use super::{DNS, Owner, Ports, device_owner};
use crate::network::Error;
use crate::network::describe::{Surroundings, vif};
use crate::network::model::NetworkInfo;
use crate::network::request::{Ask, Wanted};

/// A port that was made or bound a moment ago.
struct Bound<'a> {
    port: Port,
    network: &'a Network,
    /// The user made it.
    given: bool,
}

impl Ports {
    /// Makes and binds what was asked for, in its order. Nothing is left of it when a part fails.
    ///
    /// `groups`: names or ids of security groups. `providers`: see [`super::request::provider_mapping`]. `ahead`: done when the
    /// ports that the user made are known to be his and free, before anything is made or bound.
    ///
    /// # Errors
    /// Nova's own (`allocate_for_instance`); that of `ahead`.
    pub async fn allocate<E: From<Error>>(
        &self,
        owner: &Owner<'_>,
        ask: &Ask,
        (groups, providers): (&[String], &BTreeMap<String, String>),
        ahead: impl FnOnce() -> Result<(), E>,
    ) -> Result<NetworkInfo, E> {
        if *ask == Ask::Nothing {
            return Ok(NetworkInfo::new());
        }
        let given = self.given_ports(owner, ask).await?;
        ahead()?;
        let (networks, groups, dns) = tokio::try_join!(
            self.usable_networks(owner, ask, &given),
            self.group_ids(owner, groups),
            self.has_extension(DNS),
        )?;
        let plan = assign((owner, ask), &given, &networks)?;
        for (_, network) in &plan {
            may_attach(owner, network, !groups.is_empty())?;
        }
        let ids: BTreeSet<&str> = plan.iter().map(|(_, network)| network.id.as_str()).collect();
        let ids: Vec<&str> = ids.into_iter().collect();
        let theirs: Vec<&str> = ask.given().collect();
        let making = plan.iter().map(|(wanted, network)| {
            let port = wanted.port.as_ref().and_then(|id| given.get(id));
            self.bind_one(owner, (wanted, network, port), (&groups, providers, dns))
        });
        let (made, around) = tokio::join!(join_all(making), Surroundings::of(&self.neutron, &ids, &theirs));
        let (bound, failed) = sort(made);
        let described = around.and_then(|around| {
            let vifs = bound.iter().map(|bound| vif(&bound.port, &around, bound.given));
            vifs.collect::<Result<NetworkInfo, Error>>()
        });
        match (failed, described) {
            (None, Ok(network_info)) => Ok(network_info),
            (Some(error), _) | (None, Err(error)) => {
                self.take_back(owner, &bound, dns).await;
                Err(error.into())
            }
        }
    }

    /// The ports that the user made, by id, each usable for this instance.
    async fn given_ports(&self, owner: &Owner<'_>, ask: &Ask) -> Result<BTreeMap<String, Port>, Error> {
        let ids: Vec<&str> = ask.given().collect();
        let found = self.neutron.ports_by("id", &ids, &[]).await?;
        let given: BTreeMap<String, Port> = found.into_iter().map(|port| (port.id.clone(), port)).collect();
        for id in ids {
            let port = given.get(id).ok_or_else(|| Error::PortNotFound(id.to_owned()))?;
            usable(owner, port)?;
        }
        Ok(given)
    }

    /// The networks that are asked for and that the user may use; all of them when none is named.
    async fn usable_networks(
        &self,
        owner: &Owner<'_>,
        ask: &Ask,
        given: &BTreeMap<String, Port>,
    ) -> Result<Vec<Network>, Error> {
        let Ask::These(wanted) = ask else { return self.only_network(owner, ask).await };
        let of_port = |wanted: &Wanted| {
            let port = wanted.port.as_ref().and_then(|id| given.get(id));
            port.map(|port| port.network_id.clone()).or_else(|| wanted.network.clone())
        };
        let ids: BTreeSet<String> = wanted.iter().filter_map(of_port).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        Ok(self.neutron.networks_by_id(&ids, owner.user).await?)
    }

    async fn only_network(&self, owner: &Owner<'_>, ask: &Ask) -> Result<Vec<Network>, Error> {
        let mut own = vec![("tenant_id", owner.project_id), ("shared", "False")];
        if *ask == Ask::Auto {
            // What Neutron is still making is not ready to be used.
            own.push(("admin_state_up", "True"));
        }
        let (mut networks, shared) = tokio::try_join!(
            self.neutron.networks(&own, owner.user),
            self.neutron.networks(&[("shared", "True")], owner.user),
        )?;
        networks.extend(shared);
        if networks.is_empty() && *ask == Ask::Auto {
            let unable = |_| Error::UnableToAutoAllocate(owner.project_id.to_owned());
            let id =
                self.neutron.auto_allocated_network(owner.project_id, owner.user).await.map_err(unable)?;
            networks = self.neutron.networks_by_id(&[&id], owner.user).await?;
        }
        Ok(networks)
    }

    /// Ids of security groups that are given by name or by id.
    async fn group_ids(&self, owner: &Owner<'_>, groups: &[String]) -> Result<Vec<String>, Error> {
        if groups.is_empty() {
            return Ok(Vec::new());
        }
        let fields = [("fields", "id"), ("fields", "name")];
        let own = [("tenant_id", owner.project_id), fields[0], fields[1]];
        let mut known = self.neutron.security_groups(&own, owner.user).await?;
        let mut ids = Vec::with_capacity(groups.len());
        let mut asked_shared = false;
        for group in groups {
            let named = |known: &[_]| group_id(known, group);
            let mut found = named(&known)?;
            if found.is_none() && !asked_shared {
                asked_shared = true;
                let shared = [("shared", "True"), fields[0], fields[1]];
                known.extend(self.neutron.security_groups(&shared, owner.user).await?);
                found = named(&known)?;
            }
            ids.push(found.ok_or_else(|| Error::SecurityGroupNotFound(group.clone()))?);
        }
        Ok(ids)
    }

    async fn bind_one<'a>(
        &self,
        owner: &Owner<'_>,
        (wanted, network, port): (&Wanted, &'a Network, Option<&Port>),
        (groups, providers, dns): (&[String], &BTreeMap<String, String>, bool),
    ) -> Result<Bound<'a>, (Option<Bound<'a>>, Error)> {
        let mut body = json!({
            "device_id": owner.uuid, "device_owner": device_owner(owner), "binding:host_id": self.host,
        });
        let external_dns = network.dns_domain.as_deref().is_some_and(|domain| !domain.is_empty());
        if dns && !external_dns {
            body["dns_name"] = json!(owner.hostname);
        }
        let bound = match port {
            Some(port) => {
                if let Some(profile) = profile(port, providers) {
                    body["binding:profile"] = Value::Object(profile);
                }
                let updated = self.neutron.update_port(&port.id, body, <_>::default()).await;
                updated.map_err(|error| refused(error, (network, wanted), Some(&port.id)))
            }
            None => self.make(owner, (wanted, network), (body, groups)).await,
        };
        let port = bound.map_err(|error| (None, error))?;
        let bound = Bound { given: wanted.port.is_some(), port, network };
        if bound.port.vif_type.as_deref() == Some("binding_failed") {
            let error = Error::PortBindingFailed(bound.port.id.clone());
            return Err((Some(bound), error));
        }
        if !bound.given && has_resource_request(&bound.port) {
            let error = Error::QosNotSupported { network: network.id.clone(), instance: owner.uuid };
            return Err((Some(bound), error));
        }
        if dns && external_dns {
            // The record is made in the user's own zone.
            let named = json!({"dns_name": owner.hostname});
            if let Err(error) = self.neutron.update_port(&bound.port.id, named, owner.user).await {
                let error = match error.status() {
                    Some(400) => Error::InvalidInput(format!(
                        "Instance hostname {} is not a valid DNS name",
                        owner.hostname
                    )),
                    _ => error.into(),
                };
                return Err((Some(bound), error));
            }
        }
        Ok(bound)
    }

    /// Makes a port. Who owns the network, or asks for no certain address, may have all that is asked here, so that the
    /// service does it in one request; otherwise the user's token has to prove it.
    async fn make(
        &self,
        owner: &Owner<'_>,
        (wanted, network): (&Wanted, &Network),
        (binding, groups): (Value, &[String]),
    ) -> Result<Port, Error> {
        let mut body = json!({
            "network_id": network.id, "admin_state_up": true, "tenant_id": owner.project_id,
            "device_id": owner.uuid,
        });
        if let Some(address) = &wanted.address {
            body["fixed_ips"] = json!([{"ip_address": address}]);
        }
        if !groups.is_empty() {
            body["security_groups"] = json!(groups);
        }
        let refused = |error| refused(error, (network, wanted), None);
        if wanted.address.is_none() || owner.is_admin || network.tenant_id == owner.project_id {
            merge(&mut body, &binding);
            return self.neutron.create_port(body, <_>::default()).await.map_err(refused);
        }
        let port = self.neutron.create_port(body, owner.user).await.map_err(refused)?;
        match self.neutron.update_port(&port.id, binding, <_>::default()).await {
            Ok(bound) => Ok(bound),
            Err(error) => {
                if let Err(error) = self.neutron.delete_port(&port.id).await {
                    tracing::error!(%error, port = port.id, "a port that could not be bound stays");
                }
                Err(refused(error))
            }
        }
    }

    /// Takes back what was made of a set.
    async fn take_back(&self, owner: &Owner<'_>, bound: &[Bound<'_>], dns: bool) {
        for bound in bound {
            let id = &bound.port.id;
            let done = match bound.given {
                true => self.unbind(&bound.port, Some(bound.network), (dns, owner.user)).await,
                false => self.neutron.delete_port(id).await.map(drop).map_err(Error::from),
            };
            if let Err(error) = done {
                tracing::error!(error = %Chain(&error), port = id, "a port could not be taken back");
            }
        }
    }
}

/// Apart: what was made or bound, in order, and the first thing that went wrong.
fn sort<'a>(made: Vec<Result<Bound<'a>, (Option<Bound<'a>>, Error)>>) -> (Vec<Bound<'a>>, Option<Error>) {
    let (mut bound, mut failed) = (Vec::with_capacity(made.len()), None);
    for one in made {
        match one {
            Ok(one) => bound.push(one),
            Err((half, error)) => {
                bound.extend(half);
                failed.get_or_insert(error);
            }
        }
    }
    (bound, failed)
}

fn merge(body: &mut Value, more: &Value) {
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
        body.extend(more.clone());
    }
}
