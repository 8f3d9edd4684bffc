//! `scale`: the replicas of whatever has replicas, as one kind.
//!
//! Not here: autoscaling.

use std::sync::Arc;

use api::apply::{FieldSet, Replicas, SCALE_VERSION, Writer, lend_managers, return_managers};
use api::codec::conform;
use api::schema::Type;
use api::selector::LabelSelectorSpec;
use api::{ApiError, Cause, Object, Value, patch};
use http::{Method, StatusCode};
use parking_lot::Mutex;
use serde_json::json;

use crate::custom::convert;
use crate::edge::respond::Reply;
use crate::edge::{Shape, accept};
use crate::query::WriteOptions;
use crate::registry::decode::{self, Expected};
use crate::registry::form;
use crate::registry::patch::{Patch, PatchKind};
use crate::registry::update::{Style, Update, match_name, update};
use crate::registry::write::{self, Context};
use crate::server::{Request, Server, Target};

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
    let body = request.take_body();
    let bytes = body.bytes().await?;
    let mut ctx = Context::of(server, &request, &options);
    let wanted = match kind {
        Some(PatchKind::Apply) => {
            let patch = Patch::read(PatchKind::Apply, &bytes, &options)?;
            patch.refuse_repeated()?;
            let (mut config, warnings) =
                patch.config(SCALE_VERSION, EXPECTED.kind, Some(scale_type()?))?;
            if config.at("metadata.name").is_none() {
                config.set_meta("name", target.name.as_str());
            }
            ctx.warnings = warnings;
            Wanted::Applied { config, force: patch.force }
        }
        Some(kind) => Wanted::Patched(Patch::read(kind, &bytes, &options)?),
        None => {
            let media = decode::media_of(&content_type)?;
            let decoded = decode::body(&bytes, media, EXPECTED, options.validation)?;
            ctx.warnings = decoded.warnings;
            Wanted::Scale(decoded.object)
        }
    };
    if let Wanted::Scale(scale) | Wanted::Applied { config: scale, .. } = &wanted {
        match_name(&target, scale)?;
    }
    let (manager, now) = (ctx.manager.clone(), server.clock.time());
    let warnings = Mutex::new(Vec::new());
    let transform = |live: Option<&Object>| {
        let live = live.ok_or_else(|| target.not_found())?;
        let place = |api_version: &str| place(&target, api_version);
        let mut before = of_target(&target, live);
        lend_managers(live, &mut before, &place);
        let (mut scale, noted) = wanted.scale(&before, &manager, &now)?;
        *warnings.lock() = noted;
        // What no client asked for is no condition.
        let version = scale.resource_version().to_owned();
        if !matches!(wanted, Wanted::Scale(_)) && version == live.resource_version() {
            scale.set_meta("resourceVersion", Value::Null);
        }
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
        return_managers(&mut object, &scale, target.kind.group_version(), &place);
        let text = |key: &str| scale.meta().and_then(|m| m.get(key)).cloned();
        object.set_meta("resourceVersion", text("resourceVersion").unwrap_or(Value::Null));
        if let Some(uid) = text("uid").filter(|u| u.as_str() != Some("")) {
            object.set_meta("uid", uid);
        }
        Ok(object)
    };
    let change = Update { transform: &transform, create: false, style: Style::Scale };
    let written = update(&mut ctx, &target, &change).await?;
    let object = written.object(&target)?;
    let reply = reply(server, &request, &target, of_target(&target, &object))?;
    ctx.warnings.extend(warnings.into_inner());
    Ok(write::finish(reply, &ctx.warnings))
}

/// Where an object of a version of the target's kind has its replicas.
fn place(target: &Target, api_version: &str) -> Replicas {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    if group != target.kind.group {
        return Replicas::Unknown;
    }
    match &target.custom {
        Some(custom) => {
            match custom.definition().versions.iter().find(|known| known.name == version) {
                None => Replicas::Unknown,
                Some(known) => known
                    .scale
                    .as_ref()
                    .map_or(Replicas::Nowhere, |scale| Replicas::at(&scale.replicas)),
            }
        }
        None if ["v1", "v1beta1", "v1beta2"].contains(&version) => Replicas::at("spec.replicas"),
        None => Replicas::Unknown,
    }
}

fn scale_type() -> Result<&'static Type, ApiError> {
    api::schema::type_of("io.k8s.api.autoscaling.v1.Scale")
        .ok_or_else(|| ApiError::internal("no type of scales"))
}

enum Wanted {
    Scale(Object),
    Patched(Patch),
    Applied { config: Object, force: bool },
}

impl Wanted {
    /// The wanted scale with its managers, and what is to be said about it.
    fn scale(
        &self,
        live: &Object,
        manager: &str,
        now: &str,
    ) -> Result<(Object, Vec<String>), ApiError> {
        let ty = scale_type()?;
        let writer = Writer {
            manager,
            subresource: "scale",
            api_version: SCALE_VERSION,
            schema: ty.into(),
            reset: &FieldSet::default(),
            now,
            versions: None,
        };
        let (mut scale, noted) = match self {
            Self::Scale(scale) => (scale.clone(), Vec::new()),
            Self::Patched(patch) => patched(patch, live, ty)?,
            Self::Applied { config, force } => {
                let applied = api::apply::apply(Some(live), config, *force, &writer)?;
                return Ok((applied, Vec::new()));
            }
        };
        api::apply::update_managed_fields(Some(live), &mut scale, &writer);
        Ok((scale, noted))
    }
}

fn patched(
    patch: &Patch,
    live: &Object,
    ty: &'static Type,
) -> Result<(Object, Vec<String>), ApiError> {
    let patched = match patch.kind {
        PatchKind::Json => {
            let value = patch::json_patch(live, &patch.document)?;
            Object::from_value(value)
                .ok_or_else(|| ApiError::bad_request("the patch leaves no object"))?
        }
        PatchKind::Strategic => patch::strategic(live, &patch.document, ty)?,
        _ => patch::merge_patch(live, &patch.document)?,
    };
    let before = patched.clone();
    let decoded = conform::decode(patched, ty)
        .map_err(|error| patch.unfit(Some(ty), &before, &error.to_string()))?;
    let noted = patch.complaints(&decoded, Some(ty), &before)?;
    Ok((decoded.object, noted))
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
    let accept = accept::negotiate(&request.accept(), accept::Shapes::All, true)?;
    let value = match accept.shape {
        Shape::Object => scale.into(),
        shape => {
            let include = form::include(request.params.get("includeObject"))?;
            form::one(server, target, shape, include, scale)?
        }
    };
    Ok(crate::edge::respond::value(StatusCode::OK, accept.media, &value))
}
