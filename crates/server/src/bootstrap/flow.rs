//! The default flow schemas and priority levels of API priority and fairness.

use api::{Object, Value};
use serde_json::json;

const VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";

/// Name, shares, lendable percent, queues with hand size (none: reject).
type LevelRow = (&'static str, u32, u32, Option<(u32, u32)>);

/// All but `exempt`.
const LEVELS: &[LevelRow] = &[
    ("catch-all", 5, 0, None),
    ("global-default", 20, 50, Some((128, 6))),
    ("leader-election", 10, 0, Some((16, 4))),
    ("node-high", 40, 25, Some((64, 6))),
    ("system", 30, 33, Some((64, 6))),
    ("workload-high", 40, 50, Some((128, 6))),
    ("workload-low", 100, 90, Some((128, 6))),
];

/// What a schema's rule is about.
enum About {
    Everything,
    Probes,
    Leases,
    OwnNode,
}

use About::{Everything, Leases, OwnNode, Probes};

/// Name, level, precedence, distinguisher (none: empty), subjects (`u:` user, `g:` group,
/// `s:` namespace of service accounts), what about.
type SchemaRow = (&'static str, &'static str, u32, &'static str, &'static [&'static str], About);

const SCHEMAS: &[SchemaRow] = &[
    ("exempt", "exempt", 1, "", &["g:system:masters"], Everything),
    ("probes", "exempt", 2, "", &["g:system:unauthenticated", "g:system:authenticated"], Probes),
    (
        "system-leader-election",
        "leader-election",
        100,
        "ByUser",
        &["u:system:kube-controller-manager", "u:system:kube-scheduler", "s:kube-system"],
        Leases,
    ),
    ("system-node-high", "node-high", 400, "ByUser", &["g:system:nodes"], OwnNode),
    ("system-nodes", "system", 500, "ByUser", &["g:system:nodes"], Everything),
    (
        "kube-controller-manager",
        "workload-high",
        800,
        "ByNamespace",
        &["u:system:kube-controller-manager"],
        Everything,
    ),
    (
        "kube-scheduler",
        "workload-high",
        800,
        "ByNamespace",
        &["u:system:kube-scheduler"],
        Everything,
    ),
    (
        "kube-system-service-accounts",
        "workload-high",
        900,
        "ByNamespace",
        &["s:kube-system"],
        Everything,
    ),
    ("service-accounts", "workload-low", 9000, "ByUser", &["g:system:serviceaccounts"], Everything),
    (
        "global-default",
        "global-default",
        9900,
        "ByUser",
        &["g:system:unauthenticated", "g:system:authenticated"],
        Everything,
    ),
    (
        "catch-all",
        "catch-all",
        10000,
        "ByUser",
        &["g:system:unauthenticated", "g:system:authenticated"],
        Everything,
    ),
];

fn named(kind: &str, name: &str, spec: Value, status: Value) -> Object {
    let mut object = Object::default();
    object.set_type(VERSION, kind);
    object.set_meta("name", name);
    object.set_meta("generation", 1);
    object.set_annotation("apf.kubernetes.io/autoupdate-spec", "true");
    object.0.insert("spec".into(), spec);
    object.0.insert("status".into(), status);
    object
}

fn subject(text: &&str) -> Value {
    match text.split_at(2) {
        ("u:", name) => json!({"kind": "User", "user": {"name": name}}),
        ("g:", name) => json!({"kind": "Group", "group": {"name": name}}),
        (_, home) => {
            json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": home, "name": "*"}})
        }
    }
}

fn rule(subjects: &[&str], about: &About) -> Value {
    let mut rule = json!({"subjects": subjects.iter().map(subject).collect::<Vec<_>>()});
    let resources = |verbs: Value, group: &str, resources: Value, cluster: bool| {
        let mut rule = json!({
            "verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"],
        });
        if cluster {
            rule["clusterScope"] = true.into();
        }
        rule
    };
    match about {
        Everything => {
            rule["resourceRules"] = json!([resources(json!(["*"]), "*", json!(["*"]), true)]);
            rule["nonResourceRules"] = json!([{"verbs": ["*"], "nonResourceURLs": ["*"]}]);
        }
        Probes => {
            let paths = ["/healthz", "/readyz", "/livez"];
            rule["nonResourceRules"] = json!([{"verbs": ["get"], "nonResourceURLs": paths}]);
        }
        Leases => {
            let verbs = json!(["get", "create", "update"]);
            let leases = resources(verbs, "coordination.k8s.io", json!(["leases"]), false);
            rule["resourceRules"] = json!([leases]);
        }
        OwnNode => {
            rule["resourceRules"] = json!([
                resources(json!(["*"]), "", json!(["nodes", "nodes/status"]), true),
                resources(json!(["*"]), "coordination.k8s.io", json!(["leases"]), false),
            ]);
        }
    }
    rule
}

/// All of them; `now` stamps their conditions.
pub fn objects(now: &str) -> Vec<Object> {
    let exempt = json!({
        "type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0},
    });
    let mut objects = vec![named("PriorityLevelConfiguration", "exempt", exempt, json!({}))];
    for (name, shares, lendable, queues) in LEVELS {
        let response = match queues {
            None => json!({"type": "Reject"}),
            Some((queues, hand)) => json!({"type": "Queue", "queuing": {
                "queues": queues, "handSize": hand, "queueLengthLimit": 50,
            }}),
        };
        let spec = json!({"type": "Limited", "limited": {
            "nominalConcurrencyShares": shares, "limitResponse": response, "lendablePercent": lendable,
        }});
        objects.push(named("PriorityLevelConfiguration", name, spec, json!({})));
    }
    for (name, level, precedence, distinguisher, subjects, about) in SCHEMAS {
        let mut spec = json!({
            "priorityLevelConfiguration": {"name": level},
            "matchingPrecedence": precedence,
            "rules": [rule(subjects, about)],
        });
        if !distinguisher.is_empty() {
            spec["distinguisherMethod"] = json!({"type": distinguisher});
        }
        let message = format!(
            "This FlowSchema references the PriorityLevelConfiguration object named {level:?} and it exists"
        );
        let status = json!({"conditions": [{
            "type": "Dangling", "status": "False", "lastTransitionTime": now, "reason": "Found",
            "message": message,
        }]});
        objects.push(named("FlowSchema", name, spec, status));
    }
    objects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_cluster_may_lack_is_as_the_rules_want_it() {
        for mut object in objects("2026-01-01T00:00:00Z") {
            let plural = format!("{}s", object.kind().to_lowercase());
            let kind = api::kinds::find("flowcontrol.apiserver.k8s.io", "v1", &plural);
            let faults = api::validate::create(kind.expect("known"), &mut object);
            assert!(faults.is_empty(), "{} {}: {faults:?}", object.kind(), object.name());
        }
    }
}
