//! Which nodes may read what: objects that the pods bound to a node refer to.
//!
//! Only references are kept, counted per node; the pods themselves stay in the watch cache, and an
//! event carries what they were before. Not here: the rules (`node`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use api::Entry;
use parking_lot::RwLock;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

/// What a node can be related to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Thing {
    Secret,
    ConfigMap,
    ServiceAccount,
    Claim,
    Volume,
    ResourceClaim,
    Attachment,
    Slice,
    CertificateRequest,
}

type Place = (Thing, Box<str>, Box<str>);

#[derive(Default)]
struct State {
    /// Nodes by what their pods refer to, counted.
    grants: HashMap<Place, HashMap<Arc<str>, u32>>,
    /// What a persistent volume leads on to: its claim, and the secrets it needs.
    volumes: HashMap<Box<str>, (Place, Vec<Place>)>,
    /// Volumes by the secrets they need.
    by_secret: HashMap<Place, HashSet<Box<str>>>,
}

/// The graph.
#[derive(Default)]
pub struct Graph(RwLock<State>);

impl Graph {
    /// Forgets everything.
    pub fn clear(&self) {
        *self.0.write() = State::default();
    }

    /// Whether a thing is related to a node.
    pub fn related(&self, node: &str, thing: Thing, namespace: &str, name: &str) -> bool {
        let state = self.0.read();
        if thing == Thing::Volume {
            return state.volume_related(node, name);
        }
        let place = (thing, namespace.into(), name.into());
        state.granted(node, &place)
            || (thing == Thing::Secret
                && state
                    .by_secret
                    .get(&place)
                    .is_some_and(|all| all.iter().any(|v| state.volume_related(node, v))))
    }

    /// A pod was written or deleted; `before` is what it was.
    pub fn pod(&self, before: Option<&Entry>, after: Option<&Entry>) {
        fn node(entry: Option<&Entry>) -> &str {
            entry.and_then(|e| e.card.field("spec.nodeName")).unwrap_or("")
        }
        let (old, new) = (node(before), node(after));
        // References are fixed once a pod is bound, so an update of a bound pod changes nothing.
        if old == new && before.is_some() == after.is_some() {
            return;
        }
        for (entry, node, add) in [(before, old, false), (after, new, true)] {
            let (Some(entry), false) = (entry, node.is_empty()) else { continue };
            let Ok(pod) = entry.decode::<PodView>() else { continue };
            let refs = pod.places(&entry.card.namespace, &entry.card.name);
            self.count(node, refs, add);
        }
    }

    /// A thing that belongs to one node by its own spec was written or deleted.
    pub fn owned(&self, thing: Thing, before: Option<&Entry>, after: Option<&Entry>, field: &str) {
        for (entry, add) in [(before, false), (after, true)] {
            let Some(entry) = entry else { continue };
            let Ok(object) = entry.object() else { continue };
            let Some(node) = object.text(field).filter(|n| !n.is_empty()) else { continue };
            let place = (thing, (*entry.card.namespace).into(), (*entry.card.name).into());
            self.count(node, HashSet::from([place]), add);
        }
    }

    /// A persistent volume was written or deleted.
    pub fn volume(&self, name: &str, after: Option<&Entry>) {
        let mut state = self.0.write();
        if let Some((_, secrets)) = state.volumes.remove(name) {
            for secret in secrets {
                if let Some(all) = state.by_secret.get_mut(&secret) {
                    all.remove(name);
                    if all.is_empty() {
                        state.by_secret.remove(&secret);
                    }
                }
            }
        }
        let Some(object) = after.and_then(|e| e.object().ok()) else { return };
        let (Some(namespace), Some(claim)) =
            (object.text("spec.claimRef.namespace"), object.text("spec.claimRef.name"))
        else {
            return;
        };
        let mut secrets = Vec::new();
        if let Some(Value::Object(spec)) = object.at("spec") {
            for (kind, source) in spec {
                for key in SECRET_KEYS {
                    let Some(secret) = source.get(key).filter(|_| kind != "claimRef") else {
                        continue;
                    };
                    let home = secret
                        .get("namespace")
                        .or_else(|| source.get("secretNamespace"))
                        .and_then(Value::as_str)
                        .unwrap_or(namespace);
                    let name = secret.as_str().or_else(|| secret.get("name")?.as_str());
                    secrets.extend(name.map(|n| (Thing::Secret, Box::from(home), Box::from(n))));
                }
            }
        }
        for secret in &secrets {
            state.by_secret.entry(secret.clone()).or_default().insert(name.into());
        }
        let claim = (Thing::Claim, namespace.into(), claim.into());
        state.volumes.insert(name.into(), (claim, secrets));
    }

