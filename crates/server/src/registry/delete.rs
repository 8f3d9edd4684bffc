//! DELETE of one object: its options, and what the client is told.
//!
//! Not here: what becomes of the object (`remove`).

use std::sync::Arc;

use api::{ApiError, Cause, Object, Value};
use bytes::Bytes;
use http::StatusCode;
use serde_json::json;

use super::remove::{self, Removed};
use super::write::{self, Context};
use crate::edge::respond::{self, Reply};
use crate::query::{Params, dry_run_fault};
use crate::server::{Request, Server, Target};

/// `DeleteOptions`, from the body or else from the query.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `gracePeriodSeconds`.
    pub grace: Option<i64>,
    /// `propagationPolicy`.
    pub propagation: Option<String>,
    /// `orphanDependents`.
    pub orphan: Option<bool>,
    /// `preconditions.uid`.
    pub uid: Option<String>,
    /// `preconditions.resourceVersion`.
    pub resource_version: Option<String>,
    /// `dryRun`.
    pub dry_run: bool,
    /// As admission sees them.
    pub object: Object,
}

const SCHEME: &str = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27";

impl Options {
    /// Reads and checks the options.
    pub fn read(params: &Params, content_type: &str, body: &Bytes) -> Result<Self, ApiError> {
        let mut object = if body.is_empty() {
            from_query(params)?
        } else {
            let from_body = from_body(content_type, body)?;
            if params.has("dryRun") && from_body.0.get("dryRun").is_none() {
                let mut merged = from_body;
                let values: Vec<&str> = params.all("dryRun").collect();
                merged.0.insert("dryRun".into(), json!(values));
                merged
            } else {
                from_body
            }
        };
        let text = |key: &str| object.0.get(key).and_then(Value::as_str).map(str::to_owned);
        let precondition =
            |key: &str| object.0.get("preconditions")?.get(key)?.as_str().map(str::to_owned);
        let dry: Vec<String> = object
            .0
            .get("dryRun")
            .and_then(Value::as_array)
            .map(|l| l.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            .unwrap_or_default();
        let options = Self {
            grace: object.0.get("gracePeriodSeconds").and_then(Value::as_i64),
            propagation: text("propagationPolicy"),
            orphan: object.0.get("orphanDependents").and_then(Value::as_bool),
            uid: precondition("uid"),
            resource_version: precondition("resourceVersion"),
            dry_run: !dry.is_empty(),
            object: Object::default(),
        };
        options.check(&dry)?;
        object.set_type("meta.k8s.io/v1", "DeleteOptions");
        Ok(Self { object, ..options })
    }

    /// What is wrong with the options themselves.
    pub fn check(&self, dry_run: &[String]) -> Result<(), ApiError> {
        const FIELD: &str = "propagationPolicy";
        let mut causes = Vec::new();
        if let Some(policy) = &self.propagation {
            let value = Value::from(policy.as_str());
            if self.orphan.is_some() {
                let detail = "orphanDependents and deletionPropagation cannot be both set";
                causes.push(Cause::invalid(FIELD, &value, detail));
            }
            if !["Foreground", "Background", "Orphan"].contains(&policy.as_str()) {
                let message = format!(
                    "Unsupported value: {policy:?}: supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
                );
                causes.push(Cause::new(api::CauseReason::NotSupported, FIELD, message));
            }
        }
        let dry: Vec<&str> = dry_run.iter().map(String::as_str).collect();
        causes.extend(dry_run_fault(&dry));
        if causes.is_empty() {
            return Ok(());
        }
        Err(ApiError::invalid("meta.k8s.io", "DeleteOptions", "", causes))
    }
}

fn from_body(content_type: &str, body: &Bytes) -> Result<Object, ApiError> {
    use api::codec;
    let media = super::decode::media_of(content_type)?;
    let fault = |why: String| ApiError::bad_request(why);
    let syntax = |why: String| fault(format!("couldn't get version/kind; json parse error: {why}"));
    let value = match media {
        crate::edge::Media::Json => codec::json::value(body).map_err(|e| syntax(e.to_string()))?,
        crate::edge::Media::Yaml => codec::yaml::value(body).map_err(|e| syntax(e.to_string()))?,
        crate::edge::Media::Protobuf => {
            codec::proto::decode(body).map_err(|e| fault(e.to_string()))?.into()
        }
    };
    let object = Object::from_value(value)
        .ok_or_else(|| syntax("json: cannot unmarshal into Go value".to_owned()))?;
    let (kind, api_version) = (object.kind(), object.api_version());
    if !kind.is_empty() && kind != "DeleteOptions" {
        return Err(fault(format!(
            "no kind {kind:?} is registered for version {api_version:?} in scheme {SCHEME:?}"
        )));
    }
    let Some(ty) = crate::codec::type_of("meta.k8s.io/v1", "DeleteOptions") else {
        return Ok(object);
    };
    let decoded = codec::conform::decode(object, ty).map_err(|e| fault(e.to_string()))?;
    Ok(decoded.object)
}

fn from_query(params: &Params) -> Result<Object, ApiError> {
    let mut object = Object::default();
    if let Some(grace) = params.int("gracePeriodSeconds")? {
        object.0.insert("gracePeriodSeconds".into(), grace.into());
    }
    if !params.get("propagationPolicy").is_empty() {
        object.0.insert("propagationPolicy".into(), params.get("propagationPolicy").into());
    }
    if params.has("orphanDependents") {
        object.0.insert("orphanDependents".into(), params.flag("orphanDependents").into());
    }
    let mut conditions = api::Map::new();
    for key in ["uid", "resourceVersion"] {
        if !params.get(key).is_empty() {
            conditions.insert(key.into(), params.get(key).into());
        }
    }
    if !conditions.is_empty() {
        object.0.insert("preconditions".into(), conditions.into());
    }
    let dry: Vec<&str> = params.all("dryRun").filter(|v| !v.is_empty()).collect();
    if !dry.is_empty() {
        object.0.insert("dryRun".into(), json!(dry));
    }
    Ok(object)
}

/// Kinds whose deletion answers with the object; the others answer with a `Status`.
const RETURNED: &[&str] = &[
    "namespaces",
    "persistentvolumes",
    "persistentvolumeclaims",
    "pods",
    "podtemplates",
    "resourcequotas",
    "services",
    "serviceaccounts",
    "deviceclasses.resource.k8s.io",
    "devicetaintrules.resource.k8s.io",
    "resourceclaims.resource.k8s.io",
    "resourceclaimtemplates.resource.k8s.io",
    "resourcepoolstatusrequests.resource.k8s.io",
    "resourceslices.resource.k8s.io",
    "csidrivers.storage.k8s.io",
    "csinodes.storage.k8s.io",
    "storageclasses.storage.k8s.io",
    "volumeattachments.storage.k8s.io",
    "volumeattributesclasses.storage.k8s.io",
];

/// Jobs keep their pods unless told otherwise, which surprises people.
fn warning(target: &Target, options: &Options) -> Option<String> {
    let kind = target.kind;
    let job = (kind.group, kind.version, kind.kind) == ("batch", "v1", "Job");
    let told = options.propagation.is_some() || options.orphan.is_some();
    (job && !told).then(|| JOB_WARNING.to_owned())
}

const JOB_WARNING: &str = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning";

/// Serves a DELETE of an object.
pub async fn serve(
    server: &Arc<Server>,
    mut request: Request,
    target: Target,
) -> Result<Reply, ApiError> {
    let body = request.take_body();
    let bytes = body.bytes().await?;
    let content_type = request.header(http::header::CONTENT_TYPE).to_owned();
    let options = Options::read(&request.params, &content_type, &bytes)?;
    crate::edge::accept::negotiate(&request.accept(), target.shapes(), target.has_protobuf())?;
    let warnings: Vec<String> = warning(&target, &options).into_iter().collect();
    let reply = run(server, &request, &target, &options).await;
    let mut reply = match (reply, warnings.is_empty()) {
        (Err(error), false) => respond::error(&error, request.media),
        (reply, _) => reply?,
    };
    respond::warn(&mut reply, &warnings);
    Ok(reply)
}

async fn run(
    server: &Arc<Server>,
    request: &Request,
    target: &Target,
    options: &Options,
) -> Result<Reply, ApiError> {
    let mut ctx = Context {
        server,
        user: &request.user,
        dry_run: options.dry_run,
        manager: String::new(),
        options: options.object.clone(),
        warnings: Vec::new(),
        collection: false,
        applied: false,
        spaced: false,
    };
    let removed = remove::delete(&mut ctx, target, options).await?;
    // Who asked for dependents to go in the old way is told that this takes time.
    let status = if !removed.gone && options.orphan == Some(false) {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    let object = answer(target, removed);
    let reply = super::reply_object(server, request, target, status, object)?;
    Ok(write::finish(reply, &ctx.warnings))
}

/// What a deletion answers with.
fn answer(target: &Target, removed: Removed) -> Object {
    let stored = target.cache.name();
    if !removed.gone || RETURNED.contains(&&**stored) {
        return removed.object;
    }
    let mut details = json!({ "name": target.name, "kind": target.kind.plural });
    if !target.kind.group.is_empty() {
        details["group"] = target.kind.group.into();
    }
    details["uid"] = removed.object.uid().into();
    respond::success(details)
}
