//! JSON text to objects and back.
//!
//! A reader of its own: guided by a schema it drops unknown fields as it meets them, and it reports
//! duplicates and syntax errors with upstream's wording. Values are brought to form by `conform`.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::{Map, Number, Value};

use super::{CodecError, Decoded, MAX_DEPTH, Part, Path, StrictError, conform};
use crate::object::Object;
use crate::schema::{self, FieldType, Type};

/// Reads an object. With a type, it comes back as upstream would write it: unknown fields dropped,
/// empty ones left out or filled in, quantities and times canonical. Without, as it is.
pub fn decode(bytes: &[u8], ty: Option<&'static Type>) -> Result<Decoded, CodecError> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    };
    let mut reader = Reader { text: &text, bytes: text.as_bytes(), at: 0, strict: Vec::new() };
    let shape = ty.map_or(Shape::Any, Shape::Type);
    let value = reader.value(shape, &Path::ROOT, 0)?;
    reader.space();
    if let Some(c) = reader.peek() {
        return Err(reader.unexpected(c, "after top-level value"));
    }
    let mut strict = reader.strict;
    let mut map = match value {
        Value::Object(map) => map,
        // Nothing at all is an object without fields.
        Value::Null => Map::new(),
        other => {
            return Err(CodecError::Type(format!(
                "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
                conform::describe(&other)
            )));
        }
    };
    if let Some(ty) = ty {
        conform::object(&mut map, ty, &mut strict)?;
    }
    Ok(Decoded { object: Object(map), strict })
}

/// Reads any JSON value as it is.
pub fn value(bytes: &[u8]) -> Result<Value, CodecError> {
    value_strict(bytes).map(|(value, _)| value)
}

/// The same, with what it says twice.
pub fn value_strict(bytes: &[u8]) -> Result<(Value, Vec<StrictError>), CodecError> {
    let text = String::from_utf8_lossy(bytes);
    let mut reader = Reader { text: &text, bytes: text.as_bytes(), at: 0, strict: Vec::new() };
    let value = reader.value(Shape::Any, &Path::ROOT, 0)?;
    reader.space();
    match reader.peek() {
        Some(c) => Err(reader.unexpected(c, "after top-level value")),
        None => Ok((value, reader.strict)),
    }
}

/// An object ready to be stored: its bytes without a resource version, and where one goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The JSON.
    pub bytes: Bytes,
    /// Where `"resourceVersion":"N",` is to be inserted: right after the brace of `metadata`, which
    /// is never empty.
    pub rv_at: usize,
}

/// Writes an object for the store: its type and metadata first, so that a list can leave out the type
/// by skipping a prefix.
pub fn encode_for_store(object: &Object) -> Encoded {
    encode_with_space(object, None)
}

/// The same, with a space before the value of one field.
pub fn encode_with_space(object: &Object, spaced: Option<&str>) -> Encoded {
    let mut out = Vec::with_capacity(2048);
    out.extend_from_slice(stored_prefix(object.api_version(), object.kind()).as_bytes());
    out.extend_from_slice(b"\"metadata\":{");
    let rv_at = out.len();
    for (key, value) in object.meta().into_iter().flatten() {
        if key != "resourceVersion" {
            separate(&mut out);
            write(&mut out, key);
            out.push(b':');
            write(&mut out, value);
        }
    }
    out.push(b'}');
    for (key, value) in &object.0 {
        if !matches!(key.as_str(), "kind" | "apiVersion" | "metadata") {
            out.push(b',');
            write(&mut out, key);
            out.push(b':');
            if spaced == Some(key) {
                out.push(b' ');
            }
            write(&mut out, value);
        }
    }
    out.push(b'}');
    Encoded { bytes: out.into(), rv_at }
}

/// What the stored form of a kind's objects starts with; items of a list leave it out.
pub fn stored_prefix(api_version: &str, kind: &str) -> String {
    format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",")
}

fn separate(out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
}

