//! Brings an object to the form in which upstream would write it back.
//!
//! Upstream decodes into structs and encodes them again: a value of the wrong type is refused, nulls
//! become zeros, empty fields are left out or written by the field's tag, quantities, times and
//! bytes become canonical. The schema table says which; this module does it in place. Not here:
//! defaults and validation.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::{CodecError, Decoded, Part, Path, StrictError};
use crate::object::Object;
use crate::quantity;
use crate::schema::{self, Field, FieldType, Type};

/// Conforms an object that did not come from text (the outcome of a patch, or of YAML). Unknown
/// fields are dropped and reported.
pub fn decode(object: Object, ty: &'static Type) -> Result<Decoded, CodecError> {
    let mut map = object.0;
    let mut strict = Vec::new();
    self::object(&mut map, ty, &mut strict)?;
    Ok(Decoded { object: Object(map), strict })
}

pub(crate) fn object(
    map: &mut Map<String, Value>,
    ty: &'static Type,
    strict: &mut Vec<StrictError>,
) -> Result<(), CodecError> {
    // An empty list of managers is a request of its own: to forget them.
    let managers = map.get("metadata").and_then(|meta| meta.get("managedFields"));
    let forget = managers.and_then(Value::as_array).is_some_and(Vec::is_empty);
    Conform { strict }.message(map, ty, &Path::ROOT)?;
    if let (true, Some(Value::Object(meta))) = (forget, map.get_mut("metadata")) {
        meta.insert("managedFields".to_owned(), Value::Array(Vec::new()));
    }
    Ok(())
}

/// Whether a field's value is one that is not written.
pub(crate) fn is_left_out(field: &Field, value: &Value) -> bool {
    if field.keep_empty || field.presence {
        return false;
    }
    match (&field.ty, value) {
        (FieldType::Ref(to), Value::Object(map)) => {
            field.omit_zero && field.nested && *map == zero(to.get())
        }
        (FieldType::Time | FieldType::MicroTime, Value::Null) => field.omit_zero,
        (FieldType::String | FieldType::Bytes, Value::String(text)) => text.is_empty(),
        (FieldType::Bool, Value::Bool(b)) => !*b,
        (FieldType::Int32 | FieldType::Int64, Value::Number(n)) => n.as_i64() == Some(0),
        (FieldType::Double, Value::Number(n)) => n.as_f64() == Some(0.0),
        (FieldType::List(_), Value::Array(items)) => items.is_empty(),
        (FieldType::Map(_), Value::Object(map)) => map.is_empty(),
        _ => false,
    }
}

/// The zero of a type: the fields that are written even when they are empty.
pub fn zero(ty: &'static Type) -> Map<String, Value> {
    let mut map = Map::new();
    fill(&mut map, ty);
    map
}

struct Conform<'s> {
    strict: &'s mut Vec<StrictError>,
}

