//! Aggregation: API versions that other servers answer for, registered as `APIService` objects.
//!
//! The table of such versions is a snapshot, made anew by the controller when one changes; it is empty
//! in most clusters and then costs a request one look. Not here: the registry of the objects
//! themselves, custom resources.

mod check;
pub mod controller;
mod documents;
mod priority;
mod proxy;
mod register;

pub use documents::{complete, index, index_revision, merge, serve_document, versions_2};
pub use proxy::serve;
pub use register::initial;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use api::{Object, Resource, Value};
use arc_swap::ArcSwap;
use base64::Engine;
use client::Client;
use client::https::{Config, HttpsTransport, Pem};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::pki::{Identity, Pki};
use crate::server::Server;

/// The registered versions.
const SERVICES: Resource =
    Resource::cluster("apiregistration.k8s.io", "v1", "apiservices", "APIService");
const OWN_GROUP: &str = "apiregistration.k8s.io";

/// Connections kept to the endpoints of one service.
const KEPT: usize = 16;

/// The table of versions that others answer for, and what is needed to ask them.
pub struct Aggregator {
    pki: Arc<Pki>,
    table: ArcSwap<Table>,
    /// All registrations, by name.
    read: Mutex<HashMap<String, Registration>>,
    changes: AtomicU64,
    /// Tells the controller that a check has ended.
    checked: Notify,
}

/// All registered versions at one time; empty where no other server has any.
#[derive(Default)]
struct Table {
    /// By group and version.
    remotes: HashMap<(String, String), Entry>,
    /// Of the group and of the version, for each of them, local ones too.
    priorities: HashMap<(String, String), (i64, i64)>,
}

/// A registration, read.
struct Registration {
    /// Group and version.
    key: (String, String),
    /// Of the group and of the version.
    priorities: (i64, i64),
    /// None where the version is served here.
    entry: Option<Entry>,
}

/// A version that another server answers for.
#[derive(Clone)]
struct Entry {
    remote: Arc<Remote>,
    /// What its object says.
    available: bool,
}

/// Another server, for one version.
pub struct Remote {
    group: String,
    version: String,
    /// Of its object.
    uid: String,
    name: String,
    spec: Value,
    namespace: String,
    service: String,
    port: i64,
    clients: Mutex<HashMap<String, Client>>,
    documents: ArcSwap<documents::Fetched>,
    plan: Mutex<Plan>,
    checking: AtomicBool,
}

/// When a server is checked next.
#[derive(Clone, Copy)]
struct Plan {
    due: Instant,
    failures: u32,
}

impl Remote {
    /// `None` for versions served here.
    fn new(object: &Object) -> Option<Self> {
        let service = object.at("spec.service").filter(|s| s.is_object())?;
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        Some(Self {
            group: object.text("spec.group").unwrap_or("").to_owned(),
            version: object.text("spec.version").unwrap_or("").to_owned(),
            uid: object.uid().to_owned(),
            name: object.name().to_owned(),
            spec: object.at("spec").cloned().unwrap_or_default(),
            namespace: text(&service["namespace"]),
            service: text(&service["name"]),
            port: service["port"].as_i64().unwrap_or(443),
            clients: Mutex::default(),
            documents: ArcSwap::default(),
            plan: Mutex::new(Plan { due: Instant::now(), failures: 0 }),
            checking: AtomicBool::new(false),
        })
    }

    fn is(&self, other: &Self) -> bool {
        self.uid == other.uid && self.spec == other.spec
    }

    /// A client of one of its endpoints.
    fn client(&self, server: &Server) -> Result<Client, String> {
        let address = check::address(server, self)?;
        let mut clients = self.clients.lock();
        if let Some(client) = clients.get(&address) {
            return Ok(client.clone());
        }
        let issued =
            server.aggregator.pki.identity(&Identity::FrontProxy).map_err(|e| e.to_string())?;
        let bundle = self.spec["caBundle"].as_str().filter(|text| !text.is_empty());
        let bundle = bundle.map(|text| base64::engine::general_purpose::STANDARD.decode(text));
        let transport = HttpsTransport::new(Config {
            server: format!("https://{address}"),
            ca: bundle.transpose().map_err(|e| format!("caBundle: {e}"))?.map(Pem::Data),
            insecure: self.spec["insecureSkipTLSVerify"] == true,
            server_name: Some(format!("{}.{}.svc", self.service, self.namespace)),
            identity: Some((
                Pem::Data(issued.cert.into_bytes()),
                Pem::Data(issued.key.into_bytes()),
            )),
            user_agent: Some("kube-apiserver".to_owned()),
            ..Config::default()
        });
        let client = Client::new(Arc::new(transport.map_err(|e| e.to_string())?));
        if clients.len() >= KEPT {
            clients.clear();
        }
        clients.insert(address, client.clone());
        Ok(client)
    }

