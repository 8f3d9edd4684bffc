//! The gates a request passes: who is it, may they, and what becomes of the object. Traits only, so
//! that the request stack and its guards are built, tested and replaced apart.
//!
//! Not here: the guards themselves (`authn`, `authz`, `admission`, `alloc`, `tokens`), or the order
//! in which a request meets them (`stack`).

use std::collections::BTreeMap;

use api::{ApiError, Object, Resource};
use futures_util::future::BoxFuture;
use http::request::Parts;
use rustls::pki_types::CertificateDer;

/// A user as upstream's `user.Info`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UserInfo {
    /// As in `system:serviceaccount:default:builder`.
    pub name: String,
    /// Empty where the authenticator knows none.
    pub uid: String,
    /// Including `system:authenticated` for everyone but the anonymous.
    pub groups: Vec<String>,
    /// Further facts, by lower-case key.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// A user of a name and groups.
    pub fn new(name: &str, groups: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            groups: groups.iter().map(|g| (*g).to_owned()).collect(),
            ..Self::default()
        }
    }

    /// Who sends a request without credentials.
    pub fn anonymous() -> Self {
        Self::new("system:anonymous", &["system:unauthenticated"])
    }

    /// Whether the user is in a group.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// The `userInfo` of reviews and CSRs.
    pub fn to_value(&self) -> api::Value {
        let mut map = api::Map::new();
        if !self.name.is_empty() {
            map.insert("username".into(), self.name.as_str().into());
        }
        if !self.uid.is_empty() {
            map.insert("uid".into(), self.uid.as_str().into());
        }
        if !self.groups.is_empty() {
            map.insert("groups".into(), self.groups.clone().into());
        }
        if !self.extra.is_empty() {
            let extra: api::Map<String, api::Value> =
                self.extra.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect();
            map.insert("extra".into(), extra.into());
        }
        map.into()
    }
}

/// Credentials were given and are wrong: 401.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AuthnError(pub String);

/// What a token says, for TokenReview.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFacts {
    /// Whose token it is.
    pub user: UserInfo,
    /// The audiences that the token and the question have in common.
    pub audiences: Vec<String>,
}

/// Finds out who sends a request. Answers from memory: a request waits for it.
pub trait Authenticator: Send + Sync + 'static {
    /// `None`: no credentials that this authenticator knows; the stack then takes the anonymous
    /// user. `peer` is the client's certificate chain, end entity first, not yet verified against
    /// the client CA.
    fn authenticate(
        &self,
        parts: &Parts,
        peer: &[CertificateDer<'static>],
    ) -> Result<Option<UserInfo>, AuthnError>;

    /// For TokenReview. `audiences` empty: the API server's own.
    fn token(&self, token: &str, audiences: &[String]) -> Result<Option<TokenFacts>, AuthnError>;
}

/// What a user wants to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// `None` only in reviews that name no user.
    pub user: std::borrow::Cow<'a, UserInfo>,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`,
    /// `impersonate`, …; for paths that are no resource the method in lower case.
    pub verb: &'a str,
    /// Whether `path` or the resource fields count.
    pub resource_request: bool,
    /// The URL's path.
    pub path: &'a str,
    /// The resource's group, empty for core.
    pub group: &'a str,
    /// The resource's version.
    pub version: &'a str,
    /// The resource's plural.
    pub resource: &'a str,
    /// Empty for the resource itself.
    pub subresource: &'a str,
    /// Empty for cluster scope and for collections over all namespaces.
    pub namespace: &'a str,
    /// Empty for collections.
    pub name: &'a str,
    /// The field selector of a list, watch or deletecollection, as the client wrote it.
    pub field_selector: &'a str,
    /// The label selector, the same.
    pub label_selector: &'a str,
}

/// An authorizer's answer, with its reason for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The request goes on.
    Allow(String),
    /// The request fails, whatever other authorizers think.
    Deny(String),
    /// Another authorizer may know; when none allows, the request fails.
    NoOpinion(String),
}

impl Decision {
    /// Whether the request goes on.
    pub fn allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }
}

