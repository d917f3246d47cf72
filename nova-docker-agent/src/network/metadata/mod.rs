//! 169.254.169.254: what instances ask about themselves (Nova's metadata API).
//!
//! ```text
//!   instance's namespace            the metadata namespace             the agent's own
//!   `metadata` 169.254.x.y/32 ═veth═ one device for each instance
//!                                    lo 169.254.169.254:80 ── proxy.rs ──► nova-metadata, with signed headers
//! ```
//! The guest keeps its port 80 and needs no port of Neutron's for this. (A listener in its own namespace would need no device
//! there, but as long as it listens on one address nobody else can on all of them: web servers in guests would not start. To
//! turn the requests aside to another port takes NAT, and connection tracking for all that the guest does.) It is known by its address on its veth, which it
//! cannot change: it has no capability for that, and a frame with another one's address is dropped on arrival. The
//! namespace has no name and ends with the agent; what its instances have of it is made again at the next start.

mod drive;
mod nova;
mod proxy;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::{Arc, PoisonError, RwLock};

use common::error_chain::Chain;
use common::ids::InstanceUuid;
use common::secret::Secret;
use common::shutdown::Shutdown;
use ipnet::IpNet;

use super::links::inet::{FORWARDING, RP_FILTER};
use super::links::{self, End, Links, Namespace};
use crate::builds::Builds;
use nova::NovaMetadata;
use proxy::Proxy;

pub use drive::File;

/// Where every cloud's instances look.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// The guest's device.
const DEVICE: &str = "metadata";

/// Bytes.
const MTU: u32 = 1500;

/// Why there is no metadata.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `[docker] metadata_url` cannot be read.
    #[error("{0} is no URL of nova-metadata: it must be http://HOST:PORT or https://HOST:PORT")]
    Url(String),
    /// nova-metadata says nothing, or nothing of use.
    #[error("nova-metadata does not tell {path}: {why}")]
    Answer {
        /// What was asked for.
        path: String,
        /// Why, as a clause.
        why: String,
    },
    /// The server cannot be started.
    #[error("cannot serve metadata at {ADDRESS}")]
    Serve(#[source] std::io::Error),
    /// Every link-local address is in use.
    #[error("there are more instances than link-local addresses")]
    Exhausted,
    /// The kernel.
    #[error(transparent)]
    Kernel(#[from] links::Error),
}

/// Who asks, as nova-metadata is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `X-Instance-ID`
    pub instance: InstanceUuid,
    /// `X-Tenant-ID`
    pub project_id: String,
    /// `X-Forwarded-For`: a fixed address of the instance; its link-local one when it has no port.
    pub address: Option<IpAddr>,
}

/// Whom each link-local address belongs to.
type Identities = Arc<RwLock<HashMap<Ipv4Addr, Identity>>>;

/// The metadata namespace and its server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct MetadataService {
    nova: NovaMetadata,
    namespace: Arc<Namespace>,
    identities: Identities,
}

impl MetadataService {
    /// Makes the namespace and serves in it until `life` closes. `url`: `http://HOST:PORT` of nova-metadata; `secret`:
    /// `[neutron] metadata_proxy_shared_secret`; `builds` that wait for their turn go before the guests' questions.
    ///
    /// # Errors
    /// Each of [`Error`]
    pub async fn start(
        (url, secret): (&str, &Secret),
        builds: &Builds,
        life: &Shutdown,
    ) -> Result<Self, Error> {
        let nova = NovaMetadata::new(url, secret)?;
        let (namespace, listener) = links::blocking(|| {
            let namespace = Namespace::new()?;
            let listener = namespace.inside(listen)?;
            Ok((namespace, listener))
        })
        .await?;
        let identities = Identities::default();
        let proxy = Proxy { nova: nova.clone(), identities: Arc::clone(&identities), builds: builds.clone() };
        proxy::serve(listener, proxy, life)?;
        Ok(Self { nova, namespace: Arc::new(namespace), identities })
    }

    /// Gives the namespace of process `pid` its way to 169.254.169.254; one that it had before goes.
    ///
    /// # Errors
    /// When the kernel refuses. Nothing is left then.
    pub async fn attach(&self, pid: u32, identity: &Identity) -> Result<(), Error> {
        let address = self.claim(identity)?;
        let (metadata, instance) = (Arc::clone(&self.namespace), identity.instance);
        let connected =
            links::blocking(move || connect(&metadata, &Namespace::of(pid)?, instance, address)).await;
        if let Err(error) = connected {
            self.detach(instance).await;
            return Err(error.into());
        }
        Ok(())
    }

