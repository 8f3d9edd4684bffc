//! A pod as the scheduler sees it: a lean projection of the entry, parsed once.
//!
//! Not here: the node's side (`node`), or any decision.

use std::sync::Arc;

use api::Entry;
use api::selector::{LabelSelector, LabelSelectorSpec, MatchExpression, Requirement};
use serde::Deserialize;

use crate::resources::{RawContainer, RawRequirements, ResourceList, Resources, pod_requests};

/// A pod's scheduling facts. Name, namespace, uid and labels are on the entry's card.
#[derive(Debug)]
pub struct Pod {
    /// The committed object.
    pub entry: Arc<Entry>,
    /// `spec.nodeName`, empty while unassigned.
    pub node_name: String,
    /// `spec.schedulerName`.
    pub scheduler_name: String,
    /// `spec.priority`.
    pub priority: i32,
    /// Whether the pod may preempt others.
    pub may_preempt: bool,
    /// Whether scheduling gates hold it back.
    pub gated: bool,
    /// Whether it has succeeded or failed and holds no resources.
    pub finished: bool,
    /// What it reserves.
    pub requests: Resources,
    /// The same with stand-ins for what it does not say, for scoring.
    pub scored: Resources,
    /// Host ports.
    pub ports: Vec<HostPort>,
    /// `spec.nodeSelector` and required node affinity.
    pub node_rules: NodeRules,
    /// Preferred node affinity: weight and term.
    pub node_preferences: Vec<(i64, NodeTerm)>,
    /// Affinity to other pods.
    pub affinity: PodAffinity,
    /// Tolerations.
    pub tolerations: Vec<Toleration>,
    /// `spec.topologySpreadConstraints`.
    pub spread: Vec<Spread>,
    /// Images of all containers.
    pub images: Vec<String>,
    /// Claims that its volumes name.
    pub claims: Vec<String>,
    /// `status.nominatedNodeName`.
    pub nominated: String,
    /// `status.startTime`, or empty.
    pub start_time: String,
}

/// A port on the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// `0.0.0.0` for all addresses.
    pub ip: String,
    /// `TCP`, `UDP`, `SCTP`.
    pub protocol: String,
    /// The port.
    pub port: u16,
}

impl HostPort {
    /// Whether both cannot be bound on one node.
    pub fn conflicts(&self, other: &Self) -> bool {
        const ANY: &str = "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || self.ip == ANY || other.ip == ANY)
    }
}

/// Which nodes a pod accepts at all.
#[derive(Clone, Debug, Default)]
pub struct NodeRules {
    /// `spec.nodeSelector`.
    pub selector: Vec<(String, String)>,
    /// Required node affinity: any term; `None` where not given.
    pub terms: Option<Vec<NodeTerm>>,
}

/// One node selector term: all of its requirements.
#[derive(Clone, Debug, Default)]
pub struct NodeTerm {
    /// On labels.
    pub labels: Vec<Requirement>,
    /// On `metadata.name`.
    pub fields: Vec<Requirement>,
    /// Whether the term is empty or cannot be read; such a term matches nothing.
    pub never: bool,
}

impl NodeTerm {
    /// Whether a node meets every requirement.
    pub fn matches(&self, node: &Entry) -> bool {
        !self.never
            && self.labels.iter().all(|r| r.matches(node.card.label(&r.key)))
            && self.fields.iter().all(|r| r.matches(node.card.field(&r.key)))
    }
}

impl NodeRules {
    /// Whether the pod accepts a node.
    pub fn matches(&self, node: &Entry) -> bool {
        self.selector.iter().all(|(k, v)| node.card.label(k) == Some(v.as_str()))
            && self.terms.as_ref().is_none_or(|terms| terms.iter().any(|t| t.matches(node)))
    }
}

/// Affinity and anti-affinity to pods.
#[derive(Clone, Debug, Default)]
pub struct PodAffinity {
    /// Required affinity.
    pub required: Vec<PodTerm>,
    /// Required anti-affinity.
    pub anti: Vec<PodTerm>,
    /// Preferred, with weights; anti-affinity has negative ones.
    pub preferred: Vec<(i64, PodTerm)>,
}

impl PodAffinity {
    /// Whether the pod says nothing.
    pub fn is_empty(&self) -> bool {
        self.required.is_empty() && self.anti.is_empty() && self.preferred.is_empty()
    }
}

/// One pod affinity term.
#[derive(Clone, Debug)]
pub struct PodTerm {
    /// Which pods; `None` matches none.
    pub selector: Option<LabelSelector>,
    /// Namespaces by name.
    pub namespaces: Vec<String>,
    /// Namespaces by label; `None` selects none.
    pub namespace_selector: Option<LabelSelector>,
    /// The label that makes nodes neighbours.
    pub topology_key: String,
}

