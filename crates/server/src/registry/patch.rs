//! PATCH: JSON patch, merge patch, strategic merge patch, apply.
//!
//! Not here: the patches themselves (`api::patch`, `api::apply`).

use std::sync::Arc;
use std::sync::Mutex;

use api::codec::{self, conform};
use api::schema::Type;
use api::{ApiError, Cause, Object, Reason, Value, patch, strategy};
use bytes::Bytes;

use super::update::{Style, Update, update};
use super::write::{self, Context, Written};
use crate::edge::respond::{self, Reply};
use crate::query::{FieldValidation, WriteOptions};
use crate::server::{Request, Server, Target};

/// The patch types, by their media types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PatchKind {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl PatchKind {
    /// The patch of a content type.
    pub fn parse(content_type: &str) -> Result<Self, ApiError> {
        let name = content_type.split(';').next().unwrap_or("").trim();
        match name {
            "application/json-patch+json" => Ok(Self::Json),
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic),
            "application/apply-patch+yaml" => Ok(Self::Apply),
            _ => Err(respond::generic(Reason::UnsupportedMediaType, "415: Unsupported Media Type")),
        }
    }
}

/// A patch, read.
pub struct Patch {
    /// Which.
    pub kind: PatchKind,
    /// The document.
    pub document: Value,
    /// What an applied document says twice.
    pub repeated: Vec<String>,
    /// What to do about unknown fields.
    pub validation: FieldValidation,
    /// Apply takes over conflicting fields.
    pub force: bool,
}

impl Patch {
    /// Reads a patch's body.
    pub fn read(kind: PatchKind, bytes: &Bytes, options: &WriteOptions) -> Result<Self, ApiError> {
        let mut repeated = Vec::new();
        let document = match kind {
            PatchKind::Apply => {
                let (value, faults) = codec::yaml::value_strict(bytes).map_err(|error| {
                    ApiError::bad_request(format!(
                        "error decoding YAML: error converting YAML to JSON: {error}"
                    ))
                })?;
                repeated.extend(faults.iter().map(ToString::to_string));
                value
            }
            _ => {
                let (value, faults) = codec::json::value_strict(bytes).map_err(|error| {
                    let how = match kind {
                        PatchKind::Strategic => "",
                        _ => "error decoding patch: ",
                    };
                    ApiError::bad_request(format!("{how}{error}"))
                })?;
                // Of operations only the last of a name counts, and nobody is told.
                if kind != PatchKind::Json {
                    repeated.extend(faults.iter().map(ToString::to_string));
                }
                value
            }
        };
        let (validation, force) = (options.validation, options.force);
        Ok(Self { kind, document, repeated, validation, force })
    }

    /// The fields that the patch reaches into, as a document of maps.
    pub fn touched(&self) -> Value {
        let Value::Array(operations) = &self.document else { return self.document.clone() };
        let mut root = Value::Object(api::Map::new());
        let paths = operations.iter().flat_map(|operation| {
            let path = operation.get("path").and_then(Value::as_str);
            path.into_iter().chain(operation.get("from").and_then(Value::as_str))
        });
        for path in paths {
            let mut at = &mut root;
            let parts: Vec<&str> = path.split('/').skip(1).collect();
            for part in parts.iter().take(parts.len().saturating_sub(1)) {
                let part = part.replace("~1", "/").replace("~0", "~");
                let Value::Object(map) = at else { break };
                at = map.entry(part).or_insert_with(|| Value::Object(api::Map::new()));
            }
        }
        root
    }

    /// What is said about unknown fields of an outcome.
    pub fn complaints(
        &self,
        outcome: &codec::Decoded,
        ty: Option<&'static Type>,
        before: &Object,
    ) -> Result<Vec<String>, ApiError> {
        let unknown = outcome.strict.iter().map(ToString::to_string);
        let all: Vec<String> = self.repeated.iter().cloned().chain(unknown).collect();
        match self.validation {
            FieldValidation::Strict if !all.is_empty() => {
                let why = format!("strict decoding error: {}", all.join(", "));
                Err(self.unfit(ty, before, &why))
            }
            FieldValidation::Warn => Ok(all),
            _ => Ok(Vec::new()),
        }
    }

    /// A patch whose outcome is no object of its type: errors quote the outcome, or the patch itself
    /// where that is merged into the typed object.
    pub fn unfit(&self, ty: Option<&'static Type>, outcome: &Object, why: &str) -> ApiError {
        let shown = match self.kind {
            PatchKind::Strategic => api::golang::plain(&self.document),
            _ => crate::codec::patched_text(outcome, ty, &self.touched()),
        };
        let cause = Cause::invalid("patch", &shown.into(), why);
        ApiError::invalid("", "", "", vec![cause])
    }

    /// What an applied document says twice, where that is an error.
    pub fn refuse_repeated(&self) -> Result<(), ApiError> {
        if self.validation != FieldValidation::Strict || self.repeated.is_empty() {
            return Ok(());
        }
        Err(ApiError::bad_request(format!(
            "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  {}",
            self.repeated.join("\n  ")
        )))
    }

