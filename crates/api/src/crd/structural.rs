//! A structural schema: the tree by which custom resources are pruned, defaulted and validated.
//!
//! Read out of the `openAPIV3Schema` of a definition that has been validated; what is malformed is
//! left out. Not here: what a schema may say (`validate`), what it says of a value (`check`).

use std::collections::BTreeMap;
use std::sync::OnceLock;

use regex::Regex;
use serde_json::{Map, Value};

use super::formats;
use crate::regexp;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum Type {
    /// Not stated.
    #[default]
    Any,
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

impl Type {
    /// The type of that name.
    pub fn parse(text: &str) -> Self {
        match text {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => Self::Any,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

/// `additionalProperties`.
#[derive(Debug)]
pub enum Additional {
    /// Any, or none.
    Bool(bool),
    /// Each of this form.
    Schema(Box<Structural>),
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ListType {
    /// A value of its own.
    #[default]
    Atomic,
    /// No item twice.
    Set,
    /// Items by keys, none twice.
    Map,
}

/// A CEL rule (`x-kubernetes-validations`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// The expression.
    pub rule: String,
    /// What a failure says.
    pub message: String,
    /// An expression for what a failure says.
    pub message_expression: String,
    /// The reason of a failure; empty for the default.
    pub reason: String,
    /// The field that a failure names, relative to the rule's place.
    pub field_path: String,
    /// Whether `oldSelf` is an optional value.
    pub optional_old_self: Option<bool>,
}

/// A node of the schema.
#[derive(Debug, Default)]
pub struct Structural {
    /// What the value is.
    pub ty: Type,
    /// Of an object.
    pub properties: BTreeMap<String, Structural>,
    /// Of an object.
    pub additional: Option<Additional>,
    /// Of an array.
    pub items: Option<Box<Structural>>,
    /// Whether null is a value.
    pub nullable: bool,
    /// Filled in where there is nothing.
    pub default: Option<Value>,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub preserve: bool,
    /// `x-kubernetes-embedded-resource`.
    pub embedded: bool,
    /// `x-kubernetes-int-or-string`.
    pub int_or_string: bool,
    /// `x-kubernetes-list-type`.
    pub list_type: ListType,
    /// `x-kubernetes-list-map-keys`.
    pub list_keys: Vec<String>,
    /// `x-kubernetes-map-type: atomic`.
    pub map_atomic: bool,
    /// `x-kubernetes-validations`.
    pub rules: Vec<Rule>,
    /// What the value must be like.
    pub checks: Option<Box<Checks>>,
}

/// Validations of a value.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct Checks {
    pub format: String,
    pub pattern: Option<Pattern>,
    pub maximum: Option<f64>,
    pub exclusive_maximum: bool,
    pub minimum: Option<f64>,
    pub exclusive_minimum: bool,
    pub multiple_of: Option<f64>,
    pub max_length: Option<i64>,
    pub min_length: Option<i64>,
    pub max_items: Option<i64>,
    pub min_items: Option<i64>,
    pub max_properties: Option<i64>,
    pub min_properties: Option<i64>,
    pub enumeration: Vec<Value>,
    pub required: Vec<String>,
    pub all_of: Vec<Structural>,
    pub any_of: Vec<Structural>,
    pub one_of: Vec<Structural>,
    pub not: Option<Structural>,
}

/// A regular expression, compiled when it is first needed: most of a thousand definitions' never are.
#[derive(Debug)]
pub struct Pattern {
    /// As written.
    pub source: String,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// Whether a text has a match; any has where the expression cannot be read.
    pub fn matches(&self, text: &str) -> bool {
        let compiled = self.compiled.get_or_init(|| compile(&self.source).ok());
        compiled.as_ref().is_none_or(|regex| regex.is_match(text))
    }
}

/// Memory that one expression may take.
const PATTERN_BYTES: usize = 1 << 20;

/// Reads a regular expression.
pub fn compile(source: &str) -> Result<Regex, String> {
    regexp::compile(source, PATTERN_BYTES)
}

fn text(map: &Map<String, Value>, key: &str) -> String {
    map.get(key).and_then(Value::as_str).unwrap_or("").to_owned()
}

fn flag(map: &Map<String, Value>, key: &str) -> bool {
    map.get(key) == Some(&Value::Bool(true))
}

fn texts(map: &Map<String, Value>, key: &str) -> Vec<String> {
    let list = map.get(key).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

/// The type by which a node's format is judged.
pub(super) fn format_type(map: &Map<String, Value>) -> Type {
    if flag(map, "x-kubernetes-int-or-string") {
        return Type::Any;
    }
    Type::parse(map.get("type").and_then(Value::as_str).unwrap_or(""))
}

fn known_format(map: &Map<String, Value>) -> String {
    let format = text(map, "format");
    if formats::is_known(format_type(map), &format) { format } else { String::new() }
}

impl Structural {
    /// Reads a schema.
    pub fn parse(schema: &Value) -> Self {
        let Some(map) = schema.as_object() else { return Self::default() };
        let properties = map.get("properties").and_then(Value::as_object).into_iter().flatten();
        let items = match map.get("items") {
            Some(item @ Value::Object(_)) => Some(Box::new(Self::parse(item))),
            _ => None,
        };
        let additional = match map.get("additionalProperties") {
            Some(Value::Bool(any)) => Some(Additional::Bool(*any)),
            Some(item @ Value::Object(_)) => Some(Additional::Schema(Box::new(Self::parse(item)))),
            _ => None,
        };
        let rules = map.get("x-kubernetes-validations").and_then(Value::as_array);
        Self {
            ty: Type::parse(map.get("type").and_then(Value::as_str).unwrap_or("")),
            properties: properties.map(|(k, v)| (k.clone(), Self::parse(v))).collect(),
            additional,
            items,
            nullable: flag(map, "nullable"),
            default: map.get("default").filter(|v| !v.is_null()).cloned(),
            preserve: flag(map, "x-kubernetes-preserve-unknown-fields"),
            embedded: flag(map, "x-kubernetes-embedded-resource"),
            int_or_string: flag(map, "x-kubernetes-int-or-string"),
            list_type: match text(map, "x-kubernetes-list-type").as_str() {
                "set" => ListType::Set,
                "map" => ListType::Map,
                _ => ListType::Atomic,
            },
            list_keys: texts(map, "x-kubernetes-list-map-keys"),
            map_atomic: text(map, "x-kubernetes-map-type") == "atomic",
            rules: rules.into_iter().flatten().map(Rule::parse).collect(),
            checks: Checks::parse(map),
        }
    }

    /// The schema of a field: its own, or that of any.
    pub fn field(&self, name: &str) -> Option<&Structural> {
        self.properties.get(name).or(match &self.additional {
            Some(Additional::Schema(each)) => Some(&**each),
            _ => None,
        })
    }

    /// Whether anything in it fills in values.
    pub fn has_defaults(&self) -> bool {
        self.default.is_some() || self.children().any(Self::has_defaults)
    }

    /// Whether anything in it has a CEL rule.
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty() || self.children().any(Self::has_rules)
    }

    /// The nodes right below.
    pub fn children(&self) -> impl Iterator<Item = &Structural> {
        let each = match &self.additional {
            Some(Additional::Schema(each)) => Some(&**each),
            _ => None,
        };
        self.properties.values().chain(each).chain(self.items.as_deref())
    }

    /// The values it allows, where it names them.
    pub fn enumeration(&self) -> &[Value] {
        self.checks.as_ref().map_or(&[], |c| &c.enumeration)
    }

    /// The fields it requires.
    pub fn required(&self) -> &[String] {
        self.checks.as_ref().map_or(&[], |c| &c.required)
    }

    /// The format of its text or number.
    pub fn format(&self) -> &str {
        self.checks.as_ref().map_or("", |c| &c.format)
    }
}

impl Rule {
    fn parse(value: &Value) -> Self {
        let Some(map) = value.as_object() else { return Self::default() };
        Self {
            rule: text(map, "rule"),
            message: text(map, "message"),
            message_expression: text(map, "messageExpression"),
            reason: text(map, "reason"),
            field_path: text(map, "fieldPath"),
            optional_old_self: map.get("optionalOldSelf").and_then(Value::as_bool),
        }
    }
}

/// Keywords that make a node one with checks.
const CHECKED: [&str; 17] = [
    "format",
    "pattern",
    "maximum",
    "minimum",
    "multipleOf",
    "maxLength",
    "minLength",
    "maxItems",
    "minItems",
    "maxProperties",
    "minProperties",
    "enum",
    "required",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
];

impl Checks {
    fn parse(map: &Map<String, Value>) -> Option<Box<Self>> {
        if !CHECKED.iter().any(|key| map.contains_key(*key)) {
            return None;
        }
        let int = |key: &str| map.get(key).and_then(Value::as_i64);
        let number = |key: &str| map.get(key).and_then(Value::as_f64);
        let all = |key: &str| -> Vec<Structural> {
            let list = map.get(key).and_then(Value::as_array).into_iter().flatten();
            list.map(Structural::parse).collect()
        };
        let pattern = Some(text(map, "pattern")).filter(|p| !p.is_empty());
        Some(Box::new(Self {
            format: known_format(map),
            pattern: pattern.map(|source| Pattern { source, compiled: OnceLock::new() }),
            maximum: number("maximum"),
            exclusive_maximum: flag(map, "exclusiveMaximum"),
            minimum: number("minimum"),
            exclusive_minimum: flag(map, "exclusiveMinimum"),
            multiple_of: number("multipleOf"),
            max_length: int("maxLength"),
            min_length: int("minLength"),
            max_items: int("maxItems"),
            min_items: int("minItems"),
            max_properties: int("maxProperties"),
            min_properties: int("minProperties"),
            enumeration: map.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
            required: texts(map, "required"),
            all_of: all("allOf"),
            any_of: all("anyOf"),
            one_of: all("oneOf"),
            not: map.get("not").filter(|v| v.is_object()).map(Structural::parse),
        }))
    }
}
