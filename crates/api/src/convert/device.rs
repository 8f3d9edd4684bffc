//! `resource.k8s.io`: v1beta1 has the fields of an exact request in the request itself, and those
//! of a device in `basic`.

use serde_json::{Map, Value, json};

use crate::object::Object;

const REQUEST: [&str; 7] = [
    "deviceClassName",
    "selectors",
    "allocationMode",
    "count",
    "adminAccess",
    "tolerations",
    "capacity",
];

/// The version of another shape.
const OLD: &str = "v1beta1";

/// Whether a kind has another shape in the other version.
pub fn reshapes(kind: &str, from: &str, to: &str) -> bool {
    let kinds = ["ResourceClaim", "ResourceClaimTemplate", "ResourceSlice"];
    (from == OLD) != (to == OLD) && kinds.contains(&kind)
}

/// Reshapes an object; whether there was anything to do.
pub fn convert(object: &mut Object, from: &str, to: &str) -> bool {
    if !reshapes(object.kind(), from, to) {
        return false;
    }
    let to_old = to == OLD;
    match object.kind() {
        "ResourceClaim" => requests(object.0.get_mut("spec"), to_old),
        "ResourceClaimTemplate" => {
            requests(object.0.get_mut("spec").and_then(|s| s.get_mut("spec")), to_old);
        }
        "ResourceSlice" => devices(object.0.get_mut("spec"), to_old),
        _ => return false,
    }
    true
}

/// The maps of the list under a path.
fn each<'a>(
    root: Option<&'a mut Value>,
    path: &[&str],
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    let list = root.and_then(|root| path.iter().try_fold(root, |value, key| value.get_mut(*key)));
    list.and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

fn requests(spec: Option<&mut Value>, to_old: bool) {
    for request in each(spec, &["devices", "requests"]) {
        if to_old {
            if let Some(Value::Object(exact)) = request.remove("exactly") {
                request.extend(exact);
            }
            continue;
        }
        let mut exact = Map::new();
        for key in REQUEST {
            if let Some(value) = request.remove(key) {
                exact.insert(key.to_owned(), value);
            }
        }
        let empty = |v: &Value| [json!(""), json!(0), Value::Null].contains(v);
        if exact.values().any(|value| !empty(value)) {
            request.insert("exactly".into(), exact.into());
        }
    }
}

fn devices(spec: Option<&mut Value>, to_old: bool) {
    for device in each(spec, &["devices"]) {
        if to_old {
            let name = device.remove("name");
            let basic = std::mem::take(device);
            device.extend(name.map(|name| ("name".to_owned(), name)));
            device.insert("basic".into(), basic.into());
        } else if let Some(Value::Object(basic)) = device.remove("basic") {
            device.extend(basic);
        }
    }
}
