//! Values while an expression is evaluated. What comes from an object borrows it.
//!
//! Not here: operators and functions (`library`), equality and order (`compare`).

use std::collections::BTreeMap;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map as JsonMap, Value as Json};

use crate::EvalError;
use crate::library::opaque::Opaque;
use crate::schema::{Decl, Shape};
use crate::types::{Fields, ObjectType, Type};

/// A value.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// Truth.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number without sign.
    Uint(u64),
    /// A floating point number.
    Double(f64),
    /// Text.
    String(Text<'a>),
    /// Bytes.
    Bytes(Rc<[u8]>),
    /// A moment.
    Timestamp(Timestamp),
    /// A span of time in billionths of a second.
    Duration(i64),
    /// A list.
    List(List<'a>),
    /// A map.
    Map(Map<'a>),
    /// An object with a declared type.
    Object(Object<'a>),
    /// A type.
    Type(Type),
    /// A value that may be missing.
    Optional(Option<Rc<Value<'a>>>),
    /// A value of a library's type.
    Opaque(Opaque<'a>),
}

/// Text, of an object or made.
#[derive(Clone, Debug)]
pub enum Text<'a> {
    /// Of an object.
    Borrowed(&'a str),
    /// Made.
    Made(Rc<str>),
    /// Of the expression.
    Literal(Arc<str>),
}

impl Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Made(text) => text,
            Self::Literal(text) => text,
        }
    }
}

/// A list.
#[derive(Clone, Debug)]
pub enum List<'a> {
    /// Of an object, with its declaration.
    Json(&'a [Json], Option<&'a Decl>),
    /// Made.
    Made(Rc<Vec<Value<'a>>>),
}

/// A map.
#[derive(Clone, Debug)]
pub enum Map<'a> {
    /// Of an object, with its declaration.
    Json(&'a JsonMap<String, Json>, Option<&'a Decl>),
    /// Made.
    Made(Rc<BTreeMap<Key, Value<'a>>>),
}

/// A key of a made map.
#[derive(Clone, Debug)]
pub enum Key {
    /// Truth.
    Bool(bool),
    /// A whole number; equal to the same number without sign.
    Int(i64),
    /// A whole number without sign.
    Uint(u64),
    /// Text.
    String(Rc<str>),
}

impl Key {
    fn rank(&self) -> (u8, i128, &str) {
        match self {
            Self::Bool(b) => (0, i128::from(*b), ""),
            Self::Int(i) => (1, i128::from(*i), ""),
            Self::Uint(u) => (1, i128::from(*u), ""),
            Self::String(s) => (2, 0, s),
        }
    }

    /// As a value.
    pub fn value<'a>(&self) -> Value<'a> {
        match self {
            Self::Bool(b) => Value::Bool(*b),
            Self::Int(i) => Value::Int(*i),
            Self::Uint(u) => Value::Uint(*u),
            Self::String(s) => Value::String(Text::Made(s.clone())),
        }
    }

    /// Of a value; `None` where the value can be no key.
    pub fn of(value: &Value<'_>) -> Option<Self> {
        Some(match value {
            Value::Bool(b) => Self::Bool(*b),
            Value::Int(i) => Self::Int(*i),
            Value::Uint(u) => Self::Uint(*u),
            Value::Double(d) => Self::Int(whole(*d)?),
            Value::String(s) => Self::String(Rc::from(&**s)),
            _ => return None,
        })
    }
}

/// A floating point number as a whole one, if it is.
pub(crate) fn whole(d: f64) -> Option<i64> {
    // 2^63 as a float; -2^63 itself fits.
    (d.fract() == 0.0 && (-9.223_372_036_854_776e18..9.223_372_036_854_776e18).contains(&d))
        .then_some(d as i64)
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}
impl Eq for Key {}
impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

/// An object with a declared type.
#[derive(Clone, Debug)]
pub enum Object<'a> {
    /// Of JSON.
    Json(&'a JsonMap<String, Json>, &'a ObjectType),
    /// Made by the expression, or bound by the caller.
    Made(Arc<ObjectType>, Rc<BTreeMap<String, Value<'a>>>),
    /// Worked out field by field, when one is asked for.
    Lazy(Rc<dyn LazyObject<'a> + 'a>),
}

/// An object whose fields are worked out when they are asked for.
pub trait LazyObject<'a>: std::fmt::Debug {
    /// The name of its type.
    fn type_name(&self) -> &str;
    /// One field; `None` where there is none of that name.
    fn field(&self, name: &str) -> Option<Result<Value<'a>, EvalError>>;
}

impl<'a> Value<'a> {
    /// Made text.
    pub fn text(text: impl Into<Rc<str>>) -> Self {
        Self::String(Text::Made(text.into()))
    }

    /// A made list.
    pub fn list(items: Vec<Value<'a>>) -> Self {
        Self::List(List::Made(Rc::new(items)))
    }

    /// A made map.
    pub fn map(entries: BTreeMap<Key, Value<'a>>) -> Self {
        Self::Map(Map::Made(Rc::new(entries)))
    }

    /// A present optional.
    pub fn some(value: Value<'a>) -> Self {
        Self::Optional(Some(Rc::new(value)))
    }

    /// JSON as it stands, without declarations.
    pub fn json(json: &'a Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(b) => Self::Bool(*b),
            Json::Number(n) => number(n),
            Json::String(s) => Self::String(Text::Borrowed(s)),
            Json::Array(items) => Self::List(List::Json(items, None)),
            Json::Object(map) => Self::Map(Map::Json(map, None)),
        }
    }

    /// JSON as a declared type.
    pub fn declared(json: &'a Json, decl: &'a Decl) -> Result<Self, EvalError> {
        Ok(match (json, &decl.shape, &decl.ty) {
            (Json::Null, ..) => Self::Null,
            (Json::Array(items), Shape::List(..), _) => Self::List(List::Json(items, Some(decl))),
            (Json::Object(map), Shape::Map(_), _) => Self::Map(Map::Json(map, Some(decl))),
            (Json::Object(map), Shape::Object(object), _) => match &object.fields {
                Fields::Declared(_) => Self::Object(Object::Json(map, object)),
                Fields::Any => Self::Map(Map::Json(map, None)),
            },
            (Json::Number(n), _, Type::Double) => Self::Double(n.as_f64().unwrap_or(f64::NAN)),
            (Json::Number(n), _, Type::Int) => match n.as_f64().and_then(whole) {
                _ if n.is_i64() => Self::Int(n.as_i64().unwrap_or_default()),
                Some(i) => Self::Int(i),
                None => number(n),
            },
            (Json::String(s), Shape::Date, _) => {
                let moment = format!("{s}T00:00:00Z").parse();
                Self::Timestamp(
                    moment.map_err(|_| {
                        EvalError::new(format!("Invalid date formatted string {s}"))
                    })?,
                )
            }
            (Json::String(s), _, Type::Timestamp) => {
                Self::Timestamp(s.parse().map_err(|_| {
                    EvalError::new(format!("Invalid date-time formatted string {s}"))
                })?)
            }
            (Json::String(s), _, Type::Duration) => {
                let span = crate::library::time::parse_duration(s).ok_or_else(|| {
                    EvalError::new(format!("Invalid duration formatted string {s}"))
                })?;
                Self::Duration(span)
            }
            (Json::String(s), _, Type::Bytes) => {
                let bytes = STANDARD.decode(s);
                Self::Bytes(
                    bytes
                        .map_err(|_| EvalError::new(format!("Invalid byte formatted string {s}")))?
                        .into(),
                )
            }
            (json, ..) => Self::json(json),
        })
    }

    /// The type at run time; what it holds is not looked at.
    pub fn type_of(&self) -> Type {
        match self {
            Self::Null => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Uint(_) => Type::Uint,
            Self::Double(_) => Type::Double,
            Self::String(_) => Type::String,
            Self::Bytes(_) => Type::Bytes,
            Self::Timestamp(_) => Type::Timestamp,
            Self::Duration(_) => Type::Duration,
            Self::List(_) => Type::list(Type::Dyn),
            Self::Map(_) => Type::map(Type::Dyn, Type::Dyn),
            Self::Object(Object::Made(ty, _)) => Type::Object(ty.clone()),
            Self::Object(object) => Type::any_object(object.type_name()),
            Self::Type(_) => Type::Type(None),
            Self::Optional(_) => Type::optional(Type::Dyn),
            Self::Opaque(opaque) => Type::Opaque(opaque.type_name()),
        }
    }

    /// What `size()` says, 1 for what has no size: the measure of costs.
    pub(crate) fn cost_size(&self) -> u64 {
        let size = match self {
            Self::String(s) => s.chars().count(),
            Self::Bytes(b) => b.len(),
            Self::List(l) => l.len(),
            Self::Map(m) => m.len(),
            Self::Optional(Some(value)) => return value.cost_size(),
            Self::Opaque(opaque) => return opaque.cost_size(),
            _ => 1,
        };
        size as u64
    }

    /// As JSON, for what leaves the evaluation.
    pub fn to_json(&self) -> Result<Json, EvalError> {
        Ok(match self {
            Self::Null | Self::Optional(None) => Json::Null,
            Self::Bool(b) => (*b).into(),
            Self::Int(i) => (*i).into(),
            Self::Uint(u) => (*u).into(),
            Self::Double(d) => (*d).into(),
            Self::String(s) => s.to_string().into(),
            Self::Bytes(b) => STANDARD.encode(b).into(),
            Self::Timestamp(t) => t.to_string().into(),
            Self::Duration(d) => crate::library::time::print_duration(*d).into(),
            Self::List(list) => {
                let items: Result<Vec<Json>, _> =
                    list.iter().map(|item| item.and_then(|i| i.to_json())).collect();
                Json::Array(items?)
            }
            Self::Map(Map::Json(map, _)) => Json::Object((*map).clone()),
            Self::Map(Map::Made(map)) => {
                let mut out = JsonMap::new();
                for (key, value) in map.iter() {
                    let key = match key {
                        Key::String(s) => s.to_string(),
                        Key::Bool(b) => b.to_string(),
                        Key::Int(i) => i.to_string(),
                        Key::Uint(u) => u.to_string(),
                    };
                    out.insert(key, value.to_json()?);
                }
                Json::Object(out)
            }
            Self::Object(Object::Json(map, _)) => Json::Object((*map).clone()),
            Self::Object(Object::Lazy(_)) => {
                return Err(EvalError::new("no JSON form for what is not yet worked out"));
            }
            Self::Object(Object::Made(_, fields)) => {
                let mut out = JsonMap::new();
                for (name, value) in fields.iter() {
                    out.insert(name.clone(), value.to_json()?);
                }
                Json::Object(out)
            }
            Self::Optional(Some(value)) => value.to_json()?,
            Self::Opaque(Opaque::Quantity(q)) => q.to_string().into(),
            Self::Type(_) | Self::Opaque(_) => {
                let name = self.type_of();
                return Err(EvalError::new(format!("no JSON form for {name}")));
            }
        })
    }
}

