//! Objects for this crate's tests, written as YAML. Not here: anything outside tests.

use std::sync::Arc;

use api::{Card, Entry, Object, Value};
use serde_json::json;

use crate::node::Node;
use crate::pod::Pod;

fn yaml(text: &str) -> Value {
    yaml_serde::from_str(text).expect("test YAML")
}

/// An entry of an object.
pub fn entry(value: Value) -> Arc<Entry> {
    let object = Object::from_value(value).expect("a map");
    let json = serde_json::to_vec(&object).expect("JSON").into();
    Arc::new(Entry { revision: 1, card: Card::of(&object, &["spec.nodeName"]), json })
}

/// A pod in namespace `default` with that spec and the label `app: NAME`'s first letter.
pub fn pod(name: &str, spec: &str) -> Arc<Pod> {
    let value = json!({
        "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}"),
            "labels": {"app": &name[..1]}},
        "spec": yaml(spec),
    });
    Arc::new(Pod::read(entry(value)).expect("a pod"))
}

/// A node with 4 CPUs, 8 GiB and room for 10 pods; `extra` is merged into the object.
pub fn node(name: &str, extra: &str) -> Node {
    let mut value = json!({
        "metadata": {"name": name, "uid": format!("uid-{name}"),
            "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}},
    });
    merge(&mut value, &yaml(extra));
    Node::read(entry(value)).expect("a node")
}

fn merge(base: &mut Value, extra: &Value) {
    match (base, extra) {
        (Value::Object(base), Value::Object(extra)) => {
            for (key, value) in extra {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, extra) => *base = extra.clone(),
    }
}
