//! Types: what a variable, a field or an expression holds.
//!
//! Not here: which values there are (`value`), how types are inferred (`check`), schemas (`schema`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::schema::Decl;

/// A type. Prints as messages show it.
#[derive(Clone, Debug)]
pub enum Type {
    /// Anything: checked when it is evaluated.
    Dyn,
    /// Of an expression that has been found faulty.
    Error,
    /// `null`.
    Null,
    /// Truth.
    Bool,
    /// 64 bits with sign.
    Int,
    /// 64 bits without.
    Uint,
    /// Floating point.
    Double,
    /// Text.
    String,
    /// Bytes.
    Bytes,
    /// A moment.
    Timestamp,
    /// A span of time.
    Duration,
    /// A list.
    List(Arc<Type>),
    /// A map.
    Map(Arc<(Type, Type)>),
    /// A value that may be missing.
    Optional(Arc<Type>),
    /// An object with named fields.
    Object(Arc<ObjectType>),
    /// A type of a library: `kubernetes.Quantity`.
    Opaque(&'static str),
    /// The type of a type.
    Type(Option<Arc<Type>>),
    /// A parameter in the signature of a function.
    Param(char),
    /// One of those in one use of the function, to be found.
    Var(usize),
}

/// The fields of an object.
#[derive(Debug)]
pub struct ObjectType {
    /// As messages and `type()` show it.
    pub name: String,
    /// By their escaped names.
    pub fields: Fields,
}

/// Which fields an object has.
#[derive(Debug)]
pub enum Fields {
    /// These.
    Declared(BTreeMap<String, FieldDecl>),
    /// Whatever it is given (the objects of mutations).
    Any,
}

/// A field of an object.
#[derive(Debug, Clone)]
pub struct FieldDecl {
    /// The name in JSON.
    pub json: Arc<str>,
    /// What it holds.
    pub decl: Arc<Decl>,
}

impl Type {
    /// A list of a type.
    pub fn list(item: Type) -> Self {
        Self::List(Arc::new(item))
    }

    /// A map of two types.
    pub fn map(key: Type, value: Type) -> Self {
        Self::Map(Arc::new((key, value)))
    }

    /// A value of a type that may be missing.
    pub fn optional(of: Type) -> Self {
        Self::Optional(Arc::new(of))
    }

    /// An object of a name with fields of plain types.
    pub fn object(name: &str, fields: &[(&str, Type)]) -> Self {
        let fields = fields.iter().map(|(field, ty)| {
            let decl = Arc::new(Decl::simple(ty.clone()));
            ((*field).to_owned(), FieldDecl { json: (*field).into(), decl })
        });
        let fields = Fields::Declared(fields.collect());
        Self::Object(Arc::new(ObjectType { name: name.to_owned(), fields }))
    }

    /// An object whose fields are not declared.
    pub fn any_object(name: &str) -> Self {
        Self::Object(Arc::new(ObjectType { name: name.to_owned(), fields: Fields::Any }))
    }

    /// Whether nothing is known of it before evaluation.
    pub fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn)
    }

    pub(crate) fn is_dyn_or_error(&self) -> bool {
        matches!(self, Self::Dyn | Self::Error)
    }
}

impl PartialEq for Type {
    fn eq(&self, other: &Self) -> bool {
        use Type::{List, Map, Object, Opaque, Optional, Param, Var};
        match (self, other) {
            (List(a), List(b)) | (Optional(a), Optional(b)) => a == b,
            (Map(a), Map(b)) => a == b,
            (Object(a), Object(b)) => a.name == b.name,
            (Opaque(a), Opaque(b)) => a == b,
            (Self::Type(a), Self::Type(b)) => a == b,
            (Param(a), Param(b)) => a == b,
            (Var(a), Var(b)) => a == b,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => f.write_str("dyn"),
            Self::Error => f.write_str("!error!"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Duration => f.write_str("duration"),
            Self::List(item) => write!(f, "list({item})"),
            Self::Map(map) => write!(f, "map({}, {})", map.0, map.1),
            Self::Optional(of) => write!(f, "optional_type({of})"),
            Self::Object(object) => f.write_str(&object.name),
            Self::Opaque(name) => f.write_str(name),
            Self::Type(None) => f.write_str("type"),
            Self::Type(Some(of)) => write!(f, "type({of})"),
            Self::Param(name) => write!(f, "{name}"),
            Self::Var(n) => write!(f, "_var{n}"),
        }
    }
}

/// The name of a type as `type(x)` and conversion errors show it, its parameters apart.
pub(crate) fn runtime_name(ty: &Type) -> &str {
    match ty {
        Type::Null => "null_type",
        Type::Timestamp => "google.protobuf.Timestamp",
        Type::Duration => "google.protobuf.Duration",
        Type::Bool => "bool",
        Type::Int => "int",
        Type::Uint => "uint",
        Type::Double => "double",
        Type::String => "string",
        Type::Bytes => "bytes",
        Type::List(_) => "list",
        Type::Map(_) => "map",
        Type::Optional(_) => "optional_type",
        Type::Object(object) => &object.name,
        Type::Opaque(name) => name,
        Type::Type(_) => "type",
        Type::Dyn => "dyn",
        Type::Error | Type::Param(_) | Type::Var(_) => "",
    }
}