impl Conform<'_> {
    fn message(
        &mut self,
        map: &mut Map<String, Value>,
        ty: &'static Type,
        path: &Path,
    ) -> Result<(), CodecError> {
        let mut always = 0;
        // Few fields are ever dropped; most maps need no second look-up.
        let mut dropped: Vec<&'static str> = Vec::new();
        let mut unknown: Vec<String> = Vec::new();
        // Keys and fields are both sorted: the next field is the first guess.
        let mut guess = 0;
        for (key, value) in map.iter_mut() {
            if ty.fields.get(guess).is_none_or(|f| f.name != key) {
                match ty.find(key) {
                    Some(at) => guess = at,
                    None => {
                        unknown.push(key.clone());
                        continue;
                    }
                }
            }
            let field = &ty.fields[guess];
            guess += 1;
            if self.field(value, field, ty, &path.child(Part::of(ty, field)))? {
                always += usize::from(field.is_always());
            } else {
                dropped.push(field.name);
            }
        }
        for name in dropped {
            map.remove(name);
        }
        for key in unknown {
            self.strict.push(StrictError::Unknown(path.child(Part::Key(&key)).full()));
            map.remove(&key);
        }
        if always < ty.always.len() {
            fill(map, ty);
        }
        Ok(())
    }

    /// Conforms a field's value; whether the field is written at all.
    fn field(
        &mut self,
        value: &mut Value,
        field: &'static Field,
        owner: &'static Type,
        path: &Path,
    ) -> Result<bool, CodecError> {
        if value.is_null() {
            if field.is_always() {
                *value = zero_of(field);
                return Ok(true);
            }
            return Ok(false);
        }
        self.value(value, &field.ty, field.go, owner, path)?;
        Ok(!is_left_out(field, value))
    }

    fn value(
        &mut self,
        value: &mut Value,
        ty: &'static FieldType,
        go: Option<&str>,
        owner: &'static Type,
        path: &Path,
    ) -> Result<(), CodecError> {
        let fits = match (ty, &mut *value) {
            (FieldType::String, Value::String(_)) | (FieldType::Bool, Value::Bool(_)) => true,
            (FieldType::Int32, Value::Number(n)) => {
                n.as_i64().is_some_and(|n| i32::try_from(n).is_ok())
            }
            (FieldType::Int64, Value::Number(n)) => n.is_i64(),
            (FieldType::Double, Value::Number(_)) => true,
            (FieldType::Ref(to), Value::Object(map)) => {
                self.message(map, to.get(), path)?;
                true
            }
            (FieldType::List(item), Value::Array(items)) => {
                for (at, value) in items.iter_mut().enumerate() {
                    let go = go.and_then(|g| g.strip_prefix("[]"));
                    self.item(value, item, go, owner, &path.child(Part::Index(at)))?;
                }
                true
            }
            (FieldType::Map(item), Value::Object(map)) => {
                for (key, value) in map.iter_mut() {
                    self.item(value, item, None, owner, &path.child(Part::Key(key)))?;
                }
                true
            }
            (FieldType::Quantity, Value::String(text)) => {
                let canonical = quantity::normalize(text.trim()).map_err(type_error)?;
                if canonical != *text {
                    *value = Value::String(canonical.into_owned());
                }
                true
            }
            (FieldType::Quantity, Value::Number(n)) => {
                let text = n.to_string();
                let canonical = quantity::normalize(&text).map_err(type_error)?;
                *value = Value::String(canonical.into_owned());
                true
            }
            // Read as the text of an amount, whatever it is.
            (FieldType::Quantity, _) => {
                return Err(quantity::normalize("[]").map_or_else(type_error, |_| type_error("")));
            }
            (FieldType::IntOrString, Value::String(_)) => true,
            (FieldType::IntOrString, Value::Number(n)) => {
                if n.as_i64().is_none_or(|n| i32::try_from(n).is_err()) {
                    return Err(type_error(format!(
                        "json: cannot unmarshal number {n} into Go value of type int32"
                    )));
                }
                true
            }
            (FieldType::Time, Value::String(text)) => {
                if let Cow::Owned(canonical) = time(text, false)? {
                    *value = Value::String(canonical);
                }
                true
            }
            (FieldType::MicroTime, Value::String(text)) => {
                if let Cow::Owned(canonical) = time(text, true)? {
                    *value = Value::String(canonical);
                }
                true
            }
            (FieldType::Bytes, Value::String(text)) => {
                if let Cow::Owned(canonical) = bytes(text)? {
                    *value = Value::String(canonical);
                }
                true
            }
            (FieldType::Raw | FieldType::FieldSet | FieldType::Json, _) => true,
            (FieldType::SchemaOrBool, Value::Bool(_)) => true,
            (FieldType::SchemaOrArray, Value::Array(items)) => {
                if let Some(schema) = schema::json_schema() {
                    for (at, item) in items.iter_mut().enumerate() {
                        if let Value::Object(map) = item {
                            self.message(map, schema, &path.child(Part::Index(at)))?;
                        }
                    }
                }
                true
            }
            (FieldType::SchemaOrStrings, Value::Array(items)) => items.iter().all(Value::is_string),
            (
                FieldType::SchemaOrBool | FieldType::SchemaOrArray | FieldType::SchemaOrStrings,
                Value::Object(map),
            ) => {
                if let Some(schema) = schema::json_schema() {
                    self.message(map, schema, path)?;
                }
                true
            }
            _ => false,
        };
        if fits {
            return Ok(());
        }
        let seen = match (ty, &*value) {
            (FieldType::Int32 | FieldType::Int64, Value::Number(n)) => format!("number {n}"),
            (_, value) => describe(value).to_owned(),
        };
        Err(mismatch(&seen, go, ty, owner, path))
    }

    /// An item of a list or a map: a null is its zero.
    fn item(
        &mut self,
        value: &mut Value,
        ty: &'static FieldType,
        go: Option<&str>,
        owner: &'static Type,
        path: &Path,
    ) -> Result<(), CodecError> {
        if !value.is_null() {
            return self.value(value, ty, go, owner, path);
        }
        *value = match ty {
            FieldType::String | FieldType::Bytes => "".into(),
            FieldType::Ref(to) => Value::Object(zero(to.get())),
            scalar => zero_scalar(scalar),
        };
        Ok(())
    }
}