fn write<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // Writing JSON values with text keys to memory has no way to fail.
    let _ = serde_json::to_writer(out, value);
}

/// Writes an object.
pub fn encode(object: &Object) -> Vec<u8> {
    let mut out = Vec::with_capacity(2048);
    write(&mut out, &object.0);
    out
}

/// What the reader knows of the value to come.
#[derive(Clone, Copy)]
enum Shape {
    Any,
    Type(&'static Type),
    Field(&'static FieldType),
}

impl Shape {
    fn object(self) -> Fields {
        match self {
            Self::Type(ty) => Fields::Of(ty),
            Self::Field(FieldType::Ref(to)) => Fields::Of(to.get()),
            Self::Field(FieldType::Map(item)) => Fields::Each(Self::Field(item)),
            Self::Field(
                FieldType::SchemaOrBool | FieldType::SchemaOrArray | FieldType::SchemaOrStrings,
            ) => schema::json_schema().map_or(Fields::Each(Self::Any), Fields::Of),
            _ => Fields::Each(Self::Any),
        }
    }

    fn item(self) -> Self {
        match self {
            Self::Field(FieldType::List(item)) => Self::Field(item),
            Self::Field(FieldType::SchemaOrArray) => {
                schema::json_schema().map_or(Self::Any, Self::Type)
            }
            _ => Self::Any,
        }
    }
}

enum Fields {
    Of(&'static Type),
    Each(Shape),
}

struct Reader<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    strict: Vec<StrictError>,
}

/// What two values of one field come to: upstream reads the second over the first, so that maps and
/// nested values keep what the second does not name.
fn merge(first: Value, second: Value, ty: &FieldType) -> Value {
    match (first, second, ty) {
        (Value::Object(mut first), Value::Object(second), FieldType::Map(_)) => {
            first.extend(second);
            first.into()
        }
        (Value::Object(mut first), Value::Object(second), FieldType::Ref(to)) => {
            for (key, value) in second {
                let merged = match (first.remove(&key), to.field(&key)) {
                    (Some(earlier), Some(field)) => merge(earlier, value, &field.ty),
                    _ => value,
                };
                first.insert(key, merged);
            }
            first.into()
        }
        (_, second, _) => second,
    }
}

/// Go stops recording after this many.
const MAX_STRICT: usize = 100;

impl<'t> Reader<'t> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn end() -> CodecError {
        CodecError::Syntax("unexpected end of JSON input".into())
    }

    /// Bytes are shown as upstream shows them: each as the character of that number.
    fn unexpected(&self, c: u8, context: &str) -> CodecError {
        let shown = match c {
            b'\'' => r"'\''".to_owned(),
            b'"' => "'\"'".to_owned(),
            7 => r"'\a'".to_owned(),
            8 => r"'\b'".to_owned(),
            11 => r"'\v'".to_owned(),
            12 => r"'\f'".to_owned(),
            b'\t' | b'\n' | b'\r' | b'\\' => format!("{:?}", char::from(c)),
            0..=0x1f | 0x7f => format!(r"'\x{c:02x}'"),
            0x80..=0x9f | 0xa0 | 0xad => format!(r"'\u{c:04x}'"),
            _ => format!("'{}'", char::from(c)),
        };
        CodecError::Syntax(format!("invalid character {shown} {context}"))
    }

    fn next_or(&self, context: &str) -> CodecError {
        match self.peek() {
            Some(c) => self.unexpected(c, context),
            None => Self::end(),
        }
    }

    fn value(&mut self, shape: Shape, path: &Path, depth: usize) -> Result<Value, CodecError> {
        self.space();
        match self.peek() {
            Some(b'{') => {
                if depth >= MAX_DEPTH {
                    return Err(CodecError::Limit("exceeded max depth"));
                }
                self.at += 1;
                self.object(shape.object(), path, depth).map(Value::Object)
            }
            Some(b'[') => {
                if depth >= MAX_DEPTH {
                    return Err(CodecError::Limit("exceeded max depth"));
                }
                self.at += 1;
                self.array(shape.item(), path, depth).map(Value::Array)
            }
            Some(b'"') => {
                self.at += 1;
                self.string().map(|text| Value::String(text.into_owned()))
            }
            Some(b't') => self.literal("true", Value::Bool(true)),
            Some(b'f') => self.literal("false", Value::Bool(false)),
            Some(b'n') => self.literal("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.next_or("looking for beginning of value")),
        }
    }

    fn object(
        &mut self,
        fields: Fields,
        path: &Path,
        depth: usize,
    ) -> Result<Map<String, Value>, CodecError> {
        let mut map = Map::new();
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(map);
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.next_or("looking for beginning of object key string"));
            }
            self.at += 1;
            let key = self.string()?;
            self.space();
            if self.peek() != Some(b':') {
                return Err(self.next_or("after object key"));
            }
            self.at += 1;
            match &fields {
                Fields::Of(ty) => match ty.find(&key) {
                    Some(field) => {
                        let field = &ty.fields[field];
                        let here = path.child(Part::of(ty, field));
                        self.space();
                        let start = self.at;
                        let value = self.value(Shape::Field(&field.ty), &here, depth + 1)?;
                        if let (FieldType::Int32 | FieldType::Int64, Value::Number(n)) =
                            (&field.ty, &value)
                            && !n.is_i64()
                        {
                            // The literal is known here, and no more when types are checked.
                            let literal = &self.text[start..self.at];
                            return Err(conform::unfit(
                                &format!("number {literal}"),
                                field,
                                ty,
                                &here,
                            ));
                        }
                        let value = match map.get_mut(field.name) {
                            Some(earlier) => {
                                self.report(StrictError::Duplicate(here.full()));
                                merge(earlier.take(), value, &field.ty)
                            }
                            None => value,
                        };
                        map.insert(key.into_owned(), value);
                    }
                    None => {
                        self.report(StrictError::Unknown(path.child(Part::Key(&key)).full()));
                        let mark = self.strict.len();
                        self.value(Shape::Any, path, depth + 1)?;
                        self.strict.truncate(mark);
                    }
                },
                Fields::Each(shape) => {
                    let here = path.child(Part::Key(&key));
                    let value = self.value(*shape, &here, depth + 1)?;
                    if map.contains_key(&*key) {
                        self.report(StrictError::Duplicate(here.full()));
                    }
                    map.insert(key.into_owned(), value);
                }
            }
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(map);
                }
                _ => return Err(self.next_or("after object key:value pair")),
            }
        }
    }

    fn report(&mut self, error: StrictError) {
        if self.strict.len() < MAX_STRICT && !self.strict.contains(&error) {
            self.strict.push(error);
        }
    }

    fn array(&mut self, item: Shape, path: &Path, depth: usize) -> Result<Vec<Value>, CodecError> {
        let mut items = Vec::new();
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(items);
        }
        loop {
            let here = path.child(Part::Index(items.len()));
            items.push(self.value(item, &here, depth + 1)?);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(items);
                }
                _ => return Err(self.next_or("after array element")),
            }
        }
    }

    /// The rest of a string whose quote has been read.
    fn string(&mut self) -> Result<Cow<'t, str>, CodecError> {
        let start = self.at;
        self.at += self.plain();
        match self.peek() {
            Some(b'"') => {
                let text = &self.text[start..self.at];
                self.at += 1;
                return Ok(Cow::Borrowed(text));
            }
            Some(b'\\') => {}
            Some(c) => return Err(self.unexpected(c, "in string literal")),
            None => return Err(Self::end()),
        }
        let mut out = String::with_capacity(self.at - start + 32);
        out.push_str(&self.text[start..self.at]);
        loop {
            let run = self.at;
            self.at += self.plain();
            out.push_str(&self.text[run..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(out));
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape(&mut out)?;
                }
                Some(c) => return Err(self.unexpected(c, "in string literal")),
                None => return Err(Self::end()),
            }
        }
    }

    /// How many of the next bytes stand for themselves in a string.
    fn plain(&self) -> usize {
        let rest = &self.bytes[self.at..];
        rest.iter().position(|c| *c == b'"' || *c == b'\\' || *c < 0x20).unwrap_or(rest.len())
    }

    fn escape(&mut self, out: &mut String) -> Result<(), CodecError> {
        let c = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                let unit = self.hex4()?;
                out.push(self.code_point(unit));
                return Ok(());
            }
            _ => return Err(self.next_or("in string escape code")),
        };
        self.at += 1;
        out.push(c);
        Ok(())
    }

    /// The character of a `\u` unit; joins surrogates, replaces lone ones.
    fn code_point(&mut self, unit: u32) -> char {
        if (0xd800..0xdc00).contains(&unit) && self.bytes[self.at..].starts_with(b"\\u") {
            let back = self.at;
            self.at += 2;
            if let Ok(low @ 0xdc00..0xe000) = self.hex4() {
                let joined = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                return char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER);
            }
            self.at = back;
        }
        char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)
    }

    fn hex4(&mut self) -> Result<u32, CodecError> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|c| char::from(c).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.next_or("in \\u hexadecimal character escape"));
            };
            unit = unit * 16 + digit;
            self.at += 1;
        }
        Ok(unit)
    }

    fn literal(&mut self, word: &'static str, value: Value) -> Result<Value, CodecError> {
        for expected in word.bytes() {
            match self.peek() {
                Some(c) if c == expected => self.at += 1,
                Some(c) => {
                    let context =
                        format!("in literal {word} (expecting {:?})", char::from(expected));
                    return Err(self.unexpected(c, &context));
                }
                None => return Err(Self::end()),
            }
        }
        Ok(value)
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Result<Value, CodecError> {
        let start = self.at;
        let mut integer = true;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else if self.digits() == 0 {
            return Err(self.next_or("in numeric literal"));
        }
        if self.peek() == Some(b'.') {
            integer = false;
            self.at += 1;
            if self.digits() == 0 {
                return Err(self.next_or("after decimal point in numeric literal"));
            }
        }
        if let Some(b'e' | b'E') = self.peek() {
            integer = false;
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(self.next_or("in exponent of numeric literal"));
            }
        }
        let text = &self.text[start..self.at];
        if integer {
            if let Ok(number) = text.parse::<i64>() {
                return Ok(number.into());
            }
            if let Ok(number) = text.parse::<u64>() {
                return Ok(number.into());
            }
        }
        let number = text.parse::<f64>().ok().and_then(Number::from_f64);
        number.map(Value::Number).ok_or_else(|| {
            CodecError::Type(format!(
                "json: cannot unmarshal number {text} into Go value of type float64"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(text: &str) -> Result<Decoded, CodecError> {
        decode(text.as_bytes(), schema::type_of("io.k8s.api.core.v1.Pod"))
    }

    fn message(text: &str) -> String {
        value(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn syntax_errors_read_as_upstreams() {
        for (text, expected) in [
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            ("x", "invalid character 'x' looking for beginning of value"),
            ("{a", "invalid character 'a' looking for beginning of object key string"),
            (r#"{"a" 1}"#, "invalid character '1' after object key"),
            (r#"{"a":1 "b"}"#, "invalid character '\"' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("1 2", "invalid character '2' after top-level value"),
            ("trux", "invalid character 'x' in literal true (expecting 'e')"),
            (r#""\x""#, "invalid character 'x' in string escape code"),
            ("\"\n\"", r"invalid character '\n' in string literal"),
            ("\u{feff}{}", "invalid character 'ï' looking for beginning of value"),
            ("\u{1}", r"invalid character '\x01' looking for beginning of value"),
        ] {
            assert_eq!(message(text), expected, "{text}");
        }
    }

    #[test]
    fn values_read_as_serde_json_reads_them() {
        for text in [
            r#"{"a":[1,-2,3.5,1e3,true,false,null,"x\ny\u00e9\ud83d\ude00"],"b":{}}"#,
            "18446744073709551615",
            r#""\/\b\f\t\r\\\"""#,
        ] {
            let expected: Value = serde_json::from_str(text).unwrap();
            assert_eq!(value(text.as_bytes()).unwrap(), expected);
        }
        assert_eq!(value(br#""\ud800x""#).unwrap(), json!("\u{fffd}x"));
    }

    #[test]
    fn strict_errors_in_order() {
        let decoded = pod(r#"{"metadata":{"bogus":1,"name":"x","name":"y"},
            "spec":{"containers":[{"name":"a","foo":{"foo":1},"Image":"i"}]},"aaa":1}"#)
        .unwrap();
        assert_eq!(
            decoded.strict_error().unwrap(),
            "strict decoding error: unknown field \"metadata.bogus\", \
             duplicate field \"metadata.name\", unknown field \"spec.containers[0].foo\", \
             unknown field \"spec.containers[0].Image\", unknown field \"aaa\""
        );
        assert_eq!(decoded.object.name(), "y");
        assert!(decoded.object.0.get("aaa").is_none());
    }

    #[test]
    fn type_errors_name_the_field() {
        let text = r#"{"spec":{"containers":[{"name":"c","ports":[{"containerPort":"x"}]}]}}"#;
        assert_eq!(
            pod(text).unwrap_err().to_string(),
            "json: cannot unmarshal string into Go struct field \
             ContainerPort.spec.containers.ports.containerPort of type int32"
        );
    }

    #[test]
    fn numbers_keep_their_text_in_errors() {
        for literal in ["99999999999999999999", "1.0", "1e3"] {
            let text = format!(r#"{{"metadata":{{"generation":{literal}}}}}"#);
            assert_eq!(
                pod(&text).unwrap_err().to_string(),
                format!(
                    "json: cannot unmarshal number {literal} into Go struct field \
                     ObjectMeta.metadata.generation of type int64"
                )
            );
        }
    }

    #[test]
    fn the_second_of_two_fields_is_read_over_the_first() {
        let decoded = pod(r#"{"metadata":{"name":"a","labels":{"x":"1"}},
            "metadata":{"labels":{"y":"2"}},"spec":{"containers":[{"name":"a"},{"name":"b"}],
            "containers":[{"name":"c"}]}}"#)
        .unwrap();
        assert_eq!(decoded.duplicate().collect::<Vec<_>>(), ["metadata", "spec.containers"]);
        assert_eq!(decoded.object.meta().unwrap()["labels"], json!({"x": "1", "y": "2"}));
        assert_eq!(decoded.object.name(), "a");
        assert_eq!(decoded.object.at("spec.containers").unwrap().as_array().unwrap().len(), 1);
    }

    #[test]
    fn null_is_an_empty_object() {
        assert_eq!(pod("null").unwrap().object, pod("{}").unwrap().object);
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = "[".repeat(100_000);
        assert_eq!(value(deep.as_bytes()).unwrap_err(), CodecError::Limit("exceeded max depth"));
    }

    #[test]
    fn stored_form_takes_a_resource_version() {
        let decoded = pod(r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x",
            "resourceVersion":"7"},"spec":{"containers":[]}}"#)
        .unwrap();
        let encoded = encode_for_store(&decoded.object);
        let mut text = String::from_utf8(encoded.bytes.to_vec()).unwrap();
        assert!(!text.contains("resourceVersion"));
        text.insert_str(encoded.rv_at, r#""resourceVersion":"9","#);
        let back: Object = serde_json::from_str(&text).unwrap();
        assert_eq!((back.name(), back.resource_version()), ("x", "9"));
    }
}
