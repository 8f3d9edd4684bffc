//! `tables/schema.txt`: every type with its fields, out of `types.json` and `facts/shapes.txt`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

const HEAD: &str = "\
# Made by `cargo run -p xtask -- gen`; do not edit. Read by api::schema.
# P package; T type attributes; then a field a line: name type attributes.
# Types: s string, i int32, l int64, d double, b bool, y bytes, t time, m micro time, q quantity,
#   x int or string, r raw object, v field set, j any JSON, B A S schema or bool, array, strings;
#   .Name a type of the package, &name any type; [] list, {} map.
# Attributes: =n protobuf number (=a/b inside an inlined message); flags * has presence, ! written
#   when empty, ~ nested value, ? left out when zero, + required, ^ protobuf wraps the list,
#   - published without text of its own, 0 published with a zero default;
#   the rest are key=value.
";

/// Types that are one JSON scalar, or that no table can say, by their letter.
const SPECIAL: [(&str, char); 10] = [
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Time", 't'),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime", 'm'),
    ("io.k8s.apimachinery.pkg.api.resource.Quantity", 'q'),
    ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", 'x'),
    ("io.k8s.apimachinery.pkg.runtime.RawExtension", 'r'),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1", 'v'),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON", 'j'),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool", 'B'),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray", 'A'),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray", 'S'),
];

#[derive(Default, Clone)]
struct Shape {
    flags: String,
    path: String,
    go: String,
}

/// The text of the table.
pub fn table(shared: &Path, facts: &Path) -> Result<String> {
    let types = super::json(shared.join("types.json"))?;
    let types = types["types"].as_object().context("types.json: no types")?;
    let published = published(shared)?;
    let mut shapes: HashMap<String, HashMap<String, Shape>> = HashMap::new();
    for line in super::fact_lines(facts, "shapes.txt")? {
        let (name, tokens) = line.split_once(' ').context("shapes.txt: a type without fields")?;
        let shape = tokens.split(' ').map(read_shape).collect();
        shapes.insert(name.to_owned(), shape);
    }

    let mut packages: BTreeMap<&str, BTreeMap<&str, &Value>> = BTreeMap::new();
    for (name, facts) in types {
        let (package, short) = name.rsplit_once('.').context("a type without a package")?;
        packages.entry(package).or_default().insert(short, facts);
    }
    let mut out = HEAD.to_owned();
    for (package, types) in packages {
        writeln!(out, "P {package}")?;
        for (short, facts) in types {
            let name = format!("{package}.{short}");
            if SPECIAL.iter().any(|(special, _)| *special == name) {
                continue;
            }
            let none = HashMap::new();
            let shape = shapes.get(&name).unwrap_or(&none);
            one(&mut out, package, short, facts, shape, &published)?;
        }
    }
    for line in super::fact_lines(facts, "extra-types.txt")? {
        writeln!(out, "{line}")?;
    }
    Ok(out)
}

