//! Cluster IPs. An address is taken by an IPAddress object: making the object is taking the address,
//! so two writers never get the same one, whichever server they talk to.
//!
//! Not here: which families a service has (`families`).

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use api::clock::{Clock, Rng};
use api::{Cause, Entry, Key, Object, codec, kinds};
use parking_lot::Mutex;
use serde_json::json;
use store::{Change, CommitError, Expect, ResourceCache, Store, Write};

use super::range::{Family, Range};

const RESOURCE: &str = "ipaddresses.networking.k8s.io";
const MANAGED_BY: &str = "ipallocator.k8s.io";

/// Why an address cannot be had, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IpError {
    /// Taken.
    #[error("provided IP is already allocated")]
    Taken,
    /// In no range.
    #[error("the provided network does not match the current range")]
    Outside,
    /// The network's own, or the broadcast address.
    #[error("the provided IP ({0}) is not in the valid range. The range of valid IPs is {1}")]
    Reserved(IpAddr, Range),
    /// None is left.
    #[error("range is full")]
    Full,
    /// The service's name cannot be referred to.
    #[error("IPAddress.networking.k8s.io {0:?} is invalid: {1}")]
    Name(String, String),
    /// The store refused.
    #[error("{0}")]
    Store(String),
}

/// An address in somebody's hand.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The address.
    pub ip: IpAddr,
    /// The revision of its object.
    revision: u64,
}

/// The cluster IPs.
#[derive(Clone)]
pub struct Ips {
    store: Store,
    addresses: Arc<ResourceCache>,
    services: Arc<ResourceCache>,
    cidrs: Arc<ResourceCache>,
    configured: Arc<[Range]>,
    /// Addresses whose service is being written: their object is not stale, whatever it refers to.
    pending: Arc<Mutex<HashSet<IpAddr>>>,
    clock: Clock,
    rng: Rng,
}

impl Ips {
    /// Addresses out of the configured ranges and every ready ServiceCIDR.
    pub fn new(store: &Store, configured: Vec<Range>, clock: Clock, rng: Rng) -> Self {
        Self {
            addresses: store.resource(RESOURCE),
            services: store.resource("services"),
            cidrs: store.resource("servicecidrs.networking.k8s.io"),
            store: store.clone(),
            configured: configured.into(),
            pending: Arc::default(),
            clock,
            rng,
        }
    }

    /// The families of the configured ranges, the default one first.
    pub fn families(&self) -> impl Iterator<Item = Family> {
        self.configured.iter().map(|r| r.family())
    }

    fn ranges(&self, family: Family) -> Vec<Range> {
        let mut ranges = self.configured.to_vec();
        for entry in self.cidrs.list(None).iter().filter(|e| !e.card.deleting) {
            let Ok(object) = entry.object() else { continue };
            let conditions = object.at("status.conditions").and_then(|c| c.as_array());
            let ready = conditions.into_iter().flatten().any(|c| {
                c.get("type").is_some_and(|t| t == "Ready")
                    && c.get("status").is_some_and(|s| s == "True")
            });
            let cidrs = object.at("spec.cidrs").and_then(|c| c.as_array()).filter(|_| ready);
            for cidr in cidrs.into_iter().flatten().filter_map(|c| c.as_str()) {
                ranges.extend(Range::parse(cidr).filter(|r| !ranges.contains(r)));
            }
        }
        ranges.retain(|r| r.family() == family);
        ranges
    }

    /// Takes a given address for a service.
    pub async fn take(
        &self,
        ip: IpAddr,
        service: (&str, &str),
        dry: bool,
    ) -> Result<Taken, IpError> {
        let ranges = self.ranges(Family::of(ip));
        let range = ranges.iter().find(|r| r.contains(ip)).ok_or(IpError::Outside)?;
        range.index(ip).ok_or(IpError::Reserved(ip, *range))?;
        self.reserve(ip, service, dry).await
    }

    /// Takes any free address of a family. The lower part of each range is left to who asks for a
    /// given one, as long as there is another.
    pub async fn take_any(
        &self,
        family: Family,
        service: (&str, &str),
        dry: bool,
    ) -> Result<Taken, IpError> {
        for range in self.ranges(family) {
            let size = range.size();
            let kept = if size < 16 { 0 } else { (size / 16).clamp(16, 256).min(size) };
            for (from, to) in [(kept, size), (0, kept)] {
                let count = to - from;
                let start = self.rng.below(count);
                for i in 0..count.min(1 << 20) {
                    let ip = range.nth(from + (start + i) % count);
                    // Looking is cheap: only a likely free one is asked for.
                    if self.addresses.get("", &ip.to_string()).is_some() {
                        continue;
                    }
                    match self.reserve(ip, service, dry).await {
                        Err(IpError::Taken) => {}
                        decided => return decided,
                    }
                }
            }
        }
        Err(IpError::Full)
    }

