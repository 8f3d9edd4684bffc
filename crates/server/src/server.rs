//! The API server's shared state, and a request as its stages pass it on.
//!
//! Not here: the stages (`stack` and what it calls).

use std::sync::Arc;

use api::clock::{Clock, Rng};
use api::kinds::{Kind, Verb};
use api::{ApiError, Object};
use bytes::Bytes;
use client::Shutdown;
use http::request::Parts;
use store::{ResourceCache, Store};

use crate::aggregate::Aggregator;
use crate::config::Config;
use crate::custom::convert::Prepared;
use crate::custom::{Custom, Customs};
use crate::edge::Media;
use crate::edge::accept::Shapes;
use crate::endpoints::kept::Documents;
use crate::endpoints::served::Served;
use crate::flow::FlowControl;
use crate::gate::{Guards, UserInfo};
use crate::proxy::Upstream;
use crate::query::Params;
use crate::request::RequestInfo;

/// Everything a request may need. One per process, behind an `Arc`.
pub struct Server {
    /// Objects.
    pub store: Store,
    /// Time.
    pub clock: Clock,
    /// Names and uids.
    pub rng: Rng,
    /// Who may do what.
    pub guards: Guards,
    /// Which kinds are served.
    pub served: Served,
    /// Which custom resources are served.
    pub customs: Customs,
    /// Documents of all of them.
    pub documents: Documents,
    /// How many requests run at once.
    pub flow: FlowControl,
    /// Versions that other servers answer for.
    pub aggregator: Aggregator,
    /// How it was started.
    pub config: Config,
    /// The way to kubelets, pods and services.
    pub upstream: Upstream,
    /// Ends watches and connections.
    pub shutdown: Shutdown,
    /// Whether the initial objects are written.
    pub ready: std::sync::atomic::AtomicBool,
}

/// A request behind authentication and authorization.
pub struct Request {
    /// Method, URI, headers, and hyper's upgrade handle.
    pub parts: Parts,
    /// The body, not yet read.
    pub body: RequestBody,
    /// What it asks for.
    pub info: RequestInfo,
    /// The query.
    pub params: Params,
    /// Who asks.
    pub user: UserInfo,
    /// How errors are encoded.
    pub media: Media,
}

impl Request {
    /// A header as text, empty where there is none.
    pub fn header(&self, name: http::header::HeaderName) -> &str {
        self.parts.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("")
    }

    /// The body, which the request then has no more.
    pub fn take_body(&mut self) -> RequestBody {
        std::mem::replace(&mut self.body, RequestBody::Bytes(Bytes::new()))
    }

    /// The `Accept` header, all of its lines.
    pub fn accept(&self) -> String {
        accept_of(&self.parts)
    }

    /// Who the managed fields belong to: the `fieldManager`, else the user agent up to its slash.
    pub fn manager(&self, named: &str) -> String {
        if !named.is_empty() {
            return named.to_owned();
        }
        let agent = self.header(http::header::USER_AGENT);
        let prefix = agent.split('/').next().unwrap_or("");
        prefix.chars().filter(|c| !c.is_control()).take(128).collect()
    }
}

/// All lines of the `Accept` header.
pub fn accept_of(parts: &Parts) -> String {
    let lines: Vec<&str> = parts
        .headers
        .get_all(http::header::ACCEPT)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .filter(|v| !v.is_empty())
        .collect();
    lines.join(",")
}

/// A request's body.
pub enum RequestBody {
    /// In process.
    Bytes(Bytes),
    /// From the wire.
    Wire(hyper::body::Incoming),
}

/// Upstream's bound on a request's body.
pub const BODY_LIMIT: usize = 3 * 1024 * 1024;

impl RequestBody {
    /// The whole body.
    pub async fn bytes(self) -> Result<Bytes, ApiError> {
        use http_body_util::{BodyExt, LengthLimitError, Limited};
        let too_large = || {
            ApiError::new(
                api::Reason::RequestEntityTooLarge,
                format!("Request entity too large: limit is {BODY_LIMIT}"),
            )
        };
        match self {
            Self::Bytes(bytes) if bytes.len() > BODY_LIMIT => Err(too_large()),
            Self::Bytes(bytes) => Ok(bytes),
            Self::Wire(body) => match Limited::new(body, BODY_LIMIT).collect().await {
                Ok(collected) => Ok(collected.to_bytes()),
                Err(e) if e.is::<LengthLimitError>() => Err(too_large()),
                Err(e) => Err(ApiError::bad_request(format!("reading the request body: {e}"))),
            },
        }
    }
}

/// A resource as a request addresses it.
#[derive(Clone)]
pub struct Target {
    /// In the version of the request.
    pub kind: &'static Kind,
    /// In the version it is stored in.
    pub stored: &'static Kind,
    /// The definition, of a custom resource.
    pub custom: Option<Custom>,
    /// What a webhook has converted for it.
    pub prepared: Option<Arc<Prepared>>,
    /// The objects.
    pub cache: Arc<ResourceCache>,
    /// Empty for cluster scope and over all namespaces.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
    /// Empty for the resource itself.
    pub sub: String,
}

