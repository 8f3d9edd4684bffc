//! The objects of a fresh cluster against recordings of upstream's.

use std::path::{Path, PathBuf};

use api::clock::{Clock, Rng};
use isopod_server::bootstrap::{self, Facts};
use serde_json::Value;
use store::Store;

/// The recordings, where they are at hand.
fn oracle() -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = here
        .ancestors()
        .map(|dir| dir.join("shared/kubernetes-1.36/oracle"))
        .chain(here.ancestors().map(|dir| dir.join("../shared/kubernetes-1.36/oracle")))
        .find(|dir| dir.is_dir());
    if found.is_none() {
        println!("skipped: no shared/kubernetes-1.36 beside the project");
    }
    found
}

/// What differs from one server to the next.
fn masked(mut object: Value) -> Value {
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for key in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
            meta.remove(key);
        }
    }
    let kind = object["kind"].as_str().unwrap_or("").to_owned();
    if let Some(map) = object.as_object_mut() {
        // Written by loops inside the server at any moment.
        if ["FlowSchema", "ServiceCIDR"].contains(&&*kind) {
            map.remove("status");
        }
        map.remove("kind");
        map.remove("apiVersion");
    }
    object
}

#[tokio::test]
async fn a_fresh_cluster_holds_what_upstream_holds() {
    let Some(dir) = oracle() else { return };
    let store = Store::memory();
    let facts = Facts {
        advertise_address: [192, 0, 2, 1].into(),
        secure_port: 6443,
        service_cidrs: vec!["10.97.0.0/16".into()],
        service_ip: [10, 97, 0, 1].into(),
        client_ca: String::new(),
        front_proxy_ca: String::new(),
        api_versions: Vec::new(),
    };
    bootstrap::run(&store, &facts, &Clock::system(), &Rng::seeded(1)).await.expect("written");
    let text = std::fs::read_to_string(dir.join("auth.jsonl")).expect("readable");
    let mut compared = 0;
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).expect("JSON");
        if !case["id"].as_str().is_some_and(|id| id.starts_with("auth/bootstrap-")) {
            continue;
        }
        for step in case["steps"].as_array().into_iter().flatten() {
            let path = step["request"]["path"].as_str().unwrap_or("");
            let body = &step["response"]["body"];
            if step["request"]["method"] != "GET" {
                continue;
            }
            let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
            let (group, rest) = match parts.as_slice() {
                ["api", _, rest @ ..] => ("", rest),
                ["apis", group, _, rest @ ..] => (*group, rest),
                _ => continue,
            };
            let (namespace, plural, name) = match rest {
                ["namespaces", namespace, plural] => (*namespace, *plural, None),
                ["namespaces", namespace, plural, name] => (*namespace, *plural, Some(*name)),
                [plural, name] => ("", *plural, Some(*name)),
                _ => continue,
            };
            let cache = store.resource(&api::resource::qualified(group, plural));
            let read = |entry: &api::Entry| masked(entry.decode().expect("JSON"));
            let (ours, theirs) = match name {
                Some(name) => {
                    let found = cache.get(namespace, name);
                    if body["kind"] == "Status" {
                        assert!(found.is_none(), "{path} is there");
                        continue;
                    }
                    let found = found.unwrap_or_else(|| panic!("{path} is missing"));
                    (read(&found), masked(body.clone()))
                }
                None => {
                    let ours: Vec<Value> =
                        cache.list(Some(namespace)).iter().map(|e| read(e)).collect();
                    let items = body["items"].as_array().cloned().unwrap_or_default();
                    let theirs: Vec<Value> = items.into_iter().map(masked).collect();
                    (ours.into(), theirs.into())
                }
            };
            assert_eq!(ours, theirs, "{path}");
            compared += 1;
        }
    }
    assert!(compared > 80, "only {compared} objects were compared");
}
