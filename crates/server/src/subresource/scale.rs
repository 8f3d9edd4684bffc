//! `scale`: the replicas of whatever has replicas, as one kind.
//!
//! Not here: autoscaling.

use std::sync::Arc;

use api::codec::conform;
use api::selector::LabelSelectorSpec;
use api::{ApiError, Cause, Object, Value, patch};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::json;

use crate::codec;
use crate::custom::convert;
use crate::edge::respond::Reply;
use crate::edge::{Shape, accept};
use crate::query::WriteOptions;
use crate::registry::decode::{self, Expected};
use crate::registry::form;
use crate::registry::patch::{Patch, PatchKind};
use crate::registry::update::{Style, Update, update};
use crate::registry::write::{self, Context};
use crate::server::{Request, RequestBody, Server, Target};

const EXPECTED: Expected = Expected { group: "autoscaling", version: "v1", kind: "Scale" };

/// The scale of an object.
pub fn of(object: &Object) -> Object {
    let mut meta = api::Map::new();
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object.meta().and_then(|m| m.get(key)) {
            meta.insert(key.to_owned(), value.clone());
        }
    }
    let replicas = object.int("spec.replicas").unwrap_or(0);
    let mut spec = api::Map::new();
    if replicas != 0 {
        spec.insert("replicas".into(), replicas.into());
    }
    let mut status = api::Map::new();
    status.insert("replicas".into(), object.int("status.replicas").unwrap_or(0).into());
    let selector = selector(object);
    if !selector.is_empty() {
        status.insert("selector".into(), selector.into());
    }
    let mut scale = Object::default();
    scale.set_type("autoscaling/v1", "Scale");
    scale.0.insert("metadata".into(), meta.into());
    scale.0.insert("spec".into(), spec.into());
    scale.0.insert("status".into(), status.into());
    scale
}

/// Where a definition has the values of a scale.
fn paths(target: &Target) -> Option<&api::crd::Scale> {
    target.custom.as_ref()?.version().scale.as_ref()
}

/// The scale of a target's object.
fn of_target(target: &Target, object: &Object) -> Object {
    let mut scale = of(object);
    let Some(paths) = paths(target) else { return scale };
    let mut spec = api::Map::new();
    let replicas = object.int(&paths.replicas).unwrap_or(0);
    if replicas != 0 {
        spec.insert("replicas".into(), replicas.into());
    }
    let mut status = api::Map::new();
    status.insert("replicas".into(), object.int(&paths.status_replicas).unwrap_or(0).into());
    let selector = if paths.selector.is_empty() { None } else { object.text(&paths.selector) };
    if let Some(selector) = selector.filter(|s| !s.is_empty()) {
        status.insert("selector".into(), selector.into());
    }
    scale.0.insert("spec".into(), spec.into());
    scale.0.insert("status".into(), status.into());
    scale
}

/// The same, where there is one to show.
fn shown(target: &Target, object: &Object) -> Result<Object, ApiError> {
    if let Some(paths) = paths(target).filter(|paths| object.int(&paths.replicas).is_none()) {
        return Err(ApiError::internal(format!(
            "the spec replicas field {:?} does not exist",
            format!(".{}", paths.replicas)
        )));
    }
    Ok(of_target(target, object))
}

/// Sets the value at a dotted path.
fn put(object: &mut Object, path: &str, value: Value) {
    let mut keys: Vec<&str> = path.split('.').collect();
    let Some(last) = keys.pop() else { return };
    let mut map = &mut object.0;
    for key in keys {
        let slot = map.entry(key).or_insert_with(|| json!({}));
        if !slot.is_object() {
            *slot = json!({});
        }
        let Value::Object(next) = slot else { return };
        map = next;
    }
    map.insert(last.to_owned(), value);
}

/// The object's selector as text.
fn selector(object: &Object) -> String {
    let Some(value) = object.at("spec.selector") else { return String::new() };
    if object.kind() == "ReplicationController" {
        let map = value.as_object().into_iter().flatten();
        let pairs: Vec<String> =
            map.filter_map(|(k, v)| Some(format!("{k}={}", v.as_str()?))).collect();
        return pairs.join(",");
    }
    serde_json::from_value::<LabelSelectorSpec>(value.clone())
        .ok()
        .and_then(|spec| spec.selector().ok())
        .map(|mut selector| {
            selector.0.sort_by(|a, b| a.key.cmp(&b.key));
            selector.to_string()
        })
        .unwrap_or_default()
}