    /// What the config drive of an instance has to hold. The instance must be in Nova's database with its ports.
    ///
    /// # Errors
    /// [`Error::Answer`]
    pub async fn drive(&self, identity: &Identity) -> Result<Vec<File>, Error> {
        drive::files(&self.nova, identity).await
    }

    /// Takes it away; an absent one is fine.
    pub async fn detach(&self, instance: InstanceUuid) {
        let metadata = Arc::clone(&self.namespace);
        let disconnected =
            links::blocking(move || metadata.inside(|| Links::open()?.delete(&device_of(instance)))).await;
        if let Err(error) = disconnected {
            tracing::warn!(instance_uuid = %instance, error = %Chain(&error), "cannot take the way to metadata away");
        }
        // Last, so that nobody gets the address while it is in use.
        self.write().retain(|_, identity| identity.instance != instance);
    }

    /// An address for an instance: the one that it has, or one of its own that is free.
    fn claim(&self, identity: &Identity) -> Result<Ipv4Addr, Error> {
        let mut identities = self.write();
        let has = identities.iter().find(|(_, known)| known.instance == identity.instance);
        let address = match has.map(|(address, _)| *address) {
            Some(address) => address,
            None => candidates(identity.instance)
                .find(|address| !identities.contains_key(address))
                .ok_or(Error::Exhausted)?,
        };
        identities.insert(address, identity.clone());
        Ok(address)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<Ipv4Addr, Identity>> {
        // A panic while it was held cannot have left the map half-changed.
        self.identities.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every link-local address that may be used (RFC 3927, 2.1), beginning with one that the instance always begins with.
fn candidates(instance: InstanceUuid) -> impl Iterator<Item = Ipv4Addr> {
    const FIRST: u32 = u32::from_be_bytes([169, 254, 1, 0]);
    const COUNT: u32 = 254 * 256;
    let mut hasher = DefaultHasher::new();
    instance.hash(&mut hasher);
    let begin = u32::try_from(hasher.finish() % u64::from(COUNT)).unwrap_or_default();
    let addresses = (0..COUNT).map(move |step| Ipv4Addr::from(FIRST + (begin + step) % COUNT));
    addresses.filter(|address| *address != ADDRESS)
}

/// Name of an instance's device in the metadata namespace.
fn device_of(instance: InstanceUuid) -> String {
    format!("m{}", &instance.to_string()[..13])
}

/// Readies the thread's namespace, which is the new one, and takes its port 80.
fn listen() -> Result<TcpListener, links::Error> {
    let mut links = Links::open()?;
    let loopback = links.index("lo")?;
    links.up(loopback)?;
    links.add_address(loopback, IpNet::from(IpAddr::from(ADDRESS)))?;
    links::check_sources_strictly();
    TcpListener::bind((ADDRESS, 80))
        .map_err(|source| links::Error::new(format!("give out {ADDRESS}:80"), source))
}

/// Connects a guest's namespace with the metadata namespace.
fn connect(
    metadata: &Namespace,
    guest: &Namespace,
    instance: InstanceUuid,
    address: Ipv4Addr,
) -> Result<(), links::Error> {
    // That of an agent that is gone disappears some time after it.
    guest.inside(|| Links::open()?.delete(DEVICE))?;
    metadata.inside(|| {
        let mut links = Links::open()?;
        let name = device_of(instance);
        links.delete(&name)?;
        let far = End { name: DEVICE, mac: None };
        links.add_veth(&End { name: &name, mac: None }, (&far, guest), MTU)?;
        let device = links.index(&name)?;
        // From one guest's device to the next one's nothing is forwarded.
        links.configure(device, &[(FORWARDING, 0), (RP_FILTER, 1)])?;
        links.up(device)?;
        links.add_first_route(device, address, Some(ADDRESS))
    })?;
    guest.inside(|| {
        let mut links = Links::open()?;
        let device = links.index(DEVICE)?;
        links.configure(device, &[])?;
        links.up(device)?;
        links.add_address(device, IpNet::from(IpAddr::from(address)))?;
        links.add_first_route(device, ADDRESS, Some(address))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support;

    #[test]
    fn addresses_are_link_local_and_each_is_tried_once() {
        let all: Vec<Ipv4Addr> = candidates(test_support::uuid()).collect();
        assert_eq!(all.len(), 254 * 256 - 1);
        assert!(
            all.iter()
                .all(|address| address.is_link_local() && !matches!(address.octets(), [_, _, 0 | 255, _]))
        );
        assert!(!all.contains(&ADDRESS));
        assert_eq!(candidates(test_support::uuid()).next(), Some(all[0]));
    }

    #[test]
    fn the_device_s_name_fits_the_kernel() {
        assert_eq!(device_of(test_support::uuid()), "m2d206834-23ab");
    }
}
