//! Table answers of an upstream server, made again from the objects of the same cases.
#![allow(clippy::unwrap_used)] // a test that cannot read its data has failed

use std::collections::HashMap;

use isopod_api::kinds;
use isopod_api::object::Object;
use isopod_api::table::{self, Include};
use serde_json::{Value, json};

mod shared;

/// Columns without their descriptions, which come from elsewhere.
fn columns(table: &Value) -> Vec<Value> {
    let mut columns = table["columnDefinitions"].as_array().cloned().unwrap_or_default();
    for column in &mut columns {
        column.as_object_mut().unwrap().remove("description");
    }
    columns
}

fn kind_of(path: &str) -> Option<&'static kinds::Kind> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let rest =
        if rest.first() == Some(&"namespaces") && rest.len() > 2 { &rest[2..] } else { rest };
    if rest.len() > 2 {
        return None;
    }
    kinds::find(group, version, rest.first()?)
}

#[test]
fn recorded_tables() {
    let Some(dir) = shared::dir() else { return };
    let now = "2024-01-01T00:00:00Z".parse().unwrap();
    let (mut headings, mut rows, mut failed) = (0, 0, Vec::new());
    for area in ["lists", "negotiation", "versions", "versions-all", "rest", "watch"] {
        for case in shared::cases(&dir, area) {
            // What the case's own steps returned, by name, in the latest form seen.
            let mut objects: HashMap<String, Value> = HashMap::new();
            for step in case["steps"].as_array().unwrap() {
                let body = &step["response"]["body"];
                let path = step["request"]["path"].as_str().unwrap();
                if let Some(name) = body["metadata"]["name"].as_str() {
                    objects.insert(name.to_owned(), body.clone());
                }
                for item in body["items"].as_array().into_iter().flatten() {
                    if let Some(name) = item["metadata"]["name"].as_str() {
                        objects.insert(name.to_owned(), item.clone());
                    }
                }
                if body["kind"] != "Table" {
                    continue;
                }
                let Some(kind) = kind_of(path) else { continue };
                let id = case["id"].as_str().unwrap();
                let ours = table::table(kind, &[], Default::default(), Include::None, now);
                headings += 1;
                if columns(&ours) != columns(body) && body["columnDefinitions"] != Value::Null {
                    failed.push(format!(
                        "{id}: columns {:?}\n {:?}",
                        columns(body),
                        columns(&ours)
                    ));
                }
                for row in body["rows"].as_array().into_iter().flatten() {
                    let name = row["object"]["metadata"]["name"].as_str().unwrap_or("");
                    let Some(object) = objects.get(name) else { continue };
                    let stored = kind.stored();
                    if object["apiVersion"] != stored.api_version() {
                        continue;
                    }
                    let object = Object::from_value(object.clone()).unwrap();
                    let mut ours = table::row(kind, &object, now).cells;
                    let mut theirs = row["cells"].as_array().cloned().unwrap_or_default();
                    rows += 1;
                    for (ours, theirs) in ours.iter_mut().zip(theirs.iter_mut()) {
                        let masked =
                            ["<age>", "<async>", "0s", "1s", "<ip>", "<port>", "<unknown>"];
                        if masked.iter().any(|m| theirs == m)
                            || theirs.to_string().contains("<port>")
                        {
                            *ours = json!("-");
                            *theirs = json!("-");
                        }
                    }
                    if ours != theirs {
                        failed.push(format!("{id}: {name}\n {theirs:?}\n {ours:?}"));
                    }
                }
            }
        }
    }
    println!("{headings} tables, {rows} rows");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(headings > 200 && rows > 60);
}