impl Target {
    /// A resource of a kind.
    pub fn new(server: &Server, kind: &'static Kind, namespace: &str, name: &str) -> Self {
        let stored = kind.stored();
        let qualified = api::resource::qualified(stored.group, stored.plural);
        Self {
            kind,
            stored,
            custom: None,
            prepared: None,
            cache: server.store.resource(&qualified),
            namespace: if kind.namespaced { namespace.to_owned() } else { String::new() },
            name: name.to_owned(),
            sub: String::new(),
        }
    }

    /// A served resource, by group, version and plural.
    pub fn find(
        server: &Server,
        (group, version, plural): (&str, &str, &str),
        namespace: &str,
        name: &str,
    ) -> Option<Self> {
        if let Some(kind) = server.served.find(group, version, plural) {
            return Some(Self::new(server, kind, namespace, name));
        }
        let custom = server.customs.find(group, version, plural)?;
        Some(Self::of_custom(server, &custom, namespace, name))
    }

    /// A custom resource.
    pub fn of_custom(server: &Server, custom: &Custom, namespace: &str, name: &str) -> Self {
        let mut target = Self::new(server, custom.kind(), namespace, name);
        target.custom = Some(custom.clone());
        target
    }

    /// The same resource, another object.
    #[must_use]
    pub fn named(&self, namespace: &str, name: &str) -> Self {
        let mut other = self.clone();
        other.namespace = namespace.to_owned();
        other.name = name.to_owned();
        other
    }

    /// Whether the request's version is the stored one: its bytes can be copied.
    pub fn as_stored(&self) -> bool {
        std::ptr::eq(self.kind, self.stored)
    }

    /// Whether an entry's bytes are what the client is to see. Entries of a custom resource may be
    /// older than what its definition says now.
    pub fn is_verbatim(&self, entry: &api::Entry) -> bool {
        self.as_stored() && self.custom.as_ref().is_none_or(|custom| custom.is_verbatim(entry))
    }

    /// Whether what is about to be written was converted by a webhook.
    pub fn is_converted(&self) -> bool {
        self.prepared.as_ref().is_some_and(|prepared| prepared.stored().is_some())
    }

    /// The type of its objects, for server-side apply.
    pub fn apply_schema(&self) -> api::apply::Schema<'_> {
        use api::apply::Schema;
        match &self.custom {
            Some(custom) => Schema::CustomObject(custom.version().shape()),
            None => self.kind.schema().map_or(Schema::Deduced, Schema::Type),
        }
    }

    /// `pods "x" not found`.
    pub fn not_found(&self) -> ApiError {
        ApiError::not_found(self.kind.group, self.kind.plural, &self.name)
    }

    /// `Operation cannot be fulfilled on pods "x": …`.
    pub fn conflict(&self, why: &str) -> ApiError {
        ApiError::conflict(self.kind.group, self.kind.plural, &self.name, why)
    }

    /// The object as it is; an error where there is none.
    pub fn entry(&self) -> Result<Arc<api::Entry>, ApiError> {
        self.cache.get(&self.namespace, &self.name).ok_or_else(|| self.not_found())
    }

    /// An entry in the request's version.
    pub fn object(&self, entry: &api::Entry) -> Result<Object, ApiError> {
        if let Some(custom) = &self.custom {
            return custom.read(entry, self.prepared.as_deref());
        }
        let object = entry.object().map_err(ApiError::internal)?;
        self.to_request(object)
    }

    /// What an entry was before, in the request's version.
    pub fn in_request_version(
        &self,
        object: Object,
        entry: &api::Entry,
    ) -> Result<Object, ApiError> {
        match &self.custom {
            Some(custom) => custom.reformed(object, entry.revision, self.prepared.as_deref()),
            None => self.to_request(object),
        }
    }

    /// A stored object in the request's version.
    fn to_request(&self, object: Object) -> Result<Object, ApiError> {
        if self.as_stored() {
            return Ok(object);
        }
        api::convert::convert(object, self.stored, self.kind).map_err(ApiError::internal)
    }

    /// What its answers can be had as: those to questions, which nobody can get again, have no table.
    pub fn shapes(&self) -> Shapes {
        let lasting = self.kind.is_stored() || self.kind.verbs.contains(Verb::Get);
        if lasting { Shapes::All } else { Shapes::Metadata }
    }

    /// Whether its objects have a protobuf form: custom resources have none.
    pub fn has_protobuf(&self) -> bool {
        self.custom.is_none()
    }

    /// An object of the request's version in the stored one.
    pub fn to_stored(&self, object: Object) -> Result<Object, ApiError> {
        if let Some(custom) = &self.custom {
            return custom.to_stored(object, self.prepared.as_deref());
        }
        if self.as_stored() {
            return Ok(object);
        }
        api::convert::convert(object, self.kind, self.stored).map_err(ApiError::internal)
    }
}
