//! YAML text to objects and back, by the rules of upstream's YAML 1.1 library.
//!
//! Plain scalars are read as that library reads them (`0644` is octal, `yes` is true), duplicate keys
//! are reported by line, aliases are bounded. Only the first document of a text is read; splitting
//! files with several is the command line's.

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Number, Value};

use super::{CodecError, Decoded, MAX_DEPTH, StrictError, conform};
use crate::object::Object;
use crate::schema::Type;

mod emit;
mod scalar;

pub use emit::encode;

/// Reads an object; with a type, as `json::decode` does.
pub fn decode(bytes: &[u8], ty: Option<&'static Type>) -> Result<Decoded, CodecError> {
    let mut strict = Vec::new();
    let value = read(bytes, &mut strict)?;
    let Value::Object(map) = value else {
        return Err(CodecError::Type(format!(
            "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            conform::describe(&value)
        )));
    };
    let object = Object(map);
    let Some(ty) = ty else { return Ok(Decoded { object, strict }) };
    let mut decoded = conform::decode(object, ty)?;
    strict.append(&mut decoded.strict);
    decoded.strict = strict;
    Ok(decoded)
}

/// Reads any value.
pub fn value(bytes: &[u8]) -> Result<Value, CodecError> {
    read(bytes, &mut Vec::new())
}

/// Reads any value, with complaints about what is said twice.
pub fn value_strict(bytes: &[u8]) -> Result<(Value, Vec<StrictError>), CodecError> {
    let mut strict = Vec::new();
    let value = read(bytes, &mut strict)?;
    Ok((value, strict))
}

fn read(bytes: &[u8], strict: &mut Vec<StrictError>) -> Result<Value, CodecError> {
    let text = String::from_utf8_lossy(bytes);
    let mut reader = Reader {
        parser: Parser::new_from_str(&text),
        anchors: Vec::new(),
        // Every node that is written out takes a byte; more can only come from aliases.
        budget: text.len() + 100_000,
        strict,
    };
    loop {
        match reader.next()? {
            (Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _) => {}
            (Event::StreamEnd | Event::DocumentEnd, _) => return Ok(Value::Null),
            (event, span) => return reader.node(event, span, 0),
        }
    }
}

struct Reader<'t, 's> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    /// Values by anchor number.
    anchors: Vec<(usize, Value)>,
    /// How many more nodes may be made.
    budget: usize,
    strict: &'s mut Vec<StrictError>,
}

impl<'t> Reader<'t, '_> {
    fn next(&mut self) -> Result<(Event<'t>, Span), CodecError> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(CodecError::Syntax(format!(
                "yaml: line {}: {}",
                error.marker().line(),
                error.info()
            ))),
            None => Err(CodecError::Syntax("yaml: unexpected end of stream".into())),
        }
    }

    fn spend(&mut self, nodes: usize) -> Result<(), CodecError> {
        self.budget = self
            .budget
            .checked_sub(nodes)
            .ok_or(CodecError::Limit("yaml: document contains excessive aliasing"))?;
        Ok(())
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Value, CodecError> {
        if depth > MAX_DEPTH {
            return Err(CodecError::Limit("yaml: exceeded max depth"));
        }
        self.spend(1)?;
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                (anchor, scalar_value(&text, style, tag.as_deref())?)
            }
            Event::SequenceStart(anchor, _) => (anchor, self.sequence(depth)?),
            Event::MappingStart(anchor, _) => (anchor, self.mapping(depth)?),
            Event::Alias(id) => {
                let known = self.anchors.iter().rev().find(|(anchor, _)| *anchor == id);
                let Some((_, value)) = known else {
                    return Err(CodecError::Syntax(format!(
                        "yaml: line {}: unknown anchor referenced",
                        span.start.line()
                    )));
                };
                let nodes = count(value);
                let (value, deep) = (value.clone(), depth + height(value));
                if deep > MAX_DEPTH {
                    return Err(CodecError::Limit("yaml: exceeded max depth"));
                }
                self.spend(nodes)?;
                return Ok(value);
            }
            _ => return Err(CodecError::Syntax("yaml: unexpected end of a node".into())),
        };
        if anchor > 0 {
            self.spend(count(&value))?;
            self.anchors.push((anchor, value.clone()));
        }
        Ok(value)
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, CodecError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::Array(items)),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, CodecError> {
        let mut map = Map::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let is_merge =
                matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, _) if text == "<<");
            let key = self.node(event, span, depth + 1)?;
            let (event, value_span) = self.next()?;
            let value = self.node(event, value_span, depth + 1)?;
            if is_merge {
                merged.push(value);
                continue;
            }
            let key = match key {
                Value::String(text) => text,
                Value::Number(n) => n.to_string(),
                Value::Bool(b) => b.to_string(),
                Value::Null => "null".to_owned(),
                _ => {
                    return Err(CodecError::Syntax(format!(
                        "yaml: line {}: invalid map key",
                        span.start.line()
                    )));
                }
            };
            if map.contains_key(&key) {
                let line = span.start.line();
                self.strict.push(StrictError::YamlDuplicate { line, key: key.clone() });
            }
            map.insert(key, value);
        }
        for source in merged {
            let sources = match source {
                Value::Array(list) => list,
                one => vec![one],
            };
            for source in sources {
                let Value::Object(source) = source else {
                    return Err(CodecError::Syntax(
                        "yaml: map merge requires map or sequence of maps as the value".into(),
                    ));
                };
                for (key, value) in source {
                    map.entry(key).or_insert(value);
                }
            }
        }
        Ok(Value::Object(map))
    }
}

fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(count).sum::<usize>(),
        _ => 1,
    }
}

fn height(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(height).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(height).max().unwrap_or(0),
        _ => 0,
    }
}

fn scalar_value(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, CodecError> {
    let tag = tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str());
    if tag == Some("str") || (tag.is_none() && style != ScalarStyle::Plain) {
        return Ok(text.into());
    }
    Ok(match scalar::resolve(text) {
        scalar::Scalar::Null => Value::Null,
        scalar::Scalar::Bool(b) => b.into(),
        scalar::Scalar::Int(n) => n.into(),
        scalar::Scalar::Uint(n) => n.into(),
        scalar::Scalar::Float(n) => match Number::from_f64(n) {
            Some(n) => n.into(),
            None => {
                let message = format!("json: unsupported value: {n}");
                return Err(CodecError::Syntax(message));
            }
        },
        scalar::Scalar::Text | scalar::Scalar::Time => text.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;
    use serde_json::json;

    #[test]
    fn plain_scalars_are_yaml_1_1() {
        let text = "{a: 0644, b: yes, c: off, d: '0644', e: 1_000, f: 1.5, g: ~, h: 0x1F, \
                    i: 2024-01-02, j: 12:30, 5: x, true: z, k: !!str 5, l: null, m: 1e3}";
        let expected = json!({"a": 420, "b": true, "c": false, "d": "0644", "e": 1000, "f": 1.5,
            "g": null, "h": 31, "i": "2024-01-02", "j": "12:30", "5": "x", "true": "z", "k": "5",
            "l": null, "m": 1000.0});
        assert_eq!(value(text.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn duplicates_and_unknown_fields() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  name: b\nfoo: 1\n";
        let ty = schema::type_of("io.k8s.api.core.v1.ConfigMap");
        let decoded = decode(text.as_bytes(), ty).unwrap();
        assert_eq!(decoded.strict[0].to_string(), "line 5: key \"name\" already set in map");
        assert_eq!(
            decoded.strict_error().unwrap(),
            "strict decoding error: yaml: unmarshal errors:\n  line 5: key \"name\" already set in \
             map, unknown field \"foo\""
        );
        assert_eq!(decoded.object.name(), "b");
    }

    #[test]
    fn anchors_aliases_and_merges() {
        let text = "base: &b {x: 1, z: 2}\nitems:\n- *b\n- <<: *b\n  z: 3\n";
        assert_eq!(
            value(text.as_bytes()).unwrap(),
            json!({"base": {"x": 1, "z": 2}, "items": [{"x": 1, "z": 2}, {"x": 1, "z": 3}]})
        );
    }

    #[test]
    fn aliases_are_bounded() {
        let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..10 {
            let inner = vec![format!("*a{}", level - 1); 10].join(",");
            text.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
        }
        assert!(matches!(value(text.as_bytes()), Err(CodecError::Limit(_))));
        let deep = "[".repeat(100_000);
        assert!(value(deep.as_bytes()).is_err());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let object = Object::from_value(json!({"a": "x: y", "b": ["", "yes", "0644", "a\nb\n", "é",
            "- x", "*", "true", "2024-01-02T03:04:05Z", " lead", "tab\t", "#c", "a #b", "null",
            "1.5", {"k": [], "l": {}}, [1, [2]], null, 1.5, "a\n\n  b", "\u{1}", "long ".repeat(40)]}))
        .unwrap();
        let text = encode(&object.clone().into());
        assert_eq!(value(text.as_bytes()).unwrap(), Value::from(object), "{text}");
    }
}