fn fill(map: &mut Map<String, Value>, ty: &'static Type) {
    for at in &ty.always {
        let field = &ty.fields[usize::from(*at)];
        if !map.contains_key(field.name) {
            map.insert(field.name.to_owned(), zero_of(field));
        }
    }
}

fn zero_of(field: &'static Field) -> Value {
    match &field.ty {
        FieldType::Ref(to) if field.nested => Value::Object(zero(to.get())),
        _ if field.presence => Value::Null,
        FieldType::Quantity | FieldType::IntOrString if !field.nested => Value::Null,
        scalar => zero_scalar(scalar),
    }
}

fn zero_scalar(ty: &FieldType) -> Value {
    match ty {
        FieldType::String => "".into(),
        FieldType::Int32 | FieldType::Int64 | FieldType::Double | FieldType::IntOrString => {
            0.into()
        }
        FieldType::Bool => false.into(),
        FieldType::Quantity => "0".into(),
        _ => Value::Null,
    }
}

/// A value of the wrong type for a field.
pub(crate) fn unfit(seen: &str, field: &Field, owner: &Type, path: &Path) -> CodecError {
    mismatch(seen, field.go, &field.ty, owner, path)
}

fn mismatch(seen: &str, go: Option<&str>, ty: &FieldType, owner: &Type, path: &Path) -> CodecError {
    let wanted = go.map_or_else(|| ty.go_name(), str::to_owned);
    CodecError::Type(format!(
        "json: cannot unmarshal {seen} into Go struct field {}.{} of type {wanted}",
        owner.short(),
        path.fields()
    ))
}

fn type_error(error: impl ToString) -> CodecError {
    CodecError::Type(error.to_string())
}

/// What type errors call a value.
pub fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A time in UTC to the second, or to the microsecond, which must then be written out.
fn time(text: &str, micro: bool) -> Result<Cow<'_, str>, CodecError> {
    let layout =
        if micro { "2006-01-02T15:04:05.000000Z07:00" } else { "2006-01-02T15:04:05Z07:00" };
    let bytes = text.as_bytes();
    let refuse = || {
        // Where Go stops: at the fraction that is not there, or at the start.
        let dateless = micro && bytes.get(10) == Some(&b'T') && bytes.get(19) != Some(&b'.');
        // Bytes that are no ASCII may have no character that starts there.
        let rest = text.get(19..).filter(|rest| dateless && !rest.is_empty());
        let (rest, part) = rest.map_or((text, "2006"), |rest| (rest, ".000000"));
        type_error(format!(
            "parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {part:?}"
        ))
    };
    if bytes.len() < 20 || !text.is_ascii() || bytes[10] != b'T' {
        return Err(refuse());
    }
    if micro && (bytes.len() < 27 || bytes[19] != b'.' || bytes[26].is_ascii_digit()) {
        return Err(refuse());
    }
    let stamp: jiff::Timestamp = text.parse().map_err(|_| refuse())?;
    let canonical_length = if micro { 27 } else { 20 };
    if bytes.len() == canonical_length && bytes.ends_with(b"Z") {
        return Ok(Cow::Borrowed(text));
    }
    Ok(Cow::Owned(if micro {
        stamp.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
    } else {
        stamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }))
}

