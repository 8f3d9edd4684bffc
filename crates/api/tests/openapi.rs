//! OpenAPI documents against those of an upstream server with everything switched on, up to order
//! and descriptions.
#![allow(clippy::unwrap_used)] // a test that cannot read its data has failed

use isopod_api::discovery;
use isopod_api::openapi;
use serde_json::{Map, Value};

mod shared;

/// Descriptions out; lists whose order says nothing sorted; shared parameters in place.
fn plain(value: &Value, parameters: &Map<String, Value>) -> Value {
    match value {
        Value::Object(map) => {
            let reference = map.get("$ref").and_then(Value::as_str).unwrap_or("");
            if let Some(name) = reference.strip_prefix("#/parameters/") {
                return plain(&parameters[name], parameters);
            }
            let mut out = Map::new();
            for (key, value) in map {
                if key == "description" && value.is_string() {
                    continue;
                }
                let mut value = plain(value, parameters);
                let unordered = ["parameters", "required", "x-kubernetes-group-version-kind"];
                if let (true, Value::Array(items)) = (unordered.contains(&key.as_str()), &mut value)
                {
                    items.sort_by_key(Value::to_string);
                }
                out.insert(key.clone(), value);
            }
            Value::Object(out)
        }
        Value::Array(items) => items.iter().map(|item| plain(item, parameters)).collect(),
        other => other.clone(),
    }
}

fn differences(path: &str, theirs: &Value, ours: &Value, found: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))) {
                let path = format!("{path} > {key}");
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => differences(&path, a, b, found),
                    (Some(a), None) => found.push(format!("{path}: missing {a}")),
                    (None, Some(b)) => found.push(format!("{path}: surplus {b}")),
                    (None, None) => {}
                }
            }
        }
        (a, b) if a == b => {}
        (a, b) => found.push(format!("{path}: theirs {a} ours {b}")),
    }
}

fn check(found: Vec<String>) {
    for line in found.iter().take(40) {
        let end = line.char_indices().nth(600).map_or(line.len(), |(at, _)| at);
        println!("{}", &line[..end]);
    }
    assert!(found.is_empty(), "{} differences", found.len());
}

#[test]
fn version_3() {
    let Some(dir) = shared::dir() else { return };
    let none = Map::new();
    let (mut found, mut seen) = (Vec::new(), 0);
    for entry in std::fs::read_dir(dir.join("openapi/v3")).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_str().unwrap();
        let path = name.strip_suffix("_openapi.json").unwrap().replace("__", "/");
        let theirs = plain(&shared::json(&file), &none);
        let Some(ours) = openapi::v3_document(&path) else {
            found.push(format!("{path}: no document"));
            continue;
        };
        differences(&path, &theirs, &plain(&ours, &none), &mut found);
        seen += 1;
    }
    assert!(seen > 50);
    check(found);
}

#[test]
fn version_2() {
    let Some(dir) = shared::dir() else { return };
    let mut theirs = shared::json(dir.join("openapi/swagger.json"));
    let parameters = theirs["parameters"].as_object().unwrap().clone();
    theirs.as_object_mut().unwrap().remove("parameters");
    let theirs = plain(&theirs, &parameters);
    let ours = plain(&openapi::v2(|_| true), &Map::new());
    let mut found = Vec::new();
    differences("", &theirs, &ours, &mut found);
    check(found);
}

#[test]
fn the_index_names_documents_that_exist() {
    let index = openapi::v3_index(&discovery::builtin(|kind| kind.default_served));
    let paths = index["paths"].as_object().unwrap();
    assert!(paths.len() > 40);
    for (path, entry) in paths {
        let url = entry["serverRelativeURL"].as_str().unwrap();
        assert!(url.starts_with(&format!("/openapi/v3/{path}?hash=")));
        assert!(openapi::v3_document(path).is_some(), "{path}");
    }
    assert!(openapi::v3_document("apis/nope/v1").is_none());
}