    async fn reserve(
        &self,
        ip: IpAddr,
        service: (&str, &str),
        dry: bool,
    ) -> Result<Taken, IpError> {
        let name = ip.to_string();
        let faults = api::names::path_segment(service.1);
        let fault = if service.1.is_empty() {
            Some(Cause::required("spec.parentRef.name", ""))
        } else {
            faults.first().map(|f| Cause::invalid("spec.parentRef.name", &json!(service.1), f))
        };
        if let (Some(fault), false) = (fault, dry) {
            return Err(IpError::Name(name, fault.line()));
        }
        let held = self.addresses.get("", &name);
        let expect = match &held {
            None => Expect::Absent,
            Some(entry) if self.is_stale(entry, ip) => Expect::Revision(entry.revision),
            Some(_) => return Err(IpError::Taken),
        };
        if dry {
            return Ok(Taken { ip, revision: 0 });
        }
        if !self.pending.lock().insert(ip) {
            return Err(IpError::Taken);
        }
        let result = self.store.commit(self.write(ip, service, expect)).await;
        match result {
            Ok(entry) => Ok(Taken { ip, revision: entry.revision }),
            Err(error) => {
                self.pending.lock().remove(&ip);
                Err(match error {
                    CommitError::Conflict(_) => IpError::Taken,
                    other => IpError::Store(other.to_string()),
                })
            }
        }
    }

    fn write(&self, ip: IpAddr, (namespace, service): (&str, &str), expect: Expect) -> Write {
        let mut object = Object::from_value(json!({
            "metadata": {
                "name": ip.to_string(), "uid": self.rng.uuid(), "creationTimestamp": self.clock.time(),
                "labels": {
                    "ipaddress.kubernetes.io/ip-family": Family::of(ip).as_str(),
                    "ipaddress.kubernetes.io/managed-by": MANAGED_BY,
                },
            },
            "spec": {"parentRef": {"resource": "services", "namespace": namespace, "name": service}},
        }))
        .unwrap_or_default();
        object.set_type("networking.k8s.io/v1", "IPAddress");
        let card = kinds::by_kind("networking.k8s.io", "v1", "IPAddress")
            .map(|kind| kind.card(&object))
            .unwrap_or_default();
        let encoded = codec::json::encode_for_store(&object);
        let change = Change::Put { bytes: encoded.bytes, rv_at: encoded.rv_at, card };
        Write { key: Key::new(RESOURCE, "", ip.to_string()), expect, change }
    }

    /// Whether an address of ours belongs to no service any more.
    fn is_stale(&self, entry: &Entry, ip: IpAddr) -> bool {
        if entry.card.label("ipaddress.kubernetes.io/managed-by") != Some(MANAGED_BY)
            || self.pending.lock().contains(&ip)
        {
            return false;
        }
        let object = entry.object().unwrap_or_default();
        let text =
            |key: &str| object.text(&format!("spec.parentRef.{key}")).unwrap_or("").to_owned();
        let service = self.services.get(&text("namespace"), &text("name"));
        service.is_none_or(|s| !of_service(&s.object().unwrap_or_default()).contains(&ip))
    }

    /// The service that holds an address is stored.
    pub fn settle(&self, taken: &Taken) {
        self.pending.lock().remove(&taken.ip);
    }

    /// The service was not stored: its address is free again.
    pub fn give_back(&self, taken: Taken) {
        let ips = self.clone();
        spawn(async move {
            ips.remove(taken.ip, taken.revision).await;
            ips.pending.lock().remove(&taken.ip);
        });
    }

    /// A service gave its address up; once this is done another may have it.
    pub fn release(&self, ip: IpAddr) -> impl Future<Output = ()> + Send + 'static {
        let ips = self.clone();
        // What the address is now: not what somebody makes of it before this runs.
        let held = self.addresses.get("", &ip.to_string()).map(|entry| entry.revision);
        async move {
            if let Some(revision) = held {
                ips.remove(ip, revision).await;
            }
        }
    }

    async fn remove(&self, ip: IpAddr, revision: u64) {
        let Some(entry) = self.addresses.get("", &ip.to_string()) else { return };
        let Ok(mut object) = entry.object() else { return };
        object.set_meta("resourceVersion", api::Value::Null);
        let encoded = codec::json::encode_for_store(&object);
        let change = Change::Delete { bytes: encoded.bytes, rv_at: encoded.rv_at };
        let key = Key::new(RESOURCE, "", ip.to_string());
        let write = Write { key, expect: Expect::Revision(revision), change };
        match self.store.commit(write).await {
            // Somebody has it by now.
            Ok(_) | Err(CommitError::Conflict(_)) => {}
            Err(error) => tracing::warn!(%ip, %error, "cannot free a cluster IP"),
        }
    }

    /// Brings addresses and services together after a crash: drops those whose service is gone,
    /// makes those that a service has and that are missing.
    pub async fn repair(&self) {
        for entry in self.addresses.list(None).iter() {
            let Ok(ip) = entry.card.name.parse::<IpAddr>() else { continue };
            if self.is_stale(entry, ip) {
                tracing::info!(%ip, "freeing a cluster IP that no service has");
                self.remove(ip, entry.revision).await;
            }
        }
        for entry in self.services.list(None).iter() {
            for ip in of_service(&entry.object().unwrap_or_default()) {
                if self.addresses.get("", &ip.to_string()).is_none() {
                    let service = (&*entry.card.namespace, &*entry.card.name);
                    let _ = self.store.commit(self.write(ip, service, Expect::Absent)).await;
                }
            }
        }
    }
}

/// The cluster IPs of a service.
pub fn of_service(service: &Object) -> Vec<IpAddr> {
    let ips = service.at("spec.clusterIPs").and_then(|i| i.as_array()).into_iter().flatten();
    ips.filter_map(|ip| ip.as_str()?.parse().ok()).collect()
}

/// Does something that nobody waits for.
pub fn spawn(work: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(work);
    }
}
