//! A value with the path that leads to it, and the faults that it can have.
//!
//! The vocabulary in which the rules of every kind are written. Not here: any kind's rules.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::shown;
use crate::names::{self, quote};
use crate::quantity::Quantity;
use crate::status::{Cause, CauseReason};

/// A value in an object. A missing value is null.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub value: &'a Value,
    up: Option<&'a At<'a>>,
    part: Part<'a>,
}

#[derive(Clone, Copy)]
enum Part<'a> {
    Root,
    /// A field, or several with dots in between.
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

/// The faults found so far.
pub(super) type Faults = Vec<Cause>;

pub(super) const NOTHING: &Value = &Value::Null;

/// No value, an empty text, list or map.
pub(super) fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(s) => s.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

impl<'a> At<'a> {
    /// The root of an object.
    pub fn root(value: &'a Value) -> Self {
        Self { value, up: None, part: Part::Root }
    }

    /// A field, or a path of fields with dots.
    pub fn get<'s>(&'s self, field: &'s str) -> At<'s> {
        let mut value = self.value;
        for name in field.split('.') {
            value = value.get(name).unwrap_or(NOTHING);
        }
        At { value, up: Some(self), part: Part::Field(field) }
    }

    /// An entry of a map, whose path has the key in brackets.
    pub fn key<'s>(&'s self, key: &'s str) -> At<'s> {
        At { value: self.value.get(key).unwrap_or(NOTHING), up: Some(self), part: Part::Key(key) }
    }

