//! Whether a namespace's copy of the certificate authority is there and right.
//!
//! Pure. Not here: requests.

use api::Object;
use api::resource::CONFIG_MAPS;
use serde_json::json;

use crate::action::{Action, Plan};

/// As service account volumes refer to it.
pub const NAME: &str = "kube-root-ca.crt";

const ABOUT: &str = "kubernetes.io/description";
const TEXT: &str = "The certificate authority that vouches for this cluster's API server at its \
                    in-cluster addresses. Not meant for anything else.";

/// Plans for a namespace and the config map it has.
pub fn plan(namespace: &str, active: bool, have: Option<&Object>, ca: &str) -> Plan {
    let mut plan = Plan::default();
    let data = json!({"ca.crt": ca});
    match have {
        _ if !active => {}
        None => plan.push(Action::Create {
            resource: CONFIG_MAPS,
            namespace: namespace.into(),
            object: json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": NAME, "namespace": namespace, "annotations": {ABOUT: TEXT}},
                "data": data,
            }),
        }),
        Some(map) if map.at("data") != Some(&data) || map.annotation(ABOUT).is_none() => {
            // Removes what others have added, too.
            let mut wanted = data;
            let have = map.at("data").and_then(|d| d.as_object()).into_iter().flatten();
            for (key, _) in have.filter(|(k, _)| *k != "ca.crt") {
                wanted[key] = api::Value::Null;
            }
            let patch = json!({"metadata": {"annotations": {ABOUT: TEXT}}, "data": wanted});
            plan.push(Action::patch(&CONFIG_MAPS, namespace, NAME, patch));
        }
        Some(_) => {}
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        crate::golden::run(include_str!("cases.yaml"), |case| {
            let have: Option<Object> = case.role("have");
            plan("a", true, have.as_ref(), "PEM")
        });
    }
}