    /// The outcome on an object of a type, with complaints about unknown fields.
    fn outcome(&self, target: &Target, live: &Object) -> Result<Object, ApiError> {
        let patched = match self.kind {
            PatchKind::Json => {
                let value = patch::json_patch(live, &self.document)?;
                Object::from_value(value).ok_or_else(|| {
                    ApiError::new(
                        Reason::Invalid,
                        "the server rejected our request due to an error in our request",
                    )
                })?
            }
            PatchKind::Merge => patch::merge_patch(live, &self.document)?,
            PatchKind::Strategic => match target.kind.schema() {
                Some(ty) => patch::strategic(live, &self.document, ty)?,
                None => patch::merge_patch(live, &self.document)?,
            },
            PatchKind::Apply => live.clone(),
        };
        if self.kind == PatchKind::Strategic {
            // Merged into the typed object, which has its type already.
            let mut patched = patched;
            patched.set_type(live.api_version(), live.kind());
            return Ok(patched);
        }
        Ok(patched)
    }
}

/// Custom resources have no merge keys.
const NO_STRATEGIC: &str = "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";

/// Serves a PATCH of an object or of its status.
pub async fn serve(
    server: &Arc<Server>,
    mut request: Request,
    target: Target,
) -> Result<Reply, ApiError> {
    let kind = PatchKind::parse(request.header(http::header::CONTENT_TYPE))?;
    if kind == PatchKind::Strategic && target.custom.is_some() {
        return Err(ApiError::new(Reason::UnsupportedMediaType, NO_STRATEGIC));
    }
    let options = WriteOptions::read(&request.params, "PatchOptions", kind == PatchKind::Apply)?;
    crate::edge::accept::negotiate(&request.accept(), target.shapes(), target.has_protobuf())?;
    let body = request.take_body();
    let bytes = body.bytes().await?;
    let patch = Patch::read(kind, &bytes, &options)?;
    let mut ctx = Context::of(server, &request, &options);
    let outcome = patch_object(&mut ctx, &target, &patch).await;
    let written = ctx.told(outcome)?;
    let reply = written.reply(server, &request, &target)?;
    Ok(write::finish(reply, &ctx.warnings))
}

/// Patches an object.
pub async fn patch_object(
    ctx: &mut Context<'_>,
    target: &Target,
    patch: &Patch,
) -> Result<Written, ApiError> {
    let warnings = Mutex::new(Vec::new());
    let note = |found: Vec<String>| {
        *warnings.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = found;
    };
    let written = if patch.kind == PatchKind::Apply {
        let now = ctx.server.clock.time();
        let manager = ctx.manager.clone();
        let reset = strategy::reset_fields(target.kind, &target.sub);
        let kind = target.kind;
        let (config, complaints) = patch.config(&kind.api_version(), kind.kind, kind.schema())?;
        let transform = |live: Option<&Object>| {
            let writer = api::apply::Writer {
                manager: &manager,
                subresource: &target.sub,
                api_version: config.api_version(),
                schema: target.apply_schema(),
                reset: &reset,
                now: &now,
                versions: Some(target),
            };
            let mut applied = api::apply::apply(live, &config, patch.force, &writer)?;
            patch.refuse_repeated()?;
            if patch.validation == FieldValidation::Warn && !patch.repeated.is_empty() {
                note(patch.repeated.clone());
            } else if !complaints.is_empty() {
                note(complaints.clone());
            }
            super::update::match_name(target, &applied)?;
            super::create::match_namespace(target, &mut applied)?;
            let mut object = conformed(target, patch, applied)?.object;
            api::default::apply(target.kind, &mut object);
            Ok(object)
        };
        let change =
            Update { transform: &transform, create: target.sub.is_empty(), style: Style::Apply };
        update(ctx, target, &change).await
    } else {
        let transform = |live: Option<&Object>| {
            let live = live.ok_or_else(|| target.not_found())?;
            if patch.document.is_null() && patch.kind != PatchKind::Merge {
                return Ok(live.clone());
            }
            let patched = patch.outcome(target, live)?;
            same_type(target, patch, &patched)?;
            let before = patched.clone();
            let decoded = conformed(target, patch, patched)?;
            note(patch.complaints(&decoded, target.kind.schema(), &before)?);
            let mut object = decoded.object;
            super::update::match_name(target, &object)?;
            super::create::match_namespace(target, &mut object)?;
            if target.custom.is_none() {
                object.set_type(live.api_version(), live.kind());
                api::default::apply(target.kind, &mut object);
            }
            Ok(object)
        };
        let change = Update { transform: &transform, create: false, style: Style::Patch };
        update(ctx, target, &change).await
    };
    let warnings = warnings.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    ctx.warnings.extend(warnings);
    written
}

