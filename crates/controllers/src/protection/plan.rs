//! Whether a claim, volume or class may go: it keeps the finalizer that protects it while it is used.
//!
//! Pure. Not here: requests, putting the finalizer on new objects (admission does).

use api::Resource;
use api::resource::{PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, VOLUME_ATTRIBUTES_CLASSES};
use serde::Deserialize;
use serde_json::json;

use crate::action::{Action, Plan};
use crate::meta::Meta;

/// What is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    Claim,
    Volume,
    AttributesClass,
}

impl Flavour {
    pub fn resource(self) -> Resource {
        match self {
            Self::Claim => PERSISTENT_VOLUME_CLAIMS,
            Self::Volume => PERSISTENT_VOLUMES,
            Self::AttributesClass => VOLUME_ATTRIBUTES_CLASSES,
        }
    }

    fn finalizer(self) -> &'static str {
        match self {
            Self::Claim => "kubernetes.io/pvc-protection",
            Self::Volume => "kubernetes.io/pv-protection",
            Self::AttributesClass => "kubernetes.io/vac-protection",
        }
    }
}

/// A claim, volume or class, as far as it matters here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Storage {
    pub metadata: Meta,
    pub spec: Spec,
    pub status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    pub volume_attributes_class_name: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    pub phase: String,
    pub current_volume_attributes_class_name: Option<String>,
    pub modify_volume_status: Option<Modify>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Modify {
    pub target_volume_attributes_class_name: Option<String>,
}

impl Storage {
    /// Whether a claim or volume names an attributes class, now or as its aim.
    fn names_class(&self, class: &str) -> bool {
        let modify = self.status.modify_volume_status.as_ref();
        let names = [
            self.spec.volume_attributes_class_name.as_deref(),
            self.status.current_volume_attributes_class_name.as_deref(),
            modify.and_then(|m| m.target_volume_attributes_class_name.as_deref()),
        ];
        names.contains(&Some(class))
    }
}

/// A pod and the claims it names.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct User {
    pub metadata: UserMeta,
    pub spec: UserSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UserMeta {
    pub name: String,
    pub uid: String,
    pub deletion_timestamp: Option<String>,
    pub deletion_grace_period_seconds: Option<i64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UserSpec {
    pub node_name: String,
    pub volumes: Vec<Volume>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Volume {
    pub name: String,
    pub persistent_volume_claim: Option<ClaimSource>,
    pub ephemeral: Option<api::Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimSource {
    pub claim_name: String,
}

impl User {
    /// The claims it names, and whether each was made for it alone.
    pub fn claims(&self) -> impl Iterator<Item = (String, bool)> {
        self.spec.volumes.iter().filter_map(|v| match &v.persistent_volume_claim {
            Some(claim) => Some((claim.claim_name.clone(), false)),
            None => {
                v.ephemeral.as_ref().map(|_| (format!("{}-{}", self.metadata.name, v.name), true))
            }
        })
    }

    /// Whether nothing of it runs any more, or nobody cares whether it does.
    fn is_over(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
            && self.metadata.deletion_grace_period_seconds == Some(0)
    }

    /// Whether its node may have the claim mounted.
    fn uses(&self, claim: &Meta) -> bool {
        !self.spec.node_name.is_empty()
            && self.claims().any(|(name, own)| {
                let own = own && (self.is_over() || !claim.controlled_by(&self.metadata.uid));
                name == claim.name && !own
            })
    }
}

/// Whether a claim is used by one of these pods of its namespace.
pub fn claim_is_used(claim: &Storage, pods: &[User]) -> bool {
    pods.iter().any(|pod| pod.uses(&claim.metadata))
}

/// Whether a volume is bound to a claim.
pub fn volume_is_used(volume: &Storage) -> bool {
    volume.status.phase == "Bound"
}

/// Whether a class is named by one of these claims and volumes.
pub fn class_is_used(class: &Storage, others: &[Storage]) -> bool {
    others.iter().any(|o| o.names_class(&class.metadata.name))
}

/// Takes the finalizer off what is deleted and unused; puts it on what lacks it.
pub fn plan(flavour: Flavour, meta: &Meta, used: bool) -> Plan {
    let mut plan = Plan::default();
    let ours = flavour.finalizer();
    let mut finalizers = meta.finalizers.clone();
    let has = finalizers.iter().any(|f| f == ours);
    match (meta.is_deleting(), has) {
        (true, true) if !used => finalizers.retain(|f| f != ours),
        (false, false) => finalizers.push(ours.to_owned()),
        _ => return plan,
    }
    // The list is replaced as a whole: only while it is the one we have seen.
    let patch = json!({"metadata": {
        "finalizers": finalizers, "resourceVersion": meta.resource_version, "uid": meta.uid,
    }});
    plan.push(Action::patch(&flavour.resource(), &meta.namespace, &meta.name, patch));
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        crate::golden::run(include_str!("cases.yaml"), |case| {
            let (claim, volume) = (case.role::<Option<Storage>>("claim"), case.role("volume"));
            let (flavour, object, used) = if let Some(claim) = claim {
                let used = claim_is_used(&claim, &case.roles("pods"));
                (Flavour::Claim, claim, used)
            } else if let Some(volume) = Option::<Storage>::clone(&volume) {
                let used = volume_is_used(&volume);
                (Flavour::Volume, volume, used)
            } else {
                let class: Storage = case.role("class");
                let used = class_is_used(&class, &case.roles("others"));
                (Flavour::AttributesClass, class, used)
            };
            plan(flavour, &object.metadata, used)
        });
    }
}
