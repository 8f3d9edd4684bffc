//! Objects to bytes and back: JSON, YAML, protobuf.
//!
//! `json` and `yaml` read text and `conform` brings it to the form in which upstream would write the
//! object back; `proto` reads and writes by the schema table. Not here: content negotiation, CBOR.

use crate::object::Object;
use crate::schema::{Field, Type};

pub mod conform;
pub mod json;
pub mod proto;
pub mod yaml;

/// How deep values may nest. (Upstream: 10,000, which no object needs.)
pub const MAX_DEPTH: usize = 120;

/// A decoded object with what strict decoding objects to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// Without unknown fields; of two fields with one name, the last.
    pub object: Object,
    /// In the order of the text.
    pub strict: Vec<StrictError>,
}

impl Decoded {
    /// Paths of fields that the type does not have.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        self.strict.iter().filter_map(|error| match error {
            StrictError::Unknown(path) => Some(path.as_str()),
            _ => None,
        })
    }

    /// Paths of fields that the text names twice.
    pub fn duplicate(&self) -> impl Iterator<Item = &str> {
        self.strict.iter().filter_map(|error| match error {
            StrictError::Duplicate(path) => Some(path.as_str()),
            StrictError::YamlDuplicate { key, .. } => Some(key.as_str()),
            StrictError::Unknown(_) => None,
        })
    }

    /// What `fieldValidation=Strict` refuses with; `None` where there is nothing to refuse.
    pub fn strict_error(&self) -> Option<String> {
        if self.strict.is_empty() {
            return None;
        }
        let mut lines: Vec<String> = Vec::with_capacity(self.strict.len());
        let mut yaml = String::new();
        for error in &self.strict {
            match error {
                StrictError::YamlDuplicate { .. } => yaml.push_str(&format!("\n  {error}")),
                _ => lines.push(error.to_string()),
            }
        }
        if !yaml.is_empty() {
            lines.insert(0, format!("yaml: unmarshal errors:{yaml}"));
        }
        Some(format!("strict decoding error: {}", lines.join(", ")))
    }
}

/// A field that decoding drops or overwrites; printed as a warning header has it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StrictError {
    /// The type has no such field.
    #[error("unknown field \"{0}\"")]
    Unknown(String),
    /// The text has the field twice.
    #[error("duplicate field \"{0}\"")]
    Duplicate(String),
    /// A YAML text has the key twice in one mapping.
    #[error("line {line}: key \"{key}\" already set in map")]
    #[allow(missing_docs)]
    YamlDuplicate { line: usize, key: String },
}

/// Why bytes are not an object; worded as upstream words it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The text is not JSON (or YAML).
    #[error("{0}")]
    Syntax(String),
    /// A value is of the wrong type.
    #[error("{0}")]
    Type(String),
    /// Values nest too deep, or aliases expand too far.
    #[error("{0}")]
    Limit(&'static str),
    /// The bytes are not a protobuf object.
    #[error("{0}")]
    Proto(String),
}

/// Where a value is, kept on the stack; printed only when there is something to report.
#[derive(Clone, Copy)]
pub(crate) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    part: Part<'a>,
}

#[derive(Clone, Copy)]
pub(crate) enum Part<'a> {
    Root,
    Field(&'a str),
    /// A field of a struct that upstream has inlined, after the names of what it is inlined in.
    Inlined(&'static str, &'a str),
    Key(&'a str),
    Index(usize),
}

/// What upstream's structs inline: their fields are the outer struct's in JSON, not in Go.
const INLINED: &[(&str, &str)] = &[
    ("ConfigMapEnvSource", "LocalObjectReference"),
    ("ConfigMapKeySelector", "LocalObjectReference"),
    ("ConfigMapProjection", "LocalObjectReference"),
    ("ConfigMapVolumeSource", "LocalObjectReference"),
    ("EphemeralContainer", "EphemeralContainerCommon"),
    ("IngressRule", "IngressRuleValue"),
    ("NamedRuleWithOperations", "RuleWithOperations.Rule"),
    ("PersistentVolumeSpec", "PersistentVolumeSource"),
    ("Probe", "ProbeHandler"),
    ("RuleWithOperations", "Rule"),
    ("SecretEnvSource", "LocalObjectReference"),
    ("SecretKeySelector", "LocalObjectReference"),
    ("SecretProjection", "LocalObjectReference"),
    ("Volume", "VolumeSource"),
];

impl Part<'_> {
    /// The part of a path that a field of a type is.
    pub fn of(ty: &Type, field: &Field) -> Part<'static> {
        let by = INLINED.iter().find(|(outer, _)| field.proto.len() > 1 && *outer == ty.short());
        match by {
            // The operations of a rule are not as deep as what it is about.
            Some((_, by)) if field.proto.len() == 2 => {
                Part::Inlined(by.split('.').next().unwrap_or(by), field.name)
            }
            Some((_, by)) => Part::Inlined(by, field.name),
            None => Part::Field(field.name),
        }
    }
}

impl<'a> Path<'a> {
    pub const ROOT: Path<'static> = Path { parent: None, part: Part::Root };

    pub fn child(&'a self, part: Part<'a>) -> Path<'a> {
        Path { parent: Some(self), part }
    }

    /// `spec.containers[0].name`.
    pub fn full(&self) -> String {
        let mut text = self.parent.map(Path::full).unwrap_or_default();
        match self.part {
            Part::Root => {}
            Part::Index(at) => text.push_str(&format!("[{at}]")),
            Part::Field(name) | Part::Inlined(_, name) | Part::Key(name) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(name);
            }
        }
        text
    }

    /// `spec.containers.name`: fields only, with what upstream's structs inline.
    pub fn fields(&self) -> String {
        let mut text = self.parent.map(Path::fields).unwrap_or_default();
        let (inlined, name) = match self.part {
            Part::Field(name) => (None, name),
            Part::Inlined(by, name) => (Some(by), name),
            _ => return text,
        };
        for part in inlined.into_iter().chain([name]) {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(part);
        }
        text
    }
}