impl PodTerm {
    /// Whether another pod is one that the term means. `namespace_labels` looks a namespace's label up.
    pub fn matches(&self, pod: &Pod, namespaces: &crate::cache::Namespaces) -> bool {
        let card = &pod.entry.card;
        let in_namespace = self.namespaces.iter().any(|n| **n == *card.namespace)
            || self
                .namespace_selector
                .as_ref()
                .is_some_and(|s| namespaces.matches(&card.namespace, s));
        in_namespace && self.selector.as_ref().is_some_and(|s| s.matches(card))
    }
}

/// A toleration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Toleration {
    /// Empty with `Exists` tolerates every key.
    pub key: String,
    /// `Equal` (default), `Exists`, `Lt`, `Gt`.
    pub operator: String,
    /// Compared with the taint's value.
    pub value: String,
    /// Empty means every effect.
    pub effect: String,
}

/// A taint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Taint {
    /// The taint's key.
    pub key: String,
    /// Its value, possibly empty.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule`, `NoExecute`.
    pub effect: String,
}

impl Toleration {
    /// Whether the toleration covers the taint (`v1.Toleration.ToleratesTaint`).
    pub fn covers(&self, taint: &Taint) -> bool {
        if !self.effect.is_empty() && self.effect != taint.effect {
            return false;
        }
        if !self.key.is_empty() && self.key != taint.key {
            return false;
        }
        match self.operator.as_str() {
            "Exists" => true,
            "" | "Equal" => self.value == taint.value,
            _ => false,
        }
    }
}

