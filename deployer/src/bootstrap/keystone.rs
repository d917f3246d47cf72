//! Keystone's project, users, roles, services and endpoints: looked at, decided, made through its REST API.

use std::collections::{BTreeMap, BTreeSet};

use common::openstack::http::Request;
use common::openstack::{Error, Service as Api};
use common::secret::Secret;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use reqwest::Method;
use serde_json::{Value, json};

/// Project of the services' users.
const PROJECT: &str = "service";
/// Roles of the services' users: `service` is what new policies ask for, `admin` what the rest does.
const ROLES: [&str; 2] = ["admin", "service"];
/// Attribute of our users with a keyed hash of their password: tells without a login whether it is still the right one.
const MARK: &str = "octopenstack_spec";
/// Requests at a time.
const PARALLEL: usize = 4;

/// What Keystone shall know.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) region: String,
    pub(crate) users: Vec<User>,
    pub(crate) services: Vec<Service>,
}

/// A service's user.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) password: Secret,
    /// Keyed hash of the password.
    pub(crate) mark: String,
}

/// An entry of the catalogue.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) kind: String,
    pub(crate) name: String,
    /// URL by interface.
    pub(crate) urls: BTreeMap<&'static str, String>,
}

/// What Keystone knows, by name.
#[derive(Debug, Default, Clone)]
struct Present {
    project: Option<String>,
    roles: BTreeMap<String, String>,
    /// Name -> id and mark.
    users: BTreeMap<String, (String, String)>,
    /// User id and role id, in our project.
    grants: BTreeSet<(String, String)>,
    region: bool,
    /// Type -> id.
    services: BTreeMap<String, String>,
    /// Service id and interface -> endpoint id and URL.
    endpoints: BTreeMap<(String, String), (String, String)>,
}