    /// Forgets connections: the certificate that they show may have been renewed since.
    fn forget(&self) {
        self.clients.lock().clear();
    }

    /// Where the version's resources are.
    fn path(&self) -> String {
        if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        }
    }
}

impl Aggregator {
    /// Knows of no other servers yet.
    pub fn new(pki: Arc<Pki>) -> Self {
        Self {
            pki,
            table: ArcSwap::default(),
            read: Mutex::default(),
            changes: AtomicU64::new(0),
            checked: Notify::new(),
        }
    }

    /// The server that answers for a path, if it is not this one, and whether it is available.
    pub fn find(&self, path: &str) -> Option<(Arc<Remote>, bool)> {
        let table = self.table.load();
        if table.remotes.is_empty() {
            return None;
        }
        let mut parts = path.strip_prefix("/apis/")?.split('/');
        let (group, version) = (parts.next()?, parts.next()?);
        let entry = table.remotes.get(&(group.to_owned(), version.to_owned()))?;
        Some((entry.remote.clone(), entry.available))
    }

    /// The other servers, in no order.
    fn remotes(&self) -> Vec<Entry> {
        self.table.load().remotes.values().cloned().collect()
    }

    /// By the name of its registration, whether each of the other servers is available.
    pub fn availability(&self) -> Vec<(String, bool)> {
        self.remotes().into_iter().map(|e| (e.remote.name.clone(), e.available)).collect()
    }

    /// Takes over registrations as they are now; all where no names are given. Servers whose
    /// registration did not change keep what is known of them.
    fn read<'a>(&self, server: &Server, names: Option<impl Iterator<Item = &'a str>>) {
        let mut read = self.read.lock();
        let cache = server.store.resource(&SERVICES.qualified());
        let mut changed = false;
        match names {
            None => {
                let gone = std::mem::take(&mut *read);
                for entry in cache.list(None).iter() {
                    let name = &*entry.card.name;
                    read.insert(name.to_owned(), Registration::read(entry, gone.get(name)));
                }
                changed = true;
            }
            Some(names) => {
                for name in names {
                    let old = read.remove(name);
                    let new = cache.get("", name).map(|e| Registration::read(&e, old.as_ref()));
                    changed |= old.is_some() || new.is_some();
                    read.extend(new.map(|new| (name.to_owned(), new)));
                }
            }
        }
        let remote = |registration: &Registration| registration.entry.is_some();
        let mut table = Table::default();
        if !changed || !read.values().any(remote) && self.table.load().remotes.is_empty() {
            return;
        }
        for registration in read.values() {
            let Registration { key, priorities, entry } = registration;
            table.priorities.insert(key.clone(), *priorities);
            if let Some(entry) = entry {
                table.remotes.insert(key.clone(), entry.clone());
            }
        }
        self.table.store(Arc::new(table));
        self.change();
    }

    /// Counts what changes documents: which servers there are, and what they say.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    fn change(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }
}

impl Registration {
    fn read(entry: &api::Entry, old: Option<&Self>) -> Self {
        let object = entry.object().unwrap_or_default();
        let text = |path: &str| object.text(path).unwrap_or("").to_owned();
        let number = |path: &str| object.int(path).unwrap_or(0);
        let key = (text("spec.group"), text("spec.version"));
        let priorities = (number("spec.groupPriorityMinimum"), number("spec.versionPriority"));
        // Nobody else answers for the registrations themselves, nor for the core group.
        let remote = Remote::new(&object).filter(|_| key.0 != OWN_GROUP && !key.0.is_empty());
        let known = old.and_then(|old| old.entry.as_ref());
        let entry = remote.map(|remote| {
            let known = known.filter(|known| known.remote.is(&remote));
            let remote = known.map_or_else(|| Arc::new(remote), |known| known.remote.clone());
            let available = check::available(&object).is_some_and(|c| c["status"] == "True");
            Entry { remote, available }
        });
        Self { key, priorities, entry }
    }
}

impl Remote {
    /// Takes the right to check; `None` where a check is under way.
    fn begin(self: &Arc<Self>) -> Option<Checking> {
        let taken = self.checking.swap(true, Ordering::AcqRel);
        (!taken).then(|| Checking(self.clone()))
    }
}

/// A check under way.
struct Checking(Arc<Remote>);

impl Drop for Checking {
    fn drop(&mut self) {
        self.0.checking.store(false, Ordering::Release);
    }
}
