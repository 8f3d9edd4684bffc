//! Bodies to objects: media type, kind and version checks, unknown and duplicate fields.
//!
//! Not here: the codecs (`api::codec`), defaults beyond calling them.

use api::codec::{self, CodecError, Decoded};
use api::kinds::{self, Kind};
use api::{ApiError, Object, Reason};
use bytes::Bytes;

use super::older;
use crate::custom::Custom;
use crate::edge::Media;
use crate::query::FieldValidation;
use crate::server::Target;

/// The media type of a body.
pub fn media_of(content_type: &str) -> Result<Media, ApiError> {
    let name = content_type.split(';').next().unwrap_or("").trim();
    if name.is_empty() {
        return Ok(Media::Json);
    }
    Media::parse(name).ok_or_else(|| {
        ApiError::new(
            Reason::UnsupportedMediaType,
            "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf",
        )
    })
}

/// A decoded body with its warnings.
pub struct Body {
    /// The object, with its defaults.
    pub object: Object,
    /// About unknown and duplicate fields.
    pub warnings: Vec<String>,
}

/// What a body is expected to be.
#[derive(Clone, Copy)]
pub struct Expected {
    /// Group of the body's kind.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
}

impl Expected {
    /// A kind of the table.
    pub fn of(kind: &Kind) -> Self {
        Self { group: kind.group, version: kind.version, kind: kind.kind }
    }

    fn api_version(self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    fn internal(self) -> String {
        let group = if self.group.is_empty() { "core" } else { self.group };
        format!("{}.{}", group.split('.').next().unwrap_or(group), self.kind)
    }
}

const SCHEME: &str = "pkg/api/legacyscheme/scheme.go:30";

fn scheme(group: &str) -> &'static str {
    match group {
        "apiextensions.k8s.io" => "k8s.io/apiextensions-apiserver/pkg/apiserver/apiserver.go:55",
        "apiregistration.k8s.io" => "k8s.io/kube-aggregator/pkg/apiserver/scheme/scheme.go:28",
        _ => SCHEME,
    }
}

/// The start of a body, as upstream quotes it in errors.
fn excerpt(bytes: &[u8]) -> String {
    const MAX: usize = 30;
    if bytes.is_empty() {
        return "<empty>".to_owned();
    }
    let head = &bytes[..bytes.len().min(MAX)];
    let dots = if bytes.len() > MAX { " ..." } else { "" };
    // Upstream shows text that starts like an object, anything else as hexadecimal.
    if head[0] == b'{' && head.iter().all(|b| (0x20..0x7f).contains(b)) {
        format!("{}{dots}", String::from_utf8_lossy(head))
    } else {
        let hex: String = head.iter().map(|b| format!("{b:02x}")).collect();
        format!("{hex}{dots}")
    }
}

fn unrecognized(expected: Expected, why: &str, bytes: &[u8]) -> ApiError {
    ApiError::bad_request(format!(
        "the object provided is unrecognized (must be of type {}): {why} ({})",
        expected.kind,
        excerpt(bytes)
    ))
}

fn unhandled(kind: &str, version: &str, expected: Expected, why: &str) -> ApiError {
    ApiError::bad_request(format!(
        "{kind} in version {version:?} cannot be handled as a {}: {why}",
        expected.kind
    ))
}

/// Reads a body as an object of a target's kind.
pub fn object(
    target: &Target,
    bytes: &Bytes,
    media: Media,
    validation: FieldValidation,
) -> Result<Body, ApiError> {
    match &target.custom {
        None => body(bytes, media, Expected::of(target.kind), validation),
        Some(custom) => custom_body(custom, bytes, media, validation),
    }
}

/// Reads a body as a custom resource.
fn custom_body(
    custom: &Custom,
    bytes: &Bytes,
    media: Media,
    validation: FieldValidation,
) -> Result<Body, ApiError> {
    let expected = Expected::of(custom.kind());
    let null = media == Media::Json && bytes.trim_ascii() == b"null";
    let bytes = if null { &Bytes::from_static(b"{}") } else { bytes };
    let decoded = match media {
        Media::Json => {
            codec::json::decode(bytes, None).map_err(|e| json_fault(expected, &e, bytes))
        }
        Media::Yaml => {
            codec::yaml::decode(bytes, None).map_err(|e| yaml_fault(expected, &e, bytes))
        }
        Media::Protobuf => media_of("application/unknown").map(|_| Decoded::default()),
    };
    let mut decoded = decoded?;
    let object = &mut decoded.object;
    if object.kind().is_empty() {
        let text = String::from_utf8_lossy(bytes);
        let why = format!("Object 'Kind' is missing in '{text}'");
        return Err(unrecognized(expected, &why, bytes));
    }
    let wanted = expected.api_version();
    if object.api_version() != wanted {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({}) does not match the expected API version ({wanted})",
            object.api_version()
        )));
    }
    let unknown = custom
        .conform(object)
        .map_err(|why| unhandled(expected.kind, expected.version, expected, &why))?;
    decoded.strict.extend(unknown.into_iter().map(codec::StrictError::Unknown));
    let warnings = strict(&decoded, expected, validation)?;
    Ok(Body { object: decoded.object, warnings })
}