    /// The item at a position.
    pub fn index(&self, at: usize) -> At<'_> {
        At { value: self.value.get(at).unwrap_or(NOTHING), up: Some(self), part: Part::Index(at) }
    }

    /// The items of a list.
    pub fn items(&self) -> impl Iterator<Item = At<'_>> {
        let list = self.value.as_array().map_or(&[][..], Vec::as_slice);
        list.iter().enumerate().map(move |(at, value)| At {
            value,
            up: Some(self),
            part: Part::Index(at),
        })
    }

    /// The entries of a map.
    pub fn entries(&self) -> impl Iterator<Item = (&str, At<'_>)> {
        self.value.as_object().into_iter().flatten().map(move |(key, value)| {
            (key.as_str(), At { value, up: Some(self), part: Part::Key(key) })
        })
    }

    /// The same place with another value, for messages.
    pub fn with<'s>(self, value: &'s Value) -> At<'s>
    where
        'a: 's,
    {
        At { value, up: self.up, part: self.part }
    }

    pub fn map(&self) -> Option<&Map<String, Value>> {
        self.value.as_object()
    }

    /// The text, empty where there is none.
    pub fn text(&self) -> &str {
        self.value.as_str().unwrap_or("")
    }

    pub fn int(&self) -> Option<i64> {
        self.value.as_i64()
    }

    /// The number, 0 where there is none.
    pub fn number(&self) -> i64 {
        self.int().unwrap_or(0)
    }

    pub fn is_true(&self) -> bool {
        self.value == &Value::Bool(true)
    }

    pub fn quantity(&self) -> Option<Quantity> {
        Quantity::parse(self.value.as_str()?).ok()
    }

    /// Whether there is a value.
    pub fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    /// Whether there is nothing: no value, an empty text, list or map.
    pub fn is_empty(&self) -> bool {
        is_nothing(self.value)
    }

    /// How many items or entries.
    pub fn len(&self) -> usize {
        match self.value {
            Value::Array(list) => list.len(),
            Value::Object(map) => map.len(),
            Value::String(s) => s.len(),
            _ => 0,
        }
    }

    /// The path, as in `spec.containers[0].name`.
    pub fn path(&self) -> String {
        let mut text = self.up.map(At::path).unwrap_or_default();
        match self.part {
            Part::Root => {}
            // As upstream prints a field without a name.
            Part::Field("") => text.push_str("[]"),
            Part::Field(name) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(name);
            }
            Part::Index(at) => {
                let _ = write!(text, "[{at}]");
            }
            Part::Key(key) => {
                let _ = write!(text, "[{key}]");
            }
        }
        text
    }

    // Faults.

    pub fn required(&self, f: &mut Faults, why: &str) {
        f.push(Cause::required(self.path(), why));
    }

    pub fn invalid(&self, f: &mut Faults, why: &str) {
        f.push(Cause::invalid(self.path(), self.value, why));
    }

    /// Invalid, with another value in the message.
    pub fn invalid_as(&self, f: &mut Faults, value: impl Into<Value>, why: &str) {
        f.push(Cause::invalid(self.path(), &value.into(), why));
    }

    pub fn forbidden(&self, f: &mut Faults, why: &str) {
        f.push(Cause::forbidden(self.path(), why));
    }

    pub fn duplicate(&self, f: &mut Faults) {
        f.push(Cause::duplicate(self.path(), self.value));
    }

    pub fn duplicate_as(&self, f: &mut Faults, value: impl Into<Value>) {
        f.push(Cause::duplicate(self.path(), &value.into()));
    }

    /// Invalid, with a text that stands for the value as it is.
    pub fn invalid_shown(&self, f: &mut Faults, shown: &str, why: &str) {
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        let message = format!("Invalid value: {shown}{why}");
        f.push(Cause::new(CauseReason::Invalid, self.path(), message));
    }

    /// Duplicate, with a text that stands for the value as it is.
    pub fn duplicate_shown(&self, f: &mut Faults, shown: &str) {
        let message = format!("Duplicate value: {shown}");
        f.push(Cause::new(CauseReason::Duplicate, self.path(), message));
    }

    /// Invalid, with the value as upstream's own struct prints.
    pub fn invalid_struct(&self, f: &mut Faults, of: &str, why: &str) {
        self.invalid_shown(f, &shown::line(of, self.value), why);
    }

    /// Duplicate, with the value as upstream's own struct prints.
    pub fn duplicate_struct(&self, f: &mut Faults, of: &str) {
        self.duplicate_shown(f, &shown::line(of, self.value));
    }

    /// The same as before; a fault shows upstream's own struct.
    pub fn immutable_struct(&self, f: &mut Faults, old: &At<'_>, of: &str) {
        if self.value != old.value {
            self.invalid_struct(f, of, IMMUTABLE);
        }
    }

    pub fn not_found(&self, f: &mut Faults) {
        f.push(Cause::not_found(self.path(), self.value));
    }

    /// Not one of the supported values, which are listed as given.
    pub fn unsupported(&self, f: &mut Faults, supported: &[&str]) {
        let list: Vec<String> = supported.iter().map(|s| quote(s)).collect();
        let value = if self.value.is_null() { &Value::String(String::new()) } else { self.value };
        let head = crate::status::print_value(value);
        let message = if list.is_empty() {
            format!("Unsupported value: {head}")
        } else {
            format!("Unsupported value: {head}: supported values: {}", list.join(", "))
        };
        f.push(Cause::new(CauseReason::NotSupported, self.path(), message));
    }

    pub fn too_long(&self, f: &mut Faults, max: usize) {
        f.push(Cause::too_long(self.path(), max));
    }

    pub fn too_many(&self, f: &mut Faults, max: usize) {
        let items = if max == 1 { "item" } else { "items" };
        let message = format!("Too many: {}: must have at most {max} {items}", self.len());
        f.push(Cause::new(CauseReason::TooMany, self.path(), message));
    }

    // Rules.

    /// There must be something.
    pub fn need(&self, f: &mut Faults) -> bool {
        if self.is_empty() {
            self.required(f, "");
        }
        !self.is_empty()
    }

    /// A name validator finds no fault in the text.
    pub fn check(&self, f: &mut Faults, rule: fn(&str) -> names::Faults) {
        for why in rule(self.text()) {
            self.invalid_as(f, self.text(), &why);
        }
    }

    /// [`At::need`], then [`At::check`].
    pub fn need_check(&self, f: &mut Faults, rule: fn(&str) -> names::Faults) {
        if self.need(f) {
            self.check(f, rule);
        }
    }

    /// [`At::check`] where there is a text.
    pub fn check_if_set(&self, f: &mut Faults, rule: fn(&str) -> names::Faults) {
        if !self.is_empty() {
            self.check(f, rule);
        }
    }

    /// [`At::check`] where there is a value, be it empty.
    pub fn check_if_set_at_all(&self, f: &mut Faults, rule: fn(&str) -> names::Faults) {
        if self.is_set() {
            self.check(f, rule);
        }
    }

    /// One of these; required.
    pub fn need_one_of(&self, f: &mut Faults, supported: &[&str]) {
        if self.is_empty() {
            self.required(f, "");
        } else {
            self.one_of(f, supported);
        }
    }

    /// One of these (an empty text is none).
    pub fn one_of(&self, f: &mut Faults, supported: &[&str]) {
        if !supported.contains(&self.text()) {
            self.unsupported(f, supported);
        }
    }

    /// One of these, where there is a value.
    pub fn one_of_if_set(&self, f: &mut Faults, supported: &[&str]) {
        if self.is_set() {
            self.one_of(f, supported);
        }
    }

    /// Not below zero.
    pub fn non_negative(&self, f: &mut Faults) {
        if self.number() < 0 {
            self.invalid(f, NON_NEGATIVE);
        }
    }

    /// Above zero.
    pub fn positive(&self, f: &mut Faults) {
        if self.number() <= 0 {
            self.invalid_as(f, self.number(), "must be greater than zero");
        }
    }

    /// Between both, inclusive, where there is a value.
    pub fn range(&self, f: &mut Faults, low: i64, high: i64) {
        if let Some(n) = self.int()
            && !(low..=high).contains(&n)
        {
            self.invalid(f, &names::between(low, high));
        }
    }

    /// The same as before.
    pub fn immutable(&self, f: &mut Faults, old: &At<'_>) {
        if self.value != old.value {
            self.invalid(f, IMMUTABLE);
        }
    }

    /// A label or annotation key.
    pub fn qualified(&self, f: &mut Faults) {
        self.check(f, names::qualified_name);
    }
}

pub(super) const NON_NEGATIVE: &str = "must be greater than or equal to 0";
pub(super) const IMMUTABLE: &str = "field is immutable";