/// A topology spread constraint.
#[derive(Clone, Debug)]
pub struct Spread {
    /// `maxSkew`.
    pub max_skew: i64,
    /// The label whose values are the domains.
    pub topology_key: String,
    /// Whether it forbids (`DoNotSchedule`) rather than ranks.
    pub hard: bool,
    /// Which pods count; `None` matches none.
    pub selector: Option<LabelSelector>,
    /// `minDomains`.
    pub min_domains: i64,
    /// Whether only nodes that the pod's node rules accept count (the default).
    pub honor_affinity: bool,
    /// Whether only nodes whose taints the pod tolerates count.
    pub honor_taints: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    metadata: RawMeta,
    spec: RawSpec,
    status: RawStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawMeta {
    labels: std::collections::BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawStatus {
    phase: String,
    nominated_node_name: String,
    start_time: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawSpec {
    node_name: String,
    scheduler_name: String,
    priority: i32,
    preemption_policy: String,
    scheduling_gates: Vec<serde::de::IgnoredAny>,
    containers: Vec<RawContainer>,
    init_containers: Vec<RawContainer>,
    overhead: ResourceList,
    resources: RawRequirements,
    node_selector: std::collections::BTreeMap<String, String>,
    affinity: RawAffinity,
    tolerations: Vec<Toleration>,
    topology_spread_constraints: Vec<RawSpread>,
    host_network: bool,
    volumes: Vec<RawVolume>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawVolume {
    name: String,
    persistent_volume_claim: Option<RawClaim>,
    ephemeral: Option<serde::de::IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawClaim {
    claim_name: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawAffinity {
    node_affinity: RawNodeAffinity,
    pod_affinity: RawPodAffinity,
    pod_anti_affinity: RawPodAffinity,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawNodeAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    required: Option<RawNodeSelector>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")]
    preferred: Vec<RawPreferred>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawNodeSelector {
    node_selector_terms: Vec<RawNodeTerm>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawPreferred {
    weight: i64,
    preference: RawNodeTerm,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawNodeTerm {
    match_expressions: Vec<MatchExpression>,
    match_fields: Vec<MatchExpression>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawPodAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    required: Vec<RawPodTerm>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")]
    preferred: Vec<RawWeighted>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawWeighted {
    weight: i64,
    pod_affinity_term: RawPodTerm,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawPodTerm {
    label_selector: Option<LabelSelectorSpec>,
    namespaces: Vec<String>,
    namespace_selector: Option<LabelSelectorSpec>,
    topology_key: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawSpread {
    max_skew: i64,
    topology_key: String,
    when_unsatisfiable: String,
    label_selector: Option<LabelSelectorSpec>,
    min_domains: Option<i64>,
    node_affinity_policy: String,
    node_taints_policy: String,
    match_label_keys: Vec<String>,
}

impl RawNodeTerm {
    fn term(&self) -> NodeTerm {
        let read = |list: &[MatchExpression]| -> Option<Vec<Requirement>> {
            list.iter().map(|e| e.requirement().ok()).collect()
        };
        let empty = self.match_expressions.is_empty() && self.match_fields.is_empty();
        match (read(&self.match_expressions), read(&self.match_fields)) {
            (Some(labels), Some(fields)) => NodeTerm { labels, fields, never: empty },
            _ => NodeTerm { never: true, ..NodeTerm::default() },
        }
    }
}

impl RawPodTerm {
    /// Without namespaces and namespace selector a term means the pod's own namespace.
    fn term(&self, own_namespace: &str) -> PodTerm {
        let read = |s: &Option<LabelSelectorSpec>| s.as_ref().and_then(|s| s.selector().ok());
        let mut namespaces = self.namespaces.clone();
        if namespaces.is_empty() && self.namespace_selector.is_none() {
            namespaces.push(own_namespace.to_owned());
        }
        PodTerm {
            selector: read(&self.label_selector),
            namespaces,
            namespace_selector: read(&self.namespace_selector),
            topology_key: self.topology_key.clone(),
        }
    }
}

impl RawSpread {
    fn constraint(&self, labels: &std::collections::BTreeMap<String, String>) -> Spread {
        let mut selector = self.label_selector.as_ref().and_then(|s| s.selector().ok());
        if let Some(LabelSelector(requirements)) = &mut selector {
            for key in &self.match_label_keys {
                if let Some(value) = labels.get(key) {
                    let op = api::selector::Op::In([value.clone()].into());
                    requirements.push(Requirement { key: key.clone(), op });
                }
            }
        }
        Spread {
            max_skew: self.max_skew.max(1),
            topology_key: self.topology_key.clone(),
            hard: self.when_unsatisfiable != "ScheduleAnyway",
            selector,
            min_domains: self.min_domains.unwrap_or(1),
            honor_affinity: self.node_affinity_policy != "Ignore",
            honor_taints: self.node_taints_policy == "Honor",
        }
    }
}

impl Pod {
    /// Reads an entry. A pod that cannot be read is not schedulable and is reported by the caller.
    pub fn read(entry: Arc<Entry>) -> Result<Self, serde_json::Error> {
        let Raw { metadata, spec, status } = entry.decode()?;
        let own = entry.card.namespace.to_string();
        let (requests, scored) = pod_requests(
            &spec.containers,
            &spec.init_containers,
            &spec.overhead,
            &spec.resources.requests,
        );
        let all = || spec.init_containers.iter().chain(&spec.containers);
        let affinity = &spec.affinity;
        let weighted = |list: &[RawWeighted], sign: i64| -> Vec<(i64, PodTerm)> {
            list.iter().map(|w| (sign * w.weight, w.pod_affinity_term.term(&own))).collect()
        };
        let required = |list: &[RawPodTerm]| list.iter().map(|t| t.term(&own)).collect();
        let mut preferred = weighted(&affinity.pod_affinity.preferred, 1);
        preferred.extend(weighted(&affinity.pod_anti_affinity.preferred, -1));
        let ports = all()
            .flat_map(|c| &c.ports)
            .filter(|p| p.host_port != 0)
            .map(|p| HostPort {
                ip: if p.host_ip.is_empty() { "0.0.0.0".into() } else { p.host_ip.clone() },
                protocol: if p.protocol.is_empty() { "TCP".into() } else { p.protocol.clone() },
                port: p.host_port,
            })
            .collect();
        debug_assert!(!spec.host_network || !own.is_empty());
        Ok(Self {
            node_name: spec.node_name,
            scheduler_name: spec.scheduler_name,
            priority: spec.priority,
            may_preempt: spec.preemption_policy != "Never",
            gated: !spec.scheduling_gates.is_empty(),
            finished: matches!(status.phase.as_str(), "Succeeded" | "Failed"),
            requests,
            scored,
            ports,
            node_rules: NodeRules {
                selector: spec.node_selector.into_iter().collect(),
                terms: affinity
                    .node_affinity
                    .required
                    .as_ref()
                    .map(|s| s.node_selector_terms.iter().map(RawNodeTerm::term).collect()),
            },
            node_preferences: affinity
                .node_affinity
                .preferred
                .iter()
                .map(|p| (p.weight, p.preference.term()))
                .collect(),
            affinity: PodAffinity {
                required: required(&affinity.pod_affinity.required),
                anti: required(&affinity.pod_anti_affinity.required),
                preferred,
            },
            tolerations: spec.tolerations,
            spread: spec
                .topology_spread_constraints
                .iter()
                .map(|s| s.constraint(&metadata.labels))
                .collect(),
            images: all().map(|c| c.image.clone()).collect(),
            claims: spec
                .volumes
                .iter()
                .filter_map(|v| match (&v.persistent_volume_claim, &v.ephemeral) {
                    (Some(claim), _) => Some(claim.claim_name.clone()),
                    (None, Some(_)) => Some(format!("{}-{}", entry.card.name, v.name)),
                    _ => None,
                })
                .collect(),
            nominated: status.nominated_node_name,
            start_time: status.start_time,
            entry,
        })
    }

    /// Whether some toleration covers the taint.
    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.tolerations.iter().any(|t| t.covers(taint))
    }
}