fn number<'a>(n: &serde_json::Number) -> Value<'a> {
    match (n.as_i64(), n.as_u64()) {
        (Some(i), _) => Value::Int(i),
        (None, Some(u)) => Value::Uint(u),
        _ => Value::Double(n.as_f64().unwrap_or(f64::NAN)),
    }
}

impl<'a> List<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Json(items, _) => items.len(),
            Self::Made(items) => items.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One of them.
    pub fn get(&self, at: usize) -> Option<Result<Value<'a>, EvalError>> {
        match self {
            Self::Json(items, decl) => items.get(at).map(|json| element(json, *decl)),
            Self::Made(items) => items.get(at).cloned().map(Ok),
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Result<Value<'a>, EvalError>> + use<'a> {
        let list = self.clone();
        (0..self.len()).filter_map(move |at| list.get(at))
    }

    /// All of them, read.
    pub fn values(&self) -> Result<Vec<Value<'a>>, EvalError> {
        self.iter().collect()
    }
}

fn element<'a>(json: &'a Json, decl: Option<&'a Decl>) -> Result<Value<'a>, EvalError> {
    match decl.map(|d| &d.shape) {
        Some(Shape::List(item, ..)) => Value::declared(json, item),
        Some(Shape::Map(value)) => Value::declared(json, value),
        _ => Ok(Value::json(json)),
    }
}