fn one(
    out: &mut String,
    package: &str,
    short: &str,
    facts: &Value,
    shapes: &HashMap<String, Shape>,
    published: &Published,
) -> Result<()> {
    write!(out, "T {short}")?;
    if let Some(gvk) = facts["gvk"].as_array() {
        let names: Vec<String> = gvk
            .iter()
            .map(|g| {
                let part = |i: usize| g[i].as_str().unwrap_or("");
                format!("{}/{}/{}", part(0), part(1), part(2))
            })
            .collect();
        write!(out, " gvk={}", names.join(","))?;
    } else if facts["gvk"] == "all" {
        write!(out, " gvk=all")?;
    }
    if let Some(map) = facts["map-type"].as_str() {
        write!(out, " map={map}")?;
    }
    if !facts["unions"].is_null() {
        write!(out, " unions={}", facts["unions"])?;
    }
    out.push('\n');
    let required: Vec<&str> =
        facts["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (field, f) in facts["fields"].as_object().into_iter().flatten() {
        let shape = shapes.get(field).cloned().unwrap_or_default();
        let code = code(package, f["type"].as_str().context("a field without a type")?)?;
        write!(out, "{field} {code}")?;
        match f["proto"].as_u64() {
            _ if !shape.path.is_empty() => write!(out, " ={}", shape.path)?,
            Some(number) => write!(out, " ={number}")?,
            None if field == "apiVersion" || field == "kind" => {}
            None if package.ends_with(".version") => {}
            None => bail!("{package}.{short}.{field}: no protobuf number"),
        }
        let key = (format!("{package}.{short}"), field.clone());
        let bare = if published.bare.contains(&key) { "-" } else { "" };
        let default = published.defaults.get(&key);
        // The zero of what is always written goes without saying.
        let implied = shape.flags.contains('!') && !shape.flags.contains('*');
        let zero = if default.is_some_and(is_zero) && !implied { "0" } else { "" };
        // A list that protobuf wraps in a message of its own.
        let wrapped = if f["prototype"] == "Verbs" { "^" } else { "" };
        let plus = if required.contains(&field.as_str()) { "+" } else { "" };
        if !shape.flags.is_empty()
            || !plus.is_empty()
            || !wrapped.is_empty()
            || !bare.is_empty()
            || !zero.is_empty()
        {
            write!(out, " {}{wrapped}{bare}{zero}{plus}", shape.flags)?;
        }
        if let Some(list) = f["list-type"].as_str() {
            write!(out, " list={list}")?;
        }
        if let Some(keys) = f["list-map-keys"].as_array() {
            let keys: Vec<&str> = keys.iter().filter_map(Value::as_str).collect();
            write!(out, " keys={}", keys.join(","))?;
        }
        if let Some(map) = f["map-type"].as_str() {
            write!(out, " map={map}")?;
        }
        if let Some(patch) = f["patch-strategy"].as_str() {
            write!(out, " patch={patch}")?;
        }
        if let Some(key) = f["patch-merge-key"].as_str() {
            write!(out, " merge={key}")?;
        }
        if let Some(default) = default.filter(|d| !is_zero(d)) {
            write!(out, " default={default}")?;
        }
        if !shape.go.is_empty() {
            write!(out, " go={}", shape.go)?;
        }
        out.push('\n');
    }
    Ok(())
}

/// What only the published documents say: defaults other than a type's own zero, and references that
/// carry nothing of their own.
#[derive(Default)]
struct Published {
    defaults: HashMap<(String, String), Value>,
    bare: HashSet<(String, String)>,
}

fn is_zero(default: &Value) -> bool {
    ["".into(), 0.into(), false.into()].contains(default)
}

fn published(shared: &Path) -> Result<Published> {
    let mut found = Published::default();
    let zeros = [Value::Null, serde_json::json!({})];
    for entry in std::fs::read_dir(shared.join("openapi/v3"))? {
        let document = super::json(entry?.path())?;
        for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
            for (field, f) in schema["properties"].as_object().into_iter().flatten() {
                let key = (name.clone(), field.clone());
                if !zeros.contains(&f["default"]) {
                    found.defaults.insert(key.clone(), f["default"].clone());
                }
                if !f["$ref"].is_null() {
                    found.bare.insert(key);
                }
            }
        }
    }
    Ok(found)
}

fn read_shape(token: &str) -> (String, Shape) {
    let rest = token.trim_start_matches(['*', '!', '~', '?']);
    let flags = token[..token.len() - rest.len()].to_owned();
    let (rest, go) = rest.split_once('=').unwrap_or((rest, ""));
    let (name, path) = rest.split_once('@').unwrap_or((rest, ""));
    (name.to_owned(), Shape { flags, path: path.to_owned(), go: go.to_owned() })
}

fn code(package: &str, of: &str) -> Result<String> {
    if let Some(item) = of.strip_prefix("[]") {
        return Ok(format!("[]{}", code(package, item)?));
    }
    if let Some(item) = of.strip_prefix("map:") {
        return Ok(format!("{{}}{}", code(package, item)?));
    }
    if let Some((_, letter)) = SPECIAL.iter().find(|(name, _)| *name == of) {
        return Ok(letter.to_string());
    }
    Ok(match of {
        "string" => "s".into(),
        "string:byte" => "y".into(),
        "integer:int32" => "i".into(),
        "integer:int64" => "l".into(),
        "number:double" => "d".into(),
        "boolean" => "b".into(),
        _ => match of.rsplit_once('.') {
            Some((owner, short)) if owner == package => format!(".{short}"),
            Some(_) => format!("&{of}"),
            None => bail!("unknown type {of}"),
        },
    })
}