/// What is missing; in two steps, for the second needs ids that the first makes.
#[derive(Debug, Clone)]
enum Change {
    Project,
    Role(&'static str),
    Region(String),
    User(User),
    Password { id: String, user: User },
    Service { kind: String, name: String },
    Grant { user: String, role: &'static str },
    Endpoint { kind: String, interface: &'static str, url: String, region: String },
    Url { id: String, kind: String, interface: &'static str, url: String },
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Change::Project => write!(f, "create project {PROJECT}"),
            Change::Role(name) => write!(f, "create role {name}"),
            Change::Region(name) => write!(f, "create region {name}"),
            Change::User(user) => write!(f, "create user {}", user.name),
            Change::Password { user, .. } => write!(f, "set the password of user {}", user.name),
            Change::Service { kind, name } => write!(f, "create service {name} ({kind})"),
            Change::Grant { user, role } => write!(f, "give user {user} the role {role}"),
            Change::Endpoint { kind, interface, .. } => {
                write!(f, "create the {interface} endpoint of {kind}")
            }
            Change::Url { kind, interface, url, .. } => {
                write!(f, "move the {interface} endpoint of {kind} to {url}")
            }
        }
    }
}

/// Makes what is missing; returns what was done. `api` is Keystone's `/v3`.
pub(crate) async fn ensure(api: &Api, wanted: &Wanted) -> Result<Vec<String>, Error> {
    let mut done = Vec::new();
    let mut present = look(api).await?;
    let first = objects(wanted, &present);
    if !first.is_empty() {
        done.extend(apply(api, &present, first).await?);
        present = look(api).await?;
    }
    let second = relations(wanted, &present);
    done.extend(apply(api, &present, second).await?);
    Ok(done)
}

async fn look(api: &Api) -> Result<Present, Error> {
    let list = async |path: &str, key: &str| -> Result<Vec<Value>, Error> {
        let answer: Value = api.json(&Request::new(Method::GET, path)).await?;
        Ok(answer[key].as_array().cloned().unwrap_or_default())
    };
    let (projects, roles, users, regions, services, endpoints) = tokio::try_join!(
        list("/projects?name=service&domain_id=default", "projects"),
        list("/roles", "roles"),
        list("/users?domain_id=default", "users"),
        list("/regions", "regions"),
        list("/services", "services"),
        list("/endpoints", "endpoints"),
    )?;
    let project = projects.first().map(|project| text(project, "id"));
    let grants = match &project {
        Some(id) => list(&format!("/role_assignments?scope.project.id={id}"), "role_assignments").await?,
        None => Vec::new(),
    };
    let by =
        |list: &[Value], key: &str| list.iter().map(|item| (text(item, key), text(item, "id"))).collect();
    Ok(Present {
        project,
        roles: by(&roles, "name"),
        users: users.iter().map(|user| (text(user, "name"), (text(user, "id"), text(user, MARK)))).collect(),
        grants: grants.iter().map(|grant| (text(&grant["user"], "id"), text(&grant["role"], "id"))).collect(),
        region: !regions.is_empty(),
        services: by(&services, "type"),
        endpoints: endpoints
            .iter()
            .map(|endpoint| {
                (
                    (text(endpoint, "service_id"), text(endpoint, "interface")),
                    (text(endpoint, "id"), text(endpoint, "url")),
                )
            })
            .collect(),
    })
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

/// Missing objects: what needs no id of another.
fn objects(wanted: &Wanted, present: &Present) -> Vec<Change> {
    let mut changes = Vec::new();
    if present.project.is_none() && !wanted.users.is_empty() {
        changes.push(Change::Project);
    }
    changes.extend(ROLES.into_iter().filter(|role| !present.roles.contains_key(*role)).map(Change::Role));
    if !present.region {
        changes.push(Change::Region(wanted.region.clone()));
    }
    for user in &wanted.users {
        match present.users.get(&user.name) {
            None => changes.push(Change::User(user.clone())),
            Some((id, mark)) if *mark != user.mark => {
                changes.push(Change::Password { id: id.clone(), user: user.clone() })
            }
            Some(_) => {}
        }
    }
    let missing = wanted.services.iter().filter(|service| !present.services.contains_key(&service.kind));
    changes.extend(
        missing.map(|service| Change::Service { kind: service.kind.clone(), name: service.name.clone() }),
    );
    changes
}

/// Missing relations between objects that are there.
fn relations(wanted: &Wanted, present: &Present) -> Vec<Change> {
    let mut changes = Vec::new();
    for user in &wanted.users {
        let Some((id, _)) = present.users.get(&user.name) else { continue };
        let granted = |role: &str| {
            present.roles.get(role).is_some_and(|role| present.grants.contains(&(id.clone(), role.clone())))
        };
        let missing = ROLES.into_iter().filter(|role| !granted(role));
        changes.extend(missing.map(|role| Change::Grant { user: user.name.clone(), role }));
    }
    for service in &wanted.services {
        let Some(id) = present.services.get(&service.kind) else { continue };
        for (interface, url) in &service.urls {
            let (kind, url) = (service.kind.clone(), url.clone());
            match present.endpoints.get(&(id.clone(), (*interface).to_owned())) {
                None => {
                    changes.push(Change::Endpoint { kind, interface, url, region: wanted.region.clone() })
                }
                Some((id, known)) if *known != url => {
                    changes.push(Change::Url { id: id.clone(), kind, interface, url })
                }
                Some(_) => {}
            }
        }
    }
    changes
}

async fn apply(api: &Api, present: &Present, changes: Vec<Change>) -> Result<Vec<String>, Error> {
    stream::iter(changes)
        .map(|change| async move {
            let (method, path, body) = request(present, &change);
            api.send(&Request { body, ..Request::new(method, &path) }).await?;
            Ok(change.to_string())
        })
        .buffer_unordered(PARALLEL)
        .try_collect()
        .await
}

fn request(present: &Present, change: &Change) -> (Method, String, Option<Value>) {
    let id = |map: &BTreeMap<String, String>, key: &str| map.get(key).cloned().unwrap_or_default();
    match change {
        Change::Project => {
            let body = json!({ "project": { "name": PROJECT, "domain_id": "default", "description": "Users of the services" } });
            (Method::POST, "/projects".into(), Some(body))
        }
        Change::Role(name) => (Method::POST, "/roles".into(), Some(json!({ "role": { "name": name } }))),
        Change::Region(name) => (Method::POST, "/regions".into(), Some(json!({ "region": { "id": name } }))),
        Change::User(user) => {
            let body = json!({ "user": {
                "name": user.name, "domain_id": "default", "password": user.password.reveal(), MARK: user.mark } });
            (Method::POST, "/users".into(), Some(body))
        }
        Change::Password { id, user } => {
            let body = json!({ "user": { "password": user.password.reveal(), MARK: user.mark } });
            (Method::PATCH, format!("/users/{id}"), Some(body))
        }
        Change::Service { kind, name } => {
            (Method::POST, "/services".into(), Some(json!({ "service": { "type": kind, "name": name } })))
        }
        Change::Grant { user, role } => {
            let project = present.project.clone().unwrap_or_default();
            let user = present.users.get(user).map(|(id, _)| id.clone()).unwrap_or_default();
            (
                Method::PUT,
                format!("/projects/{project}/users/{user}/roles/{}", id(&present.roles, role)),
                None,
            )
        }
        Change::Endpoint { kind, interface, url, region } => {
            let body = json!({ "endpoint": {
                "service_id": id(&present.services, kind), "interface": interface, "url": url, "region_id": region } });
            (Method::POST, "/endpoints".into(), Some(body))
        }
        Change::Url { id, url, .. } => {
            (Method::PATCH, format!("/endpoints/{id}"), Some(json!({ "endpoint": { "url": url } })))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted {
            region: "R".into(),
            users: vec![User { name: "nova".into(), password: Secret::new("pw"), mark: "m1".into() }],
            services: vec![Service {
                kind: "compute".into(),
                name: "nova".into(),
                urls: BTreeMap::from([
                    ("public", "http://a:8774".into()),
                    ("internal", "http://b:8774".into()),
                ]),
            }],
        }
    }

    fn present() -> Present {
        let endpoint = |interface: &str, url: &str| {
            (("s".to_owned(), interface.to_owned()), (format!("e-{interface}"), url.to_owned()))
        };
        Present {
            project: Some("p".into()),
            roles: [("admin".into(), "r1".into()), ("service".into(), "r2".into())].into(),
            users: [("nova".into(), ("u".into(), "m1".into()))].into(),
            grants: [("u".into(), "r1".into()), ("u".into(), "r2".into())].into(),
            region: true,
            services: [("compute".into(), "s".into())].into(),
            endpoints: [endpoint("public", "http://a:8774"), endpoint("internal", "http://b:8774")].into(),
        }
    }

    fn said(changes: Vec<Change>) -> Vec<String> {
        changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_empty_keystone_gets_everything() {
        assert_eq!(
            said(objects(&wanted(), &Present::default())),
            [
                "create project service",
                "create role admin",
                "create role service",
                "create region R",
                "create user nova",
                "create service nova (compute)"
            ]
        );
        let objects_only = Present { grants: BTreeSet::new(), endpoints: BTreeMap::new(), ..present() };
        assert_eq!(
            said(relations(&wanted(), &objects_only)),
            [
                "give user nova the role admin",
                "give user nova the role service",
                "create the internal endpoint of compute",
                "create the public endpoint of compute"
            ]
        );
    }

    #[test]
    fn a_complete_keystone_gets_nothing() {
        assert!(objects(&wanted(), &present()).is_empty());
        assert!(relations(&wanted(), &present()).is_empty());
    }

    #[test]
    fn another_password_or_address_is_brought_in() {
        let mut wanted = wanted();
        wanted.users[0].mark = "m2".into();
        wanted.services[0].urls.insert("public", "http://c:8774".into());
        assert_eq!(said(objects(&wanted, &present())), ["set the password of user nova"]);
        assert_eq!(
            said(relations(&wanted, &present())),
            ["move the public endpoint of compute to http://c:8774"]
        );
    }
}