/// Serves GET, PUT and PATCH of a scale.
pub async fn serve(
    server: &Arc<Server>,
    mut request: Request,
    target: Target,
) -> Result<Reply, ApiError> {
    accept::route(&request.accept(), false)?;
    if request.parts.method == Method::GET {
        let entry = target.entry()?;
        let target = convert::for_reading(server, &target, std::slice::from_ref(&entry)).await?;
        let scale = shown(&target, &target.object(&entry)?)?;
        return reply(server, &request, &target, scale);
    }
    let is_patch = request.parts.method == Method::PATCH;
    let content_type = request.header(http::header::CONTENT_TYPE).to_owned();
    let kind = if is_patch { Some(PatchKind::parse(&content_type)?) } else { None };
    let options_kind = if is_patch { "PatchOptions" } else { "UpdateOptions" };
    let options =
        WriteOptions::read(&request.params, options_kind, kind == Some(PatchKind::Apply))?;
    let body = std::mem::replace(&mut request.body, RequestBody::Bytes(Bytes::new()));
    let bytes = body.bytes().await?;
    let mut ctx = Context {
        server,
        user: &request.user,
        dry_run: options.dry_run,
        manager: request.manager(&options.manager),
        options: options.object.clone(),
        warnings: Vec::new(),
        collection: false,
        applied: false,
    };
    let wanted = match kind {
        Some(kind) => Wanted::Patch(Patch::read(kind, &bytes, &options)?),
        None => {
            let media = decode::media_of(&content_type)?;
            let decoded = decode::body(&bytes, media, EXPECTED, options.validation)?;
            ctx.warnings = decoded.warnings;
            let scale = decoded.object;
            if scale.name() != target.name {
                return Err(ApiError::bad_request(if scale.name().is_empty() {
                    format!(
                        "the name of the object ({} based on URL) was undeterminable: name must be provided",
                        target.name
                    )
                } else {
                    format!(
                        "the name of the object ({}) does not match the name on the URL ({})",
                        scale.name(),
                        target.name
                    )
                }));
            }
            Wanted::Scale(scale)
        }
    };
    let transform = |live: Option<&Object>| {
        let live = live.ok_or_else(|| target.not_found())?;
        let scale = wanted.scale(&of_target(&target, live))?;
        let mut object = live.clone();
        let replicas = scale.int("spec.replicas").unwrap_or(0);
        match paths(&target) {
            // Its own rules check what the definition says.
            Some(paths) => put(&mut object, &paths.replicas, replicas.into()),
            None => {
                check(&scale, &target)?;
                object.map_mut("spec").insert("replicas".into(), replicas.into());
            }
        }
        let text = |key: &str| scale.meta().and_then(|m| m.get(key)).cloned();
        object.set_meta("resourceVersion", text("resourceVersion").unwrap_or(Value::Null));
        if let Some(uid) = text("uid").filter(|u| u.as_str() != Some("")) {
            object.set_meta("uid", uid);
        }
        Ok(object)
    };
    let change = Update { transform: &transform, create: false, style: Style::Put };
    let written = update(&mut ctx, &target, &change).await?;
    let object = written.object(&target)?;
    let reply = reply(server, &request, &target, of_target(&target, &object))?;
    Ok(write::finish(reply, &ctx.warnings))
}

enum Wanted {
    Scale(Object),
    Patch(Patch),
}

impl Wanted {
    fn scale(&self, live: &Object) -> Result<Object, ApiError> {
        let patch = match self {
            Self::Scale(scale) => return Ok(scale.clone()),
            Self::Patch(patch) => patch,
        };
        let ty = codec::type_of("autoscaling/v1", "Scale")
            .or_else(|| api::schema::type_of("io.k8s.api.autoscaling.v1.Scale"));
        let patched = match (patch.kind, ty) {
            (PatchKind::Json, _) => {
                let value = patch::json_patch(live, &patch.document)?;
                Object::from_value(value)
                    .ok_or_else(|| ApiError::bad_request("the patch leaves no object"))?
            }
            (PatchKind::Strategic, Some(ty)) => patch::strategic(live, &patch.document, ty)?,
            _ => patch::merge_patch(live, &patch.document)?,
        };
        let Some(ty) = ty else { return Ok(patched) };
        let shown = codec::patched_text(&patched, Some(ty), &patch.touched());
        conform::decode(patched, ty).map(|d| d.object).map_err(|error| {
            let cause = Cause::invalid("patch", &shown.into(), &error.to_string());
            ApiError::invalid("", "", "", vec![cause])
        })
    }
}

fn check(scale: &Object, target: &Target) -> Result<(), ApiError> {
    let replicas = scale.int("spec.replicas").unwrap_or(0);
    if replicas >= 0 {
        return Ok(());
    }
    let cause =
        Cause::invalid("spec.replicas", &json!(replicas), "must be greater than or equal to 0");
    Err(ApiError::invalid("autoscaling", "Scale", &target.name, vec![cause]))
}

fn reply(
    server: &Server,
    request: &Request,
    target: &Target,
    scale: Object,
) -> Result<Reply, ApiError> {
    let accept = accept::negotiate(&request.accept(), true, true)?;
    let value = match accept.shape {
        Shape::Object => scale.into(),
        shape => {
            let include = form::include(request.params.get("includeObject"))?;
            form::one(server, target, shape, include, scale)?
        }
    };
    Ok(crate::edge::respond::value(StatusCode::OK, accept.media, &value))
}
