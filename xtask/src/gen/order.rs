//! `tables/order.txt`: the types whose fields upstream prints otherwise than in the order of their
//! protobuf numbers, out of the fully populated objects in `roundtrip/`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::Value;

const HEAD: &str = "\
# Made by `cargo run -p xtask -- gen`; do not edit. Read by api::schema.
# Types whose fields print otherwise than by protobuf number, with the fields in order.
";

/// JSON whose maps keep their order.
enum Node {
    Map(Vec<(String, Node)>),
    List(Vec<Node>),
    Scalar,
}

/// The text of the table.
pub fn table(shared: &Path) -> Result<String> {
    let types = super::json(shared.join("types.json"))?;
    let types = types["types"].as_object().context("types.json: no types")?;
    let mut roots = BTreeMap::new();
    for (name, facts) in types {
        for gvk in facts["gvk"].as_array().into_iter().flatten() {
            let part = |i: usize| gvk[i].as_str().unwrap_or("");
            let version = [part(0), part(1)].join("/");
            roots.insert(format!("{} {}", version.trim_start_matches('/'), part(2)), name);
        }
    }
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let dir = shared.join("roundtrip");
    let mut files: Vec<_> = std::fs::read_dir(&dir)?.filter_map(|f| Some(f.ok()?.path())).collect();
    files.sort();
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "json")) {
        let text = std::fs::read(file).with_context(|| file.display().to_string())?;
        let plain: Value = serde_json::from_slice(&text)?;
        let text_of = |key: &str| plain[key].as_str().unwrap_or("").to_owned();
        let key = format!("{} {}", text_of("apiVersion"), text_of("kind"));
        if let Some(root) = roots.get(&key) {
            walk(types, root, &serde_json::from_slice(&text)?, &mut found);
        }
    }
    let mut out = HEAD.to_owned();
    for (name, fields) in found {
        let number = |field: &String| types[name]["fields"][field]["proto"].as_u64();
        if !fields.is_sorted_by_key(|field| number(field).unwrap_or(u64::MAX)) {
            out += &format!("{name} {}\n", fields.join(" "));
        }
    }
    Ok(out)
}

/// Notes the order of the fields of every type below a value.
fn walk<'t>(
    types: &'t serde_json::Map<String, Value>,
    ty: &'t str,
    node: &Node,
    found: &mut BTreeMap<&'t str, Vec<String>>,
) {
    match (node, ty.strip_prefix("[]"), ty.strip_prefix("map[string]")) {
        (Node::List(items), Some(inner), _) => {
            items.iter().for_each(|item| walk(types, inner, item, found));
        }
        (Node::Map(entries), _, Some(inner)) => {
            entries.iter().for_each(|(_, value)| walk(types, inner, value, found));
        }
        (Node::Map(entries), None, None) => {
            let Some((name, facts)) = types.get_key_value(ty) else { return };
            let mut order = Vec::new();
            for (key, value) in entries {
                let Some(inner) = facts["fields"][key]["type"].as_str() else { continue };
                if !["apiVersion", "kind"].contains(&key.as_str()) {
                    order.push(key.clone());
                }
                walk(types, inner, value, found);
            }
            let known = found.entry(name).or_default();
            if known.len() < order.len() {
                *known = order;
            }
        }
        _ => {}
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Node::Map(entries))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Node::List(items))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_str<E>(self, _: &str) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Scalar)
            }
        }
        deserializer.deserialize_any(Read)
    }
}