/// Reads a body as one kind. Unknown fields are refused or reported as `validation` says.
pub fn body(
    bytes: &Bytes,
    media: Media,
    expected: Expected,
    validation: FieldValidation,
) -> Result<Body, ApiError> {
    let ty = kinds::by_kind(expected.group, expected.version, expected.kind)
        .and_then(Kind::schema)
        .or_else(|| api::schema::by_gvk(expected.group, expected.version, expected.kind));
    let null = media == Media::Json && bytes.trim_ascii() == b"null";
    let bytes = if null { &Bytes::from_static(b"{}") } else { bytes };
    let decoded = match media {
        Media::Json => match codec::json::decode(bytes, ty) {
            Ok(decoded) => {
                says(&decoded.object.0, expected)?;
                Ok(decoded)
            }
            Err(error) => {
                // What the body says it is counts before what is wrong in it.
                let value =
                    codec::json::value(bytes).map_err(|e| json_fault(expected, &e, bytes))?;
                check_type(&value, expected, bytes)?;
                Err(error)
            }
        },
        Media::Yaml => {
            check_type(
                &codec::yaml::value(bytes).map_err(|e| yaml_fault(expected, &e, bytes))?,
                expected,
                bytes,
            )?;
            codec::yaml::decode(bytes, ty)
        }
        Media::Protobuf => {
            codec::proto::decode(bytes).map(|object| Decoded { object, strict: Vec::new() })
        }
    };
    let decoded = decoded.map_err(|error| match error {
        CodecError::Proto(why) => unrecognized(expected, &why, bytes),
        other => unhandled(expected.kind, expected.version, expected, &other.to_string()),
    })?;
    if media == Media::Protobuf {
        says(&decoded.object.0, expected)?;
    }
    finish(decoded, expected, validation)
}

fn json_fault(expected: Expected, error: &CodecError, bytes: &[u8]) -> ApiError {
    let why = match error {
        CodecError::Limit(_) => {
            let at =
                bytes.iter().find(|b| matches!(b, b'[' | b'{')).map_or('[', |b| char::from(*b));
            format!("invalid character '{at}' exceeded max depth")
        }
        other => other.to_string(),
    };
    unrecognized(expected, &format!("couldn't get version/kind; json parse error: {why}"), bytes)
}

fn yaml_fault(expected: Expected, error: &CodecError, bytes: &[u8]) -> ApiError {
    unrecognized(expected, &format!("couldn't get version/kind; json parse error: {error}"), bytes)
}

/// Whether a body says that it is of another kind.
fn check_type(value: &api::Value, expected: Expected, bytes: &[u8]) -> Result<(), ApiError> {
    let map = match value {
        api::Value::Object(map) => map,
        api::Value::Null => return Ok(()),
        other => {
            let go = match other {
                api::Value::Array(_) => "array",
                api::Value::String(_) => "string",
                api::Value::Bool(_) => "bool",
                _ => "number",
            };
            let why = format!(
                "couldn't get version/kind; json parse error: json: cannot unmarshal {go} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}"
            );
            return Err(unrecognized(expected, &why, bytes));
        }
    };
    says(map, expected)
}

/// Whether an object says that it is of another kind.
fn says(map: &api::Map<String, api::Value>, expected: Expected) -> Result<(), ApiError> {
    let text = |key: &str| map.get(key).and_then(api::Value::as_str).unwrap_or("");
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let kind = if kind.is_empty() { expected.kind } else { kind };
    let wanted = expected.api_version();
    let api_version = if api_version.is_empty() { wanted.as_str() } else { api_version };
    if api_version == wanted && kind == expected.kind {
        return Ok(());
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let older = older::knows(api_version, kind);
    let known = kinds::of_object(api_version, kind).is_some()
        || api::schema::by_gvk(group, version, kind).is_some()
        || older
        || kind.strip_suffix("List").is_some_and(|item| {
            kinds::of_object(api_version, item).is_some()
                || older::knows(api_version, item)
                || item.is_empty()
        });
    if !known {
        let why = format!(
            "no kind {kind:?} is registered for version {api_version:?} in scheme {:?}",
            scheme(expected.group)
        );
        return Err(unhandled(kind, version, expected, &why));
    }
    // These are read as what they have become.
    let moved = older && (group == "extensions" || kind == "Scale");
    if (group == expected.group || moved) && kind == expected.kind {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({wanted})"
        )));
    }
    let why =
        format!("converting ({version}.{kind}) to ({}): unknown conversion", expected.internal());
    Err(unhandled(kind, version, expected, &why))
}

fn finish(
    decoded: Decoded,
    expected: Expected,
    validation: FieldValidation,
) -> Result<Body, ApiError> {
    let warnings = strict(&decoded, expected, validation)?;
    let mut object = decoded.object;
    object.set_type(&expected.api_version(), expected.kind);
    if let Some(kind) = kinds::by_kind(expected.group, expected.version, expected.kind) {
        api::default::apply(kind, &mut object);
    }
    Ok(Body { object, warnings })
}

/// What field validation makes of unknown and duplicate fields: nothing, warnings, or an error.
fn strict(
    decoded: &Decoded,
    expected: Expected,
    validation: FieldValidation,
) -> Result<Vec<String>, ApiError> {
    match validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(decoded.strict.iter().map(ToString::to_string).collect()),
        FieldValidation::Strict => match decoded.strict_error() {
            None => Ok(Vec::new()),
            Some(why) => Err(unhandled(expected.kind, expected.version, expected, &why)),
        },
    }
}
