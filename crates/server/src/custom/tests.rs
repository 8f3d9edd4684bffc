//! The table of definitions, over a store.

use api::{Key, Object, codec, kinds};
use serde_json::json;
use store::{Change, Expect, Write};

use super::*;

fn definition(i: usize, note: &str) -> Object {
    let group = format!("group-{}.example.com", i % 4);
    let names = json!({"plural": format!("things{i}"), "singular": format!("thing{i}"),
        "kind": format!("Thing{i}"), "listKind": format!("Thing{i}List")});
    let is = |condition: &str| json!({"type": condition, "status": "True"});
    Object::from_value(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("things{i}.{group}"), "uid": i.to_string(),
            "annotations": {"note": note}},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [
            {"name": "v1", "served": true, "storage": true,
             "schema": {"openAPIV3Schema": {"type": "object"}}}]},
        "status": {"acceptedNames": names, "conditions": [is("NamesAccepted"), is("Established")]},
    }))
    .expect("a map")
}

fn key(object: &Object) -> Key {
    Key::new(DEFINITIONS, "", object.name())
}

async fn put(store: &Store, object: &Object) {
    let encoded = codec::json::encode_for_store(object);
    let kind = kinds::by_kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let card = kind.expect("known").card(object);
    let change = Change::Put { bytes: encoded.bytes, rv_at: encoded.rv_at, card };
    let write = Write { key: key(object), expect: Expect::Any, change };
    store.commit(write).await.expect("committed");
}

async fn remove(store: &Store, object: &Object) {
    let encoded = codec::json::encode_for_store(object);
    let change = Change::Delete { bytes: encoded.bytes, rv_at: encoded.rv_at };
    let write = Write { key: key(object), expect: Expect::Any, change };
    store.commit(write).await.expect("committed");
}

async fn world(count: usize) -> (Store, Customs) {
    let store = Store::memory();
    for i in 0..count {
        put(&store, &definition(i, "")).await;
    }
    let customs = Customs::new(&store, &Rng::seeded(1));
    (store, customs)
}

#[tokio::test]
async fn a_change_costs_what_changed() {
    let (store, customs) = world(40).await;
    let before = customs.table();
    assert_eq!(before.definitions().count(), 40);
    put(&store, &definition(5, "changed")).await;
    let after = customs.table();
    for i in 0..40 {
        let name = format!("things{i}.group-{}.example.com", i % 4);
        let (old, new) = (before.get(&name).expect("there"), after.get(&name).expect("there"));
        assert_eq!(Arc::ptr_eq(old, new), i != 5, "{name} is read again only where it changed");
    }
    for i in 0..4 {
        let name = format!("group-{i}.example.com");
        let (old, new) = (before.group(&name).expect("there"), after.group(&name).expect("there"));
        assert_eq!(Arc::ptr_eq(old, new), i != 1, "{name}");
    }
}

#[tokio::test]
async fn the_table_is_not_copied_while_nobody_reads_it() {
    let (store, customs) = world(4).await;
    let at = Arc::as_ptr(&customs.table());
    for i in 0..8 {
        put(&store, &definition(i, "changed")).await;
        assert!(
            customs
                .find(&format!("group-{}.example.com", i % 4), "v1", &format!("things{i}"))
                .is_some()
        );
    }
    assert!(std::ptr::eq(at, Arc::as_ptr(&customs.table())));
}

#[tokio::test]
async fn schemas_are_read_when_they_are_needed() {
    let (store, customs) = world(8).await;
    put(&store, &definition(3, "changed")).await;
    let custom = customs.find("group-3.example.com", "v1", "things3").expect("served");
    let table = customs.table();
    let read = || table.definitions().flat_map(|d| &d.versions).filter(|v| v.is_read()).count();
    assert_eq!(read(), 0);
    let object = json!({"apiVersion": "group-3.example.com/v1", "kind": "Thing3", "unknown": 1,
        "metadata": {"name": "a"}});
    let mut object = Object::from_value(object).expect("a map");
    assert_eq!(custom.conform(&mut object).expect("in order"), ["unknown"]);
    assert_eq!(read(), 1);
}

#[tokio::test]
async fn groups_follow_their_definitions() {
    let (store, customs) = world(5).await;
    assert_eq!(customs.table().groups().count(), 4);
    assert_eq!(customs.table().versions("group-0.example.com"), ["v1"]);
    remove(&store, &definition(0, "")).await;
    assert!(customs.find("group-0.example.com", "v1", "things0").is_none());
    // The other of the group is still there.
    assert_eq!(customs.table().versions("group-0.example.com"), ["v1"]);
    let freed = customs.table().group("group-0.example.com").expect("there").freed;
    assert_eq!(freed, 1);

    let mut waits = definition(4, "");
    waits.map_mut("status").insert("conditions".into(), json!([]));
    put(&store, &waits).await;
    let table = customs.table();
    let group = table.group("group-0.example.com").expect("there");
    assert!(table.versions("group-0.example.com").is_empty(), "nothing is served");
    assert!(table.groups().all(|name| name != "group-0.example.com"));
    assert_eq!(group.waiting.len(), 1);
    assert_eq!(group.freed, 1, "it keeps its names");
    remove(&store, &waits).await;
    assert!(customs.table().group("group-0.example.com").is_none());
    let retired = table.get(waits.name()).expect("there");
    assert!(retired.retired.is_cancelled());
}

#[tokio::test]
async fn old_objects_are_looked_at_once() {
    let (store, customs) = world(1).await;
    let find = || customs.find("group-0.example.com", "v1", "things0").expect("served");
    let object = |name: &str, size: &str| {
        let spec = json!({"spec": {size: 1}, "apiVersion": "group-0.example.com/v1",
            "kind": "Thing0", "metadata": {"name": name, "namespace": "a"}});
        Object::from_value(spec).expect("a map")
    };
    for (name, size) in [("kept", "size"), ("pruned", "weight")] {
        let object = object(name, size);
        let encoded = codec::json::encode_for_store(&object);
        let card = api::Card::of(&object, &[]);
        let change = Change::Put { bytes: encoded.bytes, rv_at: encoded.rv_at, card };
        let key = Key::new("things0.group-0.example.com", "a", name);
        store.commit(Write { key, expect: Expect::Any, change }).await.expect("committed");
    }
    let mut changed = definition(0, "");
    let spec = json!({"type": "object", "properties": {"size": {"type": "integer"}}});
    changed.map_mut("spec").insert(
        "versions".into(),
        json!([
        {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
            {"type": "object", "properties": {"spec": spec}}}}]),
    );
    put(&store, &changed).await;

    let cache = store.resource("things0.group-0.example.com");
    let entry = |name: &str| cache.get("a", name).expect("there");
    let custom = find();
    assert!(custom.is_verbatim(&entry("kept")), "what the change leaves alone is copied again");
    assert!(!custom.is_verbatim(&entry("pruned")));
    let read = custom.read(&entry("pruned"), None).expect("reads");
    assert_eq!(read.at("spec"), Some(&json!({})));
    // What was found stays known as long as the definition asks for the same form.
    changed.set_meta("labels", json!({"a": "b"}));
    put(&store, &changed).await;
    let again = find();
    assert!(!Arc::ptr_eq(&again.served, &custom.served));
    assert_eq!(again.served.looked_at.read().len(), 2);
    put(&store, &definition(0, "")).await;
    assert!(find().served.looked_at.read().is_empty());
}