/// What a user may do in a namespace, for SelfSubjectRulesReview.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// `{verbs, apiGroups, resources, resourceNames}`.
    pub resource: Vec<api::Value>,
    /// `{verbs, nonResourceURLs}`.
    pub non_resource: Vec<api::Value>,
    /// Whether authorizers were left out that cannot list their rules.
    pub incomplete: bool,
    /// What went wrong meanwhile.
    pub error: String,
}

/// Says whether a user may. Answers from memory.
pub trait Authorizer: Send + Sync + 'static {
    /// The decision over one request.
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision;

    /// Everything the user may do in a namespace.
    fn rules(&self, user: &UserInfo, namespace: &str) -> Rules;
}

/// What admission is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A new object, or a subresource that is created (binding, eviction, token).
    Create,
    /// A changed one; patches too.
    Update,
    /// A deletion; of a collection, object by object.
    Delete,
    /// A connection: exec, attach, port-forward, proxy.
    Connect,
}

impl Operation {
    /// As in `AdmissionRequest.operation`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// A write on its way through admission.
pub struct Write<'a> {
    /// The resource, in the version the request named.
    pub resource: &'a Resource,
    /// Empty for the resource itself.
    pub subresource: &'a str,
    /// What is being done.
    pub operation: Operation,
    /// Empty for cluster scope.
    pub namespace: &'a str,
    /// Empty on a create with `generateName`.
    pub name: &'a str,
    /// The object that would be written; the body of a created subresource; `None` on delete.
    pub object: Option<Object>,
    /// The object as it is; `None` on create and connect.
    pub old: Option<&'a Object>,
    /// `CreateOptions`, `UpdateOptions`, `PatchOptions` or `DeleteOptions`.
    pub options: &'a Object,
    /// Who asks.
    pub user: &'a UserInfo,
    /// Whether nothing will be written: side effects are to be left out.
    pub dry_run: bool,
    /// Sent to the client in `Warning` headers.
    pub warnings: Vec<String>,
    /// The same, from those who only look.
    pub noted: parking_lot::Mutex<Vec<String>>,
    /// Who asked to see the object again once others have changed it.
    pub again: Reinvocation,
}

/// Mutating plugins run a second time where one that calls out (a policy, a webhook) has changed the
/// object and another one wants to see the outcome.
#[derive(Debug, Default)]
pub struct Reinvocation {
    /// Whether the plugins run for the second time.
    pub second: bool,
    /// Whether they are to run once more.
    pub wanted: bool,
    /// Whether the object has been changed by rules that know no schema.
    pub touched: bool,
    /// By plugin.
    of: std::collections::BTreeMap<&'static str, Reinvoked>,
}

/// What one plugin remembers between its two runs.
#[derive(Debug, Default)]
struct Reinvoked {
    /// Who has been called and would like to be called again.
    called: Vec<String>,
    /// Who is to be called again.
    due: Vec<String>,
    /// The object as the plugin left it.
    left: Option<Object>,
}

impl Reinvocation {
    /// A plugin begins: on the second run those are due who wanted to see what others have changed.
    pub fn begin(&mut self, plugin: &'static str, object: Option<&Object>) {
        if !self.second {
            return;
        }
        if self.of.get(plugin).is_some_and(|state| state.left.as_ref() != object) {
            self.changed(plugin);
        }
    }

    /// Whether a plugin may call one of its own now.
    pub fn may_call(&self, plugin: &'static str, who: &str) -> bool {
        !self.second
            || self.of.get(plugin).is_some_and(|state| state.due.iter().any(|due| due == who))
    }

    /// The object has changed: who was called before is due again.
    pub fn changed(&mut self, plugin: &'static str) {
        self.wanted = true;
        self.touched = true;
        let state = self.of.entry(plugin).or_default();
        let called = std::mem::take(&mut state.called);
        state.due.extend(called);
    }

    /// One of a plugin's own has been called, and wants to be called again where it matters.
    pub fn called(&mut self, plugin: &'static str, who: &str) {
        self.of.entry(plugin).or_default().called.push(who.to_owned());
    }

