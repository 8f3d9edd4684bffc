//! Aggregation: API versions that other servers answer for, registered as `APIService` objects.
//!
//! The table of such versions is a snapshot, made anew by the controller when an object changes; it is
//! empty in most clusters and then costs a request one look. Not here: the registry of the objects
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
use std::sync::atomic::{AtomicBool, Ordering};

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
    /// Tells the controller that a check has ended.
    checked: Notify,
}

/// All registered versions at one time.
#[derive(Default)]
struct Table {
    /// By group and version.
    remotes: HashMap<(String, String), Entry>,
    /// Of the group and of the version, for each of them, local ones too.
    priorities: HashMap<(String, String), (i64, i64)>,
    /// Local ones that were read, by name and revision: their group and version.
    local: HashMap<(String, u64), (String, String)>,
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
        Self { pki, table: ArcSwap::default(), checked: Notify::new() }
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

    /// Makes the table anew. Servers whose registration did not change keep what is known of them.
    fn rebuild(&self, server: &Server) {
        let old = self.table.load_full();
        let mut table = Table::default();
        for entry in server.store.resource(&SERVICES.qualified()).list(None).iter() {
            let mark = (entry.card.name.to_string(), entry.revision);
            if let Some(key) = old.local.get(&mark) {
                let priorities = old.priorities.get(key).copied().unwrap_or_default();
                table.priorities.insert(key.clone(), priorities);
                table.local.insert(mark, key.clone());
                continue;
            }
            let Ok(object) = entry.object() else { continue };
            let text = |path: &str| object.text(path).unwrap_or("").to_owned();
            let key = (text("spec.group"), text("spec.version"));
            let number = |path: &str| object.int(path).unwrap_or(0);
            let priorities = (number("spec.groupPriorityMinimum"), number("spec.versionPriority"));
            table.priorities.insert(key.clone(), priorities);
            // Nobody else answers for the registrations themselves, nor for the core group.
            if key.0 == OWN_GROUP || key.0.is_empty() {
                continue;
            }
            let Some(remote) = Remote::new(&object) else {
                table.local.insert(mark, key);
                continue;
            };
            let known = old.remotes.get(&key).filter(|known| known.remote.is(&remote));
            let remote = known.map_or_else(|| Arc::new(remote), |known| known.remote.clone());
            let available = check::available(&object).is_some_and(|c| c["status"] == "True");
            table.remotes.insert(key, Entry { remote, available });
        }
        self.table.store(Arc::new(table));
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