/// A patch's outcome in the form it would be written back in.
fn conformed(target: &Target, patch: &Patch, object: Object) -> Result<codec::Decoded, ApiError> {
    let before = object.clone();
    let Some(ty) = target.kind.schema() else {
        let mut object = object;
        let unknown = match &target.custom {
            Some(custom) => match patch.kind {
                PatchKind::Apply => custom.conform_applied(&mut object),
                _ => custom.conform(&mut object),
            }
            .map_err(|why| patch.unfit(target.kind.schema(), &before, &why))?,
            None => Vec::new(),
        };
        let strict = unknown.into_iter().map(codec::StrictError::Unknown).collect();
        return Ok(codec::Decoded { object, strict });
    };
    conform::decode(object, ty).map_err(|error| {
        let mut why = error.to_string();
        if patch.kind == PatchKind::Apply {
            return unconvertible(target, patch, &why);
        }
        if patch.kind == PatchKind::Strategic {
            why = patch::misfit(&Value::Object(before.0.clone()), ty).unwrap_or(why);
        }
        patch.unfit(target.kind.schema(), &before, &why)
    })
}

/// What an apply made does not convert to the kind.
fn unconvertible(target: &Target, patch: &Patch, why: &str) -> ApiError {
    // There are no structs with fields on this way.
    let field = why
        .split_once(" into Go struct field ")
        .and_then(|(head, rest)| Some((head, rest.rsplit_once(" of type ")?.1)));
    let why = match field {
        Some((head, ty @ ("int32" | "int64")))
            if head.starts_with("json: cannot unmarshal number") =>
        {
            format!("cannot convert float64 to {ty}")
        }
        Some((head, ty)) => format!("{head} into Go value of type {ty}"),
        None if why.starts_with("illegal base64") => format!("error decoding from json: {why}"),
        None => why.to_owned(),
    };
    let text = |path: &str| patch.document.pointer(path).and_then(Value::as_str).unwrap_or("");
    let kind = target.kind;
    let (group, version) = (kind.group, kind.version);
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    let of = format!("{group}/{version}, Kind={}", kind.kind);
    ApiError::new(
        Reason::Unknown,
        format!(
            "failed to convert new object ({namespace}/{name}; {of}) to proper version: unable to convert unstructured object to {of}: {why}"
        ),
    )
}

/// A patch must leave a kind and version that there are, and that a request's kind can be made of.
fn same_type(target: &Target, patch: &Patch, object: &Object) -> Result<(), ApiError> {
    let (kind, api_version) = (object.kind(), object.api_version());
    let same = kind == target.kind.kind && api_version == target.kind.api_version();
    if kind.is_empty() || same || target.custom.is_some() {
        return Ok(());
    }
    let why = match api::kinds::of_object(api_version, kind) {
        Some(other) if other.group == target.kind.group && kind == target.kind.kind => {
            return Ok(());
        }
        Some(other) => {
            let fault = other.schema().and_then(|ty| conform::decode(object.clone(), ty).err());
            fault.map_or_else(
                || {
                    let package = if target.kind.group.is_empty() {
                        "core"
                    } else {
                        target.kind.group.split('.').next().unwrap_or("core")
                    };
                    format!(
                        "converting ({}.{kind}) to ({package}.{}): unknown conversion",
                        other.version, target.kind.kind
                    )
                },
                |error| error.to_string(),
            )
        }
        None => format!(
            "no kind {kind:?} is registered for version {api_version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
        ),
    };
    Err(patch.unfit(target.kind.schema(), object, &why))
}

impl Patch {
    /// The configuration to apply, which must be of a kind, with warnings about unknown fields.
    pub fn config(
        &self,
        api_version: &str,
        kind: &str,
        ty: Option<&'static Type>,
    ) -> Result<(Object, Vec<String>), ApiError> {
        let Some(config) = Object::from_value(self.document.clone()) else {
            if self.document.is_null() {
                return Err(ApiError::bad_request("invalid object type: /, Kind="));
            }
            let seen = conform::describe(&self.document);
            return Err(ApiError::bad_request(format!(
                "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {seen} into Go value of type map[string]interface {{}}"
            )));
        };
        if config.api_version() != api_version || config.kind() != kind {
            let named = config.api_version();
            let (group, version) = match named.matches('/').count() {
                0 => ("", named),
                1 => named.split_once('/').unwrap_or(("", named)),
                // What is no version leaves nothing of the kind either.
                _ => return Err(ApiError::bad_request("invalid object type: /, Kind=")),
            };
            return Err(ApiError::bad_request(format!(
                "invalid object type: {group}/{version}, Kind={}",
                config.kind()
            )));
        }
        let mut warnings = Vec::new();
        if let (Some(ty), FieldValidation::Strict | FieldValidation::Warn) = (ty, self.validation)
            && let Ok(decoded) = conform::decode(config.clone(), ty)
        {
            match (decoded.strict_error(), self.validation) {
                (Some(why), FieldValidation::Strict) => {
                    return Err(ApiError::bad_request(format!("error decoding YAML: {why}")));
                }
                (Some(_), _) => warnings.extend(decoded.strict.iter().map(ToString::to_string)),
                (None, _) => {}
            }
        }
        Ok((config, warnings))
    }
}