/// Standard base64; line ends inside are dropped.
fn bytes(text: &str) -> Result<Cow<'_, str>, CodecError> {
    let clean: Cow<str> = if text.contains(['\r', '\n']) {
        Cow::Owned(text.replace(['\r', '\n'], ""))
    } else {
        Cow::Borrowed(text)
    };
    if let Err(error) = STANDARD.decode(clean.as_bytes()) {
        use base64::DecodeError::{InvalidByte, InvalidLastSymbol, InvalidLength, InvalidPadding};
        let at = match error {
            InvalidByte(at, _) | InvalidLastSymbol(at, _) => at,
            InvalidLength(_) | InvalidPadding => clean.len() / 4 * 4,
        };
        return Err(type_error(format!("illegal base64 data at input byte {at}")));
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::json;
    use serde_json::json;

    fn read(ty: &str, value: Value) -> Result<Value, String> {
        let ty = schema::type_of(&format!("io.k8s.api.{ty}"));
        let decoded = json::decode(value.to_string().as_bytes(), ty).map_err(|e| e.to_string())?;
        Ok(decoded.object.into())
    }

    #[test]
    fn absence_is_written_as_upstream_writes_it() {
        let service = json!({"metadata": {"name": "a", "labels": {}}, "spec": {"ports": [{"port": 1,
            "name": "", "nodePort": 0}], "allocateLoadBalancerNodePorts": false, "clusterIP": ""}});
        assert_eq!(
            read("core.v1.Service", service).unwrap(),
            json!({"metadata": {"name": "a"}, "spec": {"ports": [{"port": 1, "targetPort": 0}],
                "allocateLoadBalancerNodePorts": false}, "status": {"loadBalancer": {}}})
        );
        let pod = json!({"spec": {"containers": null, "nodeSelector": null, "hostNetwork": false,
            "volumes": []}});
        assert_eq!(
            read("core.v1.Pod", pod).unwrap(),
            json!({"metadata": {}, "spec": {"containers": null}, "status": {}})
        );
    }

    #[test]
    fn nulls_inside_collections_are_zeros() {
        let map = json!({"metadata": {"labels": {"a": null}}, "data": {"k": null}});
        assert_eq!(
            read("core.v1.Secret", map).unwrap(),
            json!({"metadata": {"labels": {"a": ""}}, "data": {"k": ""}})
        );
    }

    #[test]
    fn a_moment_of_other_characters_is_refused() {
        let event = json!({"eventTime": "2001-01-01T00:00:\u{fffd}\u{fffd}00.000000Z"});
        let fault = read("core.v1.Event", event).unwrap_err();
        assert!(fault.contains(r#"as "2006""#), "{fault}");
    }

    #[test]
    fn scalars_are_canonical() {
        let pod = json!({"metadata": {"creationTimestamp": "2024-01-02T03:04:05.5+01:00"},
            "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": 0.5,
            "memory": "1024Mi"}}}]}});
        let out = read("core.v1.Pod", pod).unwrap();
        assert_eq!(out["metadata"]["creationTimestamp"], "2024-01-02T02:04:05Z");
        assert_eq!(
            out["spec"]["containers"][0]["resources"]["limits"],
            json!({"cpu": "500m", "memory": "1Gi"})
        );
    }

    #[test]
    fn wrong_scalars_are_refused() {
        let lease = json!({"spec": {"renewTime": "2024-01-02T03:04:05Z"}});
        assert_eq!(
            read("coordination.v1.Lease", lease).unwrap_err(),
            "parsing time \"2024-01-02T03:04:05Z\" as \"2006-01-02T15:04:05.000000Z07:00\": \
             cannot parse \"Z\" as \".000000\""
        );
        let secret = json!({"data": {"k": "!"}});
        assert_eq!(
            read("core.v1.Secret", secret).unwrap_err(),
            "illegal base64 data at input byte 0"
        );
        let map = json!({"data": {"a": 5}});
        assert_eq!(
            read("core.v1.ConfigMap", map).unwrap_err(),
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"
        );
    }
}
