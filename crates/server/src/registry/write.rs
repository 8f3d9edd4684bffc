//! What all writes share: who writes, admission, ownership of fields, encoding, the commit.
//!
//! Not here: what a create, update or removal does to an object.

use std::borrow::Cow;
use std::sync::Arc;

use api::apply::{FieldSet, Versions, Writer, update_managed_fields};
use api::codec::json::{Encoded, encode_for_store, encode_with_space};
use api::kinds::Kind;
use api::{ApiError, Entry, Key, Object, Reason, Value, strategy};
use http::StatusCode;
use parking_lot::Mutex;
use store::{Change, CommitError, Expect};

use super::{decode, form, raw};
use crate::edge::accept;
use crate::edge::respond::{self, Reply};
use crate::gate::{Operation, Reinvocation, UserInfo, Write};
use crate::metrics;
use crate::query::WriteOptions;
use crate::server::{Request, RequestBody, Server, Target};

/// A write on its way.
pub struct Context<'a> {
    /// The server.
    pub server: &'a Arc<Server>,
    /// Who writes.
    pub user: &'a UserInfo,
    /// Nothing is to be written.
    pub dry_run: bool,
    /// Who the fields will belong to.
    pub manager: String,
    /// `CreateOptions` and so on, for admission.
    pub options: Object,
    /// For the client.
    pub warnings: Vec<String>,
    /// Whether the object goes with its whole collection, whose request names none.
    pub collection: bool,
    /// Whether an apply has noted already who owns what.
    pub applied: bool,
    /// Whether data whose form counts was sent with spaces.
    pub spaced: bool,
}

impl<'a> Context<'a> {
    /// The write that a request asks for.
    pub fn of(server: &'a Arc<Server>, request: &'a Request, options: &WriteOptions) -> Self {
        Self {
            server,
            user: &request.user,
            dry_run: options.dry_run,
            manager: request.manager(&options.manager),
            options: options.object.clone(),
            warnings: Vec::new(),
            collection: false,
            applied: false,
            spaced: false,
        }
    }
}

/// Reads what a POST or a PUT brings: its options, its object, and who writes.
pub async fn read<'a>(
    server: &'a Arc<Server>,
    request: &'a Request,
    target: &Target,
    body: RequestBody,
    options: &'static str,
) -> Result<(Context<'a>, Object), ApiError> {
    let options = WriteOptions::read(&request.params, options, false)?;
    let media = decode::media_of(request.header(http::header::CONTENT_TYPE))?;
    accept::negotiate(&request.accept(), target.shapes(), target.has_protobuf())?;
    let bytes = body.bytes().await?;
    let decoded = decode::object(target, &bytes, media, options.validation)?;
    let mut ctx = Context::of(server, request, &options);
    ctx.warnings = decoded.warnings;
    ctx.spaced = raw::applies(target.kind) && raw::has_spaces(&bytes);
    Ok((ctx, decoded.object))
}

/// The outcome of a write.
pub struct Written {
    /// What there is now.
    pub outcome: Outcome,
    /// Whether the object is new.
    pub created: bool,
}

/// What a write left.
pub enum Outcome {
    /// An object as committed.
    Committed(Arc<Entry>),
    /// An object in the request's version that is not stored: of a dry run, or gone with the write.
    Shown(Object),
}

impl Outcome {
    /// A commit, and the object in the request's version where it is at hand.
    pub fn of(entry: Arc<Entry>, shown: Option<Object>) -> Self {
        match shown {
            Some(mut object) => {
                object.set_meta("resourceVersion", entry.revision.to_string());
                Self::Shown(object)
            }
            None => Self::Committed(entry),
        }
    }
}

impl Written {
    /// The response.
    pub fn reply(
        self,
        server: &Server,
        request: &Request,
        target: &Target,
    ) -> Result<Reply, ApiError> {
        let status = if self.created { StatusCode::CREATED } else { StatusCode::OK };
        let accept = accept::negotiate(&request.accept(), target.shapes(), target.has_protobuf())?;
        match self.outcome {
            Outcome::Committed(entry) => {
                form::reply_entry(server, request, target, accept, status, &entry)
            }
            Outcome::Shown(object) => form::reply(server, request, target, accept, status, object),
        }
    }

    /// The object in the request's version.
    pub fn object(self, target: &Target) -> Result<Object, ApiError> {
        match self.outcome {
            Outcome::Committed(entry) => target.object(&entry),
            Outcome::Shown(object) => Ok(object),
        }
    }
}

async fn admit(
    plugins: &[Arc<dyn crate::gate::Admission>],
    write: &mut Write<'_>,
) -> Result<(), ApiError> {
    for plugin in plugins {
        plugin.admit(write).await?;
    }
    Ok(())
}

/// The response of a write with its warnings.
pub fn finish(mut reply: Reply, warnings: &[String]) -> Reply {
    respond::warn(&mut reply, warnings);
    reply
}

