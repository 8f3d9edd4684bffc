//! Reading JSON into typed views as Go reads it: `null` where a list, map, text, number or struct belongs
//! leaves it empty.
//!
//! API servers write empty lists as `null` where a field has no `omitempty` (an endpoint slice's
//! `endpoints`, an image's `names`), and clients may send `null` anywhere. A view derives `Deserialize`
//! with `serde(default)` and needs to know nothing of this. Not here: untyped objects, which keep their
//! nulls.

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess,
    Visitor,
};

/// Reads a typed view.
pub fn from_slice<T: DeserializeOwned>(json: &[u8]) -> Result<T, serde_json::Error> {
    let mut from = serde_json::Deserializer::from_slice(json);
    let value = T::deserialize(Lean(&mut from))?;
    from.end()?;
    Ok(value)
}

/// What serde_json calls a value that is kept as text.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// A deserializer, or a part of one, that takes null for empty.
struct Lean<T>(T);

/// What stands for null where a visitor wants something.
#[derive(Clone, Copy)]
enum Empty {
    Text,
    Number,
    Bool,
    List,
    Map,
}

/// A visitor that is told of null as of something empty.
struct Take<V> {
    visitor: V,
    empty: Empty,
}

macro_rules! typed {
    ($($method:ident: $empty:ident,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.0.deserialize_any(Take { visitor, empty: Empty::$empty })
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Lean<D> {
    type Error = D::Error;

    /// Whoever takes anything takes null as null.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_ignored_any(visitor)
    }

    typed! {
        deserialize_bool: Bool,
        deserialize_i8: Number,
        deserialize_i16: Number,
        deserialize_i32: Number,
        deserialize_i64: Number,
        deserialize_i128: Number,
        deserialize_u8: Number,
        deserialize_u16: Number,
        deserialize_u32: Number,
        deserialize_u64: Number,
        deserialize_u128: Number,
        deserialize_f32: Number,
        deserialize_f64: Number,
        deserialize_char: Text,
        deserialize_str: Text,
        deserialize_string: Text,
        deserialize_identifier: Text,
        deserialize_seq: List,
        deserialize_map: Map,
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_bytes(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_byte_buf(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_option(Take { visitor, empty: Empty::Map })
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_unit(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_unit_struct(name, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        if name == RAW_VALUE {
            return self.0.deserialize_newtype_struct(name, visitor);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_enum(name, variants, Take { visitor, empty: Empty::Text })
    }
}

/// Forwards what was found as it is.
macro_rules! forward {
    ($($method:ident: $type:ty,)*) => {$(
        fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.visitor.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Take<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.visitor.expecting(f)
    }

    forward! {
        visit_bool: bool,
        visit_i64: i64,
        visit_i128: i128,
        visit_u64: u64,
        visit_u128: u128,
        visit_f64: f64,
        visit_str: &str,
        visit_borrowed_str: &'de str,
        visit_string: String,
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        match self.empty {
            Empty::Text => self.visitor.visit_str(""),
            Empty::Number => self.visitor.visit_u64(0),
            Empty::Bool => self.visitor.visit_bool(false),
            Empty::List => self.visitor.visit_seq(Nothing::<E>::default()),
            Empty::Map => self.visitor.visit_map(Nothing::<E>::default()),
        }
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_some(Lean(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_seq(Lean(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(Lean(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, value: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_enum(value)
    }
}

/// An empty list or map.
struct Nothing<E>(std::marker::PhantomData<E>);

impl<E> Default for Nothing<E> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<'de, E: Error> SeqAccess<'de> for Nothing<E> {
    type Error = E;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, _: S) -> Result<Option<S::Value>, E> {
        Ok(None)
    }
}

impl<'de, E: Error> MapAccess<'de> for Nothing<E> {
    type Error = E;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, _: S) -> Result<Option<S::Value>, E> {
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, _: S) -> Result<S::Value, E> {
        Err(E::custom("an empty map has no values"))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Lean<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Lean(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Lean<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Lean(seed))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Lean<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Lean(from))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(rename_all = "camelCase", default)]
    struct View {
        name: String,
        list: Vec<Inner>,
        labels: BTreeMap<String, String>,
        inner: Inner,
        maybe: Option<Inner>,
        some: Option<Vec<String>>,
        any: Value,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default)]
    struct Inner {
        on: bool,
        count: i32,
        share: f64,
        names: Vec<String>,
        word: Word,
        wrapped: Wrapped,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    struct Wrapped(Vec<String>);

    #[derive(Debug, Default, Deserialize, PartialEq)]
    enum Word {
        #[default]
        One,
        Two,
    }

    fn read(json: &Value) -> View {
        from_slice(json.to_string().as_bytes()).expect("reads")
    }

    #[test]
    fn null_is_empty_at_every_depth() {
        assert_eq!(
            read(
                &json!({"name": null, "list": null, "labels": null, "inner": null, "maybe": null})
            ),
            View::default()
        );
        let inner =
            json!({"on": null, "count": null, "share": null, "names": null, "wrapped": null});
        let deep = read(&json!({"list": [inner, null], "inner": inner, "maybe": inner}));
        let default = || Inner::default();
        assert_eq!(deep.list, [default(), default()]);
        assert_eq!((deep.inner, deep.maybe), (default(), Some(default())));
        let texts = read(&json!({"some": [null, "b"], "labels": {"a": null}}));
        assert_eq!(texts.some, Some(vec![String::new(), "b".into()]));
        assert_eq!(texts.labels["a"], "");
    }

    #[test]
    fn everything_else_is_read_as_ever() {
        let inner = json!({"on": true, "count": -3, "share": 0.5, "names": ["a"], "word": "Two",
            "wrapped": ["w"], "unknown": {"x": [null]}});
        let text = json!({"name": "n", "list": [inner], "labels": {"a": "b"}, "inner": inner,
            "maybe": inner, "some": [], "any": {"kept": null}});
        let lean = read(&text);
        assert_eq!(lean, serde_json::from_value(text).expect("reads"));
        assert_eq!(lean.any, json!({"kept": null}));
        assert!(from_slice::<View>(br#"{"name": 3}"#).is_err());
        assert!(from_slice::<View>(br#"{"name": "n"} x"#).is_err());
        let raw: BTreeMap<String, Box<RawValue>> =
            from_slice(br#"{"a": {"b":null}}"#).expect("raw");
        assert_eq!(raw["a"].get(), r#"{"b":null}"#);
    }
}