    fn count(&self, node: &str, places: HashSet<Place>, add: bool) {
        let mut state = self.0.write();
        for place in places {
            if add {
                *state.grants.entry(place).or_default().entry(node.into()).or_default() += 1;
                continue;
            }
            let Some(nodes) = state.grants.get_mut(&place) else { continue };
            if let Some(count) = nodes.get_mut(node) {
                *count -= 1;
                if *count == 0 {
                    nodes.remove(node);
                }
            }
            if nodes.is_empty() {
                state.grants.remove(&place);
            }
        }
    }
}

impl State {
    fn granted(&self, node: &str, place: &Place) -> bool {
        self.grants.get(place).is_some_and(|nodes| nodes.contains_key(node))
    }

    fn volume_related(&self, node: &str, name: &str) -> bool {
        self.volumes.get(name).is_some_and(|(claim, _)| self.granted(node, claim))
    }
}

/// Where volume sources name a secret: by reference, or (azureFile) by name.
const SECRET_KEYS: [&str; 7] = [
    "secretRef",
    "secretName",
    "nodePublishSecretRef",
    "nodeStageSecretRef",
    "nodeExpandSecretRef",
    "controllerExpandSecretRef",
    "controllerPublishSecretRef",
];

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    name: Option<Box<str>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodView {
    metadata: MetaView,
    spec: SpecView,
    status: StatusView,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MetaView {
    annotations: Option<HashMap<Box<str>, IgnoredAny>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SpecView {
    service_account_name: Option<Box<str>>,
    image_pull_secrets: Vec<Named>,
    containers: Vec<ContainerView>,
    init_containers: Vec<ContainerView>,
    ephemeral_containers: Vec<ContainerView>,
    volumes: Vec<Value>,
    resource_claims: Vec<ClaimView>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StatusView {
    resource_claim_statuses: Vec<ClaimView>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ClaimView {
    resource_claim_name: Option<Box<str>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerView {
    env: Vec<EnvView>,
    env_from: Vec<EnvFromView>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct EnvView {
    value_from: Option<ValueFromView>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ValueFromView {
    config_map_key_ref: Option<Named>,
    secret_key_ref: Option<Named>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct EnvFromView {
    config_map_ref: Option<Named>,
    secret_ref: Option<Named>,
}

impl PodView {
    fn places(self, namespace: &str, pod: &str) -> HashSet<Place> {
        let mut places = HashSet::new();
        let mut add = |thing: Thing, name: Option<&str>| {
            if let Some(name) = name.filter(|n| !n.is_empty()) {
                places.insert((thing, Box::from(namespace), Box::from(name)));
            }
        };
        // A mirror pod is the kubelet's own: it must not open anything.
        let annotations = self.metadata.annotations.unwrap_or_default();
        if annotations.contains_key("kubernetes.io/config.mirror") {
            return places;
        }
        let spec = self.spec;
        add(Thing::ServiceAccount, spec.service_account_name.as_deref());
        for secret in &spec.image_pull_secrets {
            add(Thing::Secret, secret.name.as_deref());
        }
        let containers =
            spec.containers.iter().chain(&spec.init_containers).chain(&spec.ephemeral_containers);
        for container in containers {
            for from in container.env.iter().filter_map(|e| e.value_from.as_ref()) {
                add(
                    Thing::ConfigMap,
                    from.config_map_key_ref.as_ref().and_then(|r| r.name.as_deref()),
                );
                add(Thing::Secret, from.secret_key_ref.as_ref().and_then(|r| r.name.as_deref()));
            }
            for from in &container.env_from {
                add(Thing::ConfigMap, from.config_map_ref.as_ref().and_then(|r| r.name.as_deref()));
                add(Thing::Secret, from.secret_ref.as_ref().and_then(|r| r.name.as_deref()));
            }
        }
        for volume in spec.volumes.iter().filter_map(Value::as_object) {
            for (kind, source) in volume {
                let text = |key: &str| source.get(key).and_then(Value::as_str);
                match kind.as_str() {
                    "configMap" => add(Thing::ConfigMap, text("name")),
                    "persistentVolumeClaim" => add(Thing::Claim, text("claimName")),
                    "ephemeral" => {
                        let name = volume.get("name").and_then(Value::as_str).unwrap_or("");
                        add(Thing::Claim, Some(&format!("{pod}-{name}")));
                    }
                    "projected" => {
                        let sources = source.get("sources").and_then(Value::as_array);
                        for source in sources.into_iter().flatten() {
                            let named = |kind: &str| source.get(kind)?.get("name")?.as_str();
                            add(Thing::ConfigMap, named("configMap"));
                            add(Thing::Secret, named("secret"));
                        }
                    }
                    _ => {
                        for key in SECRET_KEYS {
                            let reference = source.get(key);
                            add(
                                Thing::Secret,
                                reference
                                    .and_then(|r| r.as_str().or_else(|| r.get("name")?.as_str())),
                            );
                        }
                    }
                }
            }
        }
        let claims = spec.resource_claims.iter().chain(&self.status.resource_claim_statuses);
        for claim in claims {
            add(Thing::ResourceClaim, claim.resource_claim_name.as_deref());
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{Card, Object};
    use serde_json::json;

    fn entry(value: Value) -> Entry {
        let object = Object::from_value(value).expect("a map");
        let json = serde_json::to_vec(&object).expect("JSON").into();
        Entry { revision: 1, json, card: Card::of(&object, &["spec.nodeName"]) }
    }

    fn pod(node: &str, secret: &str) -> Entry {
        entry(json!({
            "metadata": {"name": "p", "namespace": "a"},
            "spec": {"nodeName": node, "serviceAccountName": "sa",
                "containers": [{"env": [{"name": "x", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "k"}}}]}],
                "volumes": [{"name": "s", "secret": {"secretName": secret}},
                            {"name": "d", "persistentVolumeClaim": {"claimName": "claim"}}]},
        }))
    }

    #[test]
    fn pods_open_what_they_refer_to_while_they_live() {
        let graph = Graph::default();
        let (unbound, bound) = (pod("", "s"), pod("n1", "s"));
        graph.pod(None, Some(&unbound));
        assert!(!graph.related("n1", Thing::Secret, "a", "s"));
        graph.pod(Some(&unbound), Some(&bound));
        for (thing, name) in [
            (Thing::Secret, "s"),
            (Thing::ConfigMap, "cm"),
            (Thing::ServiceAccount, "sa"),
            (Thing::Claim, "claim"),
        ] {
            assert!(graph.related("n1", thing, "a", name), "{name}");
            assert!(!graph.related("n2", thing, "a", name), "{name}");
            assert!(!graph.related("n1", thing, "b", name), "{name}");
        }
        graph.pod(Some(&bound), None);
        assert!(!graph.related("n1", Thing::Secret, "a", "s"));
        assert!(graph.0.read().grants.is_empty());
    }

    #[test]
    fn volumes_follow_their_claim() {
        let graph = Graph::default();
        let volume = entry(json!({
            "metadata": {"name": "pv"},
            "spec": {"claimRef": {"namespace": "a", "name": "claim"},
                "csi": {"nodePublishSecretRef": {"namespace": "sys", "name": "key"}}},
        }));
        graph.volume("pv", Some(&volume));
        assert!(!graph.related("n1", Thing::Volume, "", "pv"));
        graph.pod(None, Some(&pod("n1", "s")));
        assert!(graph.related("n1", Thing::Volume, "", "pv"));
        assert!(graph.related("n1", Thing::Secret, "sys", "key"));
        graph.volume("pv", None);
        assert!(!graph.related("n1", Thing::Secret, "sys", "key"));
    }
}