impl Context<'_> {
    /// An outcome; a refusal tells the client what it was warned of until then.
    pub fn told<T>(&mut self, outcome: Result<T, ApiError>) -> Result<T, ApiError> {
        outcome.map_err(|mut error| {
            error.warnings = std::mem::take(&mut self.warnings);
            error
        })
    }

    /// Says each owner once, and tells the client if it did not. `late`: after the plugins.
    pub fn owners_once(&mut self, object: &mut Object, late: bool) {
        if object.owner_references().nth(1).is_none() {
            return;
        }
        let list = object.meta_mut().get_mut("ownerReferences").and_then(Value::as_array_mut);
        let Some(list) = list else { return };
        let mut twice = Vec::new();
        for owner in std::mem::take(list) {
            if list.contains(&owner) {
                twice.push(owner["uid"].as_str().unwrap_or("").to_owned());
            } else {
                list.push(owner);
            }
        }
        if !twice.is_empty() {
            let when = if late { " after mutating admission happens" } else { "" };
            self.warnings.push(format!(
                ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
                twice.join(", ")
            ));
        }
    }

    /// Lets the plugins change what is about to be written.
    pub async fn mutate(
        &mut self,
        target: &Target,
        operation: Operation,
        object: &mut Object,
        old: Option<&Object>,
    ) -> Result<(), ApiError> {
        let plugins = self.plugins(target, operation);
        if plugins.is_empty() {
            return Ok(());
        }
        let resource = target.kind.resource();
        let mut write = Write {
            resource: &resource,
            subresource: &target.sub,
            operation,
            namespace: &target.namespace,
            name: if self.collection { "" } else { &target.name },
            object: (operation != Operation::Delete).then(|| std::mem::take(object)),
            old,
            options: &self.options,
            user: self.user,
            dry_run: self.dry_run,
            warnings: Vec::new(),
            noted: Mutex::default(),
            again: Reinvocation::default(),
        };
        let began = tokio::time::Instant::now();
        let mut outcome = admit(&plugins, &mut write).await;
        if outcome.is_ok() && std::mem::take(&mut write.again.wanted) {
            write.again.second = true;
            outcome = admit(&plugins, &mut write).await;
        }
        metrics::admission("admit", operation.as_str(), outcome.is_err(), began.elapsed());
        let Write { object: changed, warnings, again, .. } = write;
        self.warnings.extend(warnings);
        outcome?;
        *object = changed.unwrap_or_default();
        if let (true, Some(custom)) = (again.touched, &target.custom) {
            // What a policy or webhook made has the form of the schema again.
            custom.conform(object).map_err(ApiError::internal)?;
        }
        Ok(())
    }

    /// Lets the plugins look at what is about to be written.
    pub async fn validate(
        &mut self,
        target: &Target,
        operation: Operation,
        mut object: Option<&mut Object>,
        old: Option<&Object>,
    ) -> Result<(), ApiError> {
        let plugins = self.plugins(target, operation);
        if plugins.is_empty() {
            return Ok(());
        }
        let resource = target.kind.resource();
        let url_name = if self.collection { "" } else { target.name.as_str() };
        let own_name = object.as_ref().map(|o| o.name()).filter(|name| !name.is_empty());
        let name = own_name.unwrap_or(url_name).to_owned();
        let mut write = Write {
            resource: &resource,
            subresource: &target.sub,
            operation,
            namespace: &target.namespace,
            name: &name,
            // Lent for as long as the plugins look.
            object: object.as_mut().map(|object| std::mem::take(*object)),
            old,
            options: &self.options,
            user: self.user,
            dry_run: self.dry_run,
            warnings: Vec::new(),
            noted: Mutex::default(),
            again: Reinvocation::default(),
        };
        let began = tokio::time::Instant::now();
        let mut outcome = Ok(());
        for plugin in plugins {
            outcome = plugin.validate(&write).await;
            if outcome.is_err() {
                break;
            }
            self.warnings.extend(plugin.warnings(&write));
        }
        metrics::admission("validate", operation.as_str(), outcome.is_err(), began.elapsed());
        self.warnings.append(write.noted.get_mut());
        if let (Some(object), Some(lent)) = (object, write.object.take()) {
            *object = lent;
        }
        outcome
    }

    fn plugins(
        &self,
        target: &Target,
        operation: Operation,
    ) -> Vec<Arc<dyn crate::gate::Admission>> {
        let resource = target.kind.resource();
        let all = self.server.guards.admission.iter();
        all.filter(|p| p.handles(&resource, &target.sub, operation)).cloned().collect()
    }

    /// Notes who owns what.
    pub fn note_fields(&self, target: &Target, before: Option<&Object>, after: &mut Object) {
        let now = self.server.clock.time();
        let reset = strategy::reset_fields(target.kind, &target.sub);
        update_managed_fields(before, after, &writer(self, target, &reset, &now));
    }
}

/// Who writes, as `api::apply` wants to know it.
pub fn writer<'a>(
    ctx: &'a Context<'_>,
    target: &'a Target,
    reset: &'a FieldSet,
    now: &'a str,
) -> Writer<'a> {
    Writer {
        manager: &ctx.manager,
        subresource: &target.sub,
        api_version: target.kind.group_version(),
        schema: target.apply_schema(),
        reset,
        now,
        versions: Some(target),
    }
}