impl<'a> Map<'a> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Json(map, _) => map.len(),
            Self::Made(map) => map.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value under a key.
    pub fn get(&self, key: &Value<'_>) -> Option<Result<Value<'a>, EvalError>> {
        match (self, key) {
            (Self::Json(map, decl), Value::String(key)) => {
                map.get(&**key).map(|json| element(json, *decl))
            }
            (Self::Json(..), _) => None,
            (Self::Made(map), key) => map.get(&Key::of(key)?).cloned().map(Ok),
        }
    }

    /// The value under a name.
    pub fn field(&self, name: &str) -> Option<Result<Value<'a>, EvalError>> {
        match self {
            Self::Json(map, decl) => map.get(name).map(|json| element(json, *decl)),
            Self::Made(map) => map.get(&Key::String(Rc::from(name))).cloned().map(Ok),
        }
    }

    /// All keys.
    pub fn keys(&self) -> Vec<Value<'a>> {
        match self {
            Self::Json(map, _) => map.keys().map(|k| Value::String(Text::Borrowed(k))).collect(),
            Self::Made(map) => map.keys().map(Key::value).collect(),
        }
    }
}

impl<'a> Object<'a> {
    /// The name of its type.
    pub fn type_name(&self) -> &str {
        match self {
            Self::Json(_, ty) => &ty.name,
            Self::Made(ty, _) => &ty.name,
            Self::Lazy(object) => object.type_name(),
        }
    }

    /// The field of an (escaped) name, if it is set.
    pub fn field(&self, name: &str) -> Option<Result<Value<'a>, EvalError>> {
        match self {
            Self::Json(map, ty) => {
                let Fields::Declared(fields) = &ty.fields else { return None };
                let field = fields.get(name)?;
                let json = map.get(&*field.json)?;
                Some(Value::declared(json, &field.decl))
            }
            Self::Made(_, fields) => fields.get(name).cloned().map(Ok),
            Self::Lazy(object) => object.field(name),
        }
    }

    /// The set fields' names.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Json(map, ty) => match &ty.fields {
                Fields::Declared(fields) => fields
                    .iter()
                    .filter(|(_, f)| map.contains_key(&*f.json))
                    .map(|(name, _)| name.clone())
                    .collect(),
                Fields::Any => map.keys().cloned().collect(),
            },
            Self::Made(_, fields) => fields.keys().cloned().collect(),
            Self::Lazy(_) => Vec::new(),
        }
    }
}