    /// A plugin ends.
    pub fn end(&mut self, plugin: &'static str, object: Option<&Object>) {
        if let Some(state) = self.of.get_mut(plugin) {
            state.left = object.cloned();
        }
    }
}

impl Write<'_> {
    /// The kind of the body of the write, in the version of a resource: kind, group, version.
    pub fn body_kind<'r>(&self, resource: &'r Resource) -> (&'r str, &'r str, &'r str) {
        let kind = api::kinds::find(&resource.group, &resource.version, &resource.plural);
        match kind.and_then(|kind| kind.subresource(self.subresource)) {
            Some(sub) if sub.foreign => (sub.kind, sub.group, sub.version),
            Some(sub) if !sub.kind.is_empty() => (sub.kind, &resource.group, &resource.version),
            _ => (&resource.kind, &resource.group, &resource.version),
        }
    }

    /// Whether this is about the resource itself, by group and plural.
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.subresource.is_empty()
            && self.resource.group == group
            && self.resource.plural == plural
    }
}

/// An admission plugin. All plugins mutate, in order, then all validate.
pub trait Admission: Send + Sync + 'static {
    /// As in `--enable-admission-plugins`.
    fn name(&self) -> &'static str;

    /// Whether the plugin wants to see such a write at all; asked before anything is cloned for it.
    fn handles(&self, resource: &Resource, subresource: &str, operation: Operation) -> bool;

    /// May change `write.object`.
    fn admit<'a>(&'a self, write: &'a mut Write<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        let _ = write;
        Box::pin(std::future::ready(Ok(())))
    }

    /// What the client is told about a write that passed, in `Warning` headers; asked after
    /// [`Admission::validate`].
    fn warnings(&self, write: &Write<'_>) -> Vec<String> {
        let _ = write;
        Vec::new()
    }

    /// Looks only.
    fn validate<'a>(&'a self, write: &'a Write<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        let _ = write;
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Addresses and ports taken for a write: given back when dropped without [`Reservation::commit`].
pub trait Reservation: Send {
    /// The write is on disk: the values stay taken.
    fn commit(self: Box<Self>);
}

/// Hands out values that no two objects may share: cluster IPs, node ports.
pub trait Allocator: Send + Sync + 'static {
    /// Whether objects of a resource get anything, by qualified name (`services`).
    fn handles(&self, resource: &str) -> bool;

    /// Fills in what is missing, after validation, and reserves what the object asks for. Errors are whole answers (422 with causes as upstream).
    fn allocate<'a>(
        &'a self,
        new: &'a mut Object,
        old: Option<&'a Object>,
        dry_run: bool,
    ) -> BoxFuture<'a, Result<Box<dyn Reservation>, ApiError>>;

    /// The object is gone for good; done once others may have what it had.
    fn release<'a>(&'a self, object: &'a Object) -> BoxFuture<'a, ()>;
}

/// Makes service account tokens.
pub trait TokenIssuer: Send + Sync + 'static {
    /// Answers a `TokenRequest` for a service account: the request with its status (and defaults)
    /// filled. `bound` is the object that `spec.boundObjectRef` names, once found.
    fn issue(
        &self,
        account: &Object,
        request: Object,
        bound: Option<&Object>,
        user: &UserInfo,
    ) -> Result<Object, ApiError>;

    /// `/.well-known/openid-configuration`.
    fn discovery(&self) -> api::Value;

    /// `/openid/v1/jwks`.
    fn keys(&self) -> api::Value;
}

/// Everything that guards the request stack.
#[derive(Clone)]
pub struct Guards {
    /// Who.
    pub authenticator: std::sync::Arc<dyn Authenticator>,
    /// May they.
    pub authorizer: std::sync::Arc<dyn Authorizer>,
    /// In the order they run.
    pub admission: Vec<std::sync::Arc<dyn Admission>>,
    /// Cluster IPs and node ports.
    pub allocators: Vec<std::sync::Arc<dyn Allocator>>,
    /// Service account tokens.
    pub tokens: std::sync::Arc<dyn TokenIssuer>,
    /// Who may act as somebody else.
    pub impersonation: std::sync::Arc<crate::authn::impersonate::Impersonation>,
}
