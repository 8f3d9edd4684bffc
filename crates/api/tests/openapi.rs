//! OpenAPI documents against those of an upstream server with everything switched on, up to order
//! and descriptions.
#![allow(clippy::unwrap_used)] // a test that cannot read its data has failed

use isopod_api::kinds::{self, Kind};
use isopod_api::openapi::{Documents, Given};
use serde_json::{Map, Value};

mod shared;

/// Descriptions out; lists whose order says nothing sorted.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut out = Map::new();
            for (key, value) in map {
                if key == "description" && value.is_string() {
                    continue;
                }
                let mut value = plain(value);
                let unordered = ["parameters", "required", "x-kubernetes-group-version-kind"];
                if let (true, Value::Array(items)) = (unordered.contains(&key.as_str()), &mut value)
                {
                    items.sort_by_key(Value::to_string);
                }
                out.insert(key.clone(), value);
            }
            Value::Object(out)
        }
        Value::Array(items) => items.iter().map(plain).collect(),
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

fn documents<'a>(kinds: &[&'a Kind]) -> Documents<'a> {
    Documents::new(kinds.iter().copied(), Given::NONE)
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
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
    let kinds: Vec<&Kind> = kinds::all().iter().collect();
    let documents = documents(&kinds);
    let (mut found, mut seen) = (Vec::new(), 0);
    for entry in std::fs::read_dir(dir.join("openapi/v3")).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_str().unwrap();
        let path = name.strip_suffix("_openapi.json").unwrap().replace("__", "/");
        let theirs = plain(&shared::json(&file));
        let Some(ours) = documents.v3(&path) else {
            found.push(format!("{path}: no document"));
            continue;
        };
        differences(&path, &theirs, &plain(&parsed(&ours)), &mut found);
        seen += 1;
    }
    assert!(seen > 50);
    check(found);
}

#[test]
fn version_2() {
    let Some(dir) = shared::dir() else { return };
    let kinds: Vec<&Kind> = kinds::all().iter().collect();
    let theirs = plain(&shared::json(dir.join("openapi/swagger.json")));
    let ours = plain(&parsed(&documents(&kinds).v2_json()));
    let mut found = Vec::new();
    differences("", &theirs, &ours, &mut found);
    check(found);
}

#[test]
fn the_index_names_documents_that_exist() {
    let kinds: Vec<&Kind> = kinds::all().iter().filter(|kind| kind.default_served).collect();
    let documents = documents(&kinds);
    let index = documents.index();
    let paths = index["paths"].as_object().unwrap();
    assert!(paths.len() > 40);
    for (path, entry) in paths {
        let url = entry["serverRelativeURL"].as_str().unwrap();
        assert!(url.starts_with(&format!("/openapi/v3/{path}?hash=")));
        assert!(documents.v3(path).is_some(), "{path}");
    }
    assert!(documents.v3("apis/nope/v1").is_none());
    assert!(documents.v3("apis/resource.k8s.io/v1beta1").is_none());
}

/// Descriptions of types, fields and operations are upstream's, too; those of lists, which have one
/// rule here, and of parameters are our own.
#[test]
fn descriptions() {
    let Some(dir) = shared::dir() else { return };
    let kinds: Vec<&Kind> = kinds::all().iter().collect();
    let theirs = shared::json(dir.join("openapi/swagger.json"));
    let ours = parsed(&documents(&kinds).v2_json());
    let (mut found, mut same) = (Vec::new(), 0);
    let mut compare = |path: String, theirs: &Value, ours: &Value| {
        let (theirs, ours) = (&theirs["description"], &ours["description"]);
        match theirs == ours {
            true => same += 1,
            false => found.push(format!("{path}: theirs {theirs} ours {ours}")),
        }
    };
    for (name, theirs) in theirs["definitions"].as_object().unwrap() {
        if name.ends_with("List") && !name.ends_with("APIGroupList") {
            continue;
        }
        let ours = &ours["definitions"][name];
        compare(name.clone(), theirs, ours);
        for (field, theirs) in theirs["properties"].as_object().into_iter().flatten() {
            compare(format!("{name} {field}"), theirs, &ours["properties"][field]);
        }
    }
    for (path, theirs) in theirs["paths"].as_object().unwrap() {
        for (method, theirs) in theirs.as_object().unwrap() {
            compare(format!("{path} {method}"), theirs, &ours["paths"][path][method]);
        }
    }
    println!("{same} descriptions are the same");
    assert!(same > 4000);
    check(found);
}