/// The form of a kind's other versions, for what managers own in them. Versions of custom resources
/// are taken to be of one form.
impl Versions for Target {
    fn form(&self, object: &Object, api_version: &str) -> Option<(Object, api::apply::Schema<'_>)> {
        if self.custom.is_some() {
            return None;
        }
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kind = api::kinds::find(group, version, self.kind.plural)?;
        if !api::convert::reshapes(self.kind, kind) {
            return None;
        }
        let schema = kind.schema()?;
        let mut object = object.clone();
        object.set_type(self.kind.group_version(), self.kind.kind);
        let object = api::convert::convert(object, self.kind, kind).ok()?;
        Some((object, schema.into()))
    }
}

/// `Pod "x" is invalid: …`, unless nothing is wrong.
pub fn check(target: &Target, object: &Object, causes: Vec<api::Cause>) -> Result<(), ApiError> {
    if causes.is_empty() {
        return Ok(());
    }
    let name = if object.name().is_empty() { &target.name } else { object.name() };
    if target.custom.is_some() {
        // Custom resources go by what they say that they are.
        let group = object.api_version().split_once('/').map_or("", |(group, _)| group);
        return Err(ApiError::invalid(group, object.kind(), name, causes));
    }
    Err(ApiError::invalid(target.stored.group, target.stored.kind, name, causes))
}

/// The form in which validation reads an object: its stored one, as all versions of a kind have one
/// set of rules; none where that is the object as it is. Events keep theirs: their two groups have
/// different ones.
pub fn validated(
    target: &Target,
    object: &Object,
) -> Result<(&'static Kind, Option<Object>), ApiError> {
    if target.as_stored() || target.kind.group != target.stored.group {
        return Ok((target.kind, None));
    }
    Ok((target.stored, Some(target.to_stored(object.clone())?)))
}

/// Writes an object in the request's version. What it writes is made at once: the object is best
/// dropped before the disk is waited for, while its memory is still at hand.
pub fn put<'s>(
    server: &'s Server,
    target: &Target,
    object: &Object,
    expect: Expect,
) -> impl Future<Output = Result<Arc<Entry>, CommitError>> + Send + use<'s> {
    let spaced = raw::applies(target.kind)
        && target.cache.get(&target.namespace, object.name()).is_some_and(|e| raw::is_spaced(&e));
    put_as(server, target, object, expect, spaced)
}

/// Writes an object whose data was sent with spaces, or without.
pub fn put_as<'s>(
    server: &'s Server,
    target: &Target,
    object: &Object,
    expect: Expect,
    spaced: bool,
) -> impl Future<Output = Result<Arc<Entry>, CommitError>> + Send + use<'s> {
    let write = stored(target, object).map(|stored| {
        let card = target.stored.card(&stored);
        let Encoded { bytes, rv_at } = encode_with_space(&stored, spaced.then_some(raw::FIELD));
        let change = Change::Put { bytes, rv_at, card };
        store::Write { key: key(target, object.name()), expect, change }
    });
    async move { server.store.commit(write?).await }
}

/// An object of the request's version in the stored one.
fn stored<'a>(target: &Target, object: &'a Object) -> Result<Cow<'a, Object>, CommitError> {
    if target.as_stored() {
        return Ok(Cow::Borrowed(object));
    }
    let converted = target.to_stored(object.clone());
    converted.map(Cow::Owned).map_err(|error| CommitError::Invalid(error.to_string()))
}

/// How an object goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Watchers see it removed.
    AtOnce,
    /// Watchers see it marked, then removed.
    Marked,
}

/// Removes an object, whose final state in the request's version this is.
pub async fn remove(
    server: &Server,
    target: &Target,
    last: &Object,
    expect: Expect,
    end: End,
) -> Result<Arc<Entry>, CommitError> {
    let stored = stored(target, last)?;
    let Encoded { bytes, rv_at } = encode_for_store(&stored);
    let change = match end {
        End::AtOnce => Change::Delete { bytes, rv_at },
        End::Marked => Change::MarkAndDelete { bytes, rv_at, card: target.stored.card(&stored) },
    };
    let entry =
        server.store.commit(store::Write { key: key(target, last.name()), expect, change }).await?;
    for allocator in &server.guards.allocators {
        if allocator.handles(target.cache.name()) {
            allocator.release(last).await;
        }
    }
    Ok(entry)
}

fn key(target: &Target, name: &str) -> Key {
    Key::new(target.cache.name().clone(), target.namespace.as_str(), name)
}

/// A failed commit that is no conflict.
pub fn unavailable(error: &CommitError) -> ApiError {
    match error {
        CommitError::Full { .. } => ApiError::new(Reason::ServiceUnavailable, error.to_string())
            .detail("retryAfterSeconds", 5),
        CommitError::Unavailable(_) | CommitError::Closed => {
            ApiError::new(Reason::ServiceUnavailable, error.to_string())
                .detail("retryAfterSeconds", 1)
        }
        other => ApiError::internal(other),
    }
}
