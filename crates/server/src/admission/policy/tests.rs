//! Policies over a store, as the registry runs them.

use api::{ApiError, Object, Resource, resource};
use serde_json::{Value as Json, json};

use crate::admission::tests::{World, object, world};
use crate::gate::UserInfo;

const API: &str = "admissionregistration.k8s.io/v1";

/// Stores a policy with a binding of the same name.
async fn policy(w: &World, kind: &str, name: &str, mut spec: Json, binding: Json) {
    if spec.get("matchConstraints").is_none() {
        spec["matchConstraints"] = json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
            "operations": ["*"], "resources": ["configmaps"]}]});
    }
    w.put(json!({"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": spec})).await;
    let mut bound = json!({"policyName": name, "validationActions": ["Deny"]});
    for (key, value) in binding.as_object().into_iter().flatten() {
        bound[key] = value.clone();
    }
    let kind = format!("{kind}Binding");
    w.put(json!({"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": bound}))
        .await;
}

async fn validating(w: &World, name: &str, spec: Json, binding: Json) {
    policy(w, "ValidatingAdmissionPolicy", name, spec, binding).await;
}

async fn mutating(w: &World, name: &str, spec: Json) {
    policy(w, "MutatingAdmissionPolicy", name, spec, json!({})).await;
}

fn map(data: Json) -> Object {
    object(json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "m", "namespace": "a"}, "data": data}))
}

async fn write(w: &World, object: Object) -> Result<(Object, Vec<String>), ApiError> {
    let user = UserInfo::new("alice", &["dev"]);
    w.run_as((&resource::CONFIG_MAPS, ""), &user, object, None, false).await
}

/// The message of a refusal, behind what every one begins with.
async fn refused(w: &World, data: Json) -> String {
    let error = write(w, map(data)).await.expect_err("refused");
    let (_, why) = error.message.split_once("denied request: ").expect("by a policy");
    why.to_owned()
}

async fn passes(w: &World, data: Json) {
    write(w, map(data)).await.expect("admitted");
}

#[tokio::test]
async fn validations_refuse_with_their_message_and_reason() {
    let w = world().await;
    let spec = json!({
        "variables": [{"name": "n", "expression": "int(object.data.n)"},
            {"name": "twice", "expression": "variables.n * 2"}],
        "matchConditions": [{"name": "c", "expression": "has(object.data.n)"}],
        "validations": [
            {"expression": "variables.twice < 10", "reason": "Forbidden",
                "messageExpression": "'twice ' + string(variables.n) + ' by ' + request.userInfo.username"},
            {"expression": "variables.n != 1", "message": "not one"},
            {"expression": "variables.n != 2"},
            {"expression": "authorizer.group('').resource('secrets').check('get').allowed() || variables.n != 3"},
        ],
    });
    validating(&w, "p", spec, json!({})).await;
    passes(&w, json!({})).await;
    passes(&w, json!({"n": "4"})).await;
    let error = write(&w, map(json!({"n": "7"}))).await.expect_err("refused");
    assert_eq!(
        error.message,
        "configmaps \"m\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: twice 7 by alice"
    );
    assert_eq!((error.code, error.reason.as_str()), (403, "Forbidden"));
    assert_eq!(error.causes.len(), 1);
    assert_eq!(refused(&w, json!({"n": "1"})).await, "not one");
    assert_eq!(refused(&w, json!({"n": "2"})).await, "failed expression: variables.n != 2");
    assert!(refused(&w, json!({"n": "3"})).await.starts_with("failed expression: authorizer"));
    assert_eq!(
        refused(&w, json!({"n": "x"})).await,
        "expression 'variables.twice < 10' resulted in error: composited variable \"twice\" fails to evaluate: composited variable \"n\" fails to evaluate: type conversion error from 'string' to 'int'"
    );
}

#[tokio::test]
async fn changes_of_policies_take_effect_at_once() {
    let w = world().await;
    let with = |expression: &str| json!({"validations": [{"expression": expression}]});
    validating(&w, "p", with("false"), json!({})).await;
    assert_eq!(refused(&w, json!({})).await, "failed expression: false");
    validating(&w, "p", with("true"), json!({})).await;
    passes(&w, json!({})).await;
    // What cannot be compiled fails when it is used.
    validating(&w, "p", with("nonsense"), json!({})).await;
    assert!(
        refused(&w, json!({}))
            .await
            .starts_with("compilation error: compilation failed: ERROR: <input>:1:1:")
    );
    let ignoring = json!({"validations": [{"expression": "nonsense"}], "failurePolicy": "Ignore"});
    validating(&w, "p", ignoring, json!({})).await;
    passes(&w, json!({})).await;
}

#[tokio::test]
async fn bindings_choose_and_warn() {
    let w = world().await;
    let spec = json!({"validations": [{"expression": "false", "message": "never"}]});
    let binding = json!({"validationActions": ["Warn", "Audit"]});
    validating(&w, "p", spec.clone(), binding).await;
    let (_, warnings) = write(&w, map(json!({}))).await.expect("admitted");
    assert_eq!(
        warnings,
        ["Validation failed for ValidatingAdmissionPolicy 'p' with binding 'p': never"]
    );
    let elsewhere = json!({"matchResources": {"namespaceSelector": {"matchLabels": {"x": "y"}}}});
    validating(&w, "p", spec.clone(), elsewhere).await;
    passes(&w, json!({})).await;
    let labelled = json!({"matchResources": {"objectSelector": {"matchLabels": {"x": "y"}}}});
    validating(&w, "p", spec.clone(), labelled).await;
    passes(&w, json!({})).await;
    let mut object = map(json!({}));
    object.set_meta("labels", json!({"x": "y"}));
    assert!(write(&w, object).await.is_err());
    let excluded = json!({"matchResources": {"excludeResourceRules": [{"apiGroups": ["*"],
        "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["configmaps"]}]}});
    validating(&w, "p", spec, excluded).await;
    passes(&w, json!({})).await;
}

#[tokio::test]
async fn parameters_are_found_by_name_and_by_label() {
    let w = world().await;
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "Secret"},
        "validations": [{"expression": "object.data.k != params.data.k", "message": "same"}],
    });
    let by = |reference: Json| json!({"paramRef": reference});
    let named = by(json!({"name": "s", "parameterNotFoundAction": "Deny"}));
    validating(&w, "p", spec.clone(), named).await;
    assert_eq!(
        refused(&w, json!({"k": "YQ=="})).await,
        "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    );
    w.put(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "a",
        "labels": {"l": "1"}}, "data": {"k": "YQ=="}}))
        .await;
    assert_eq!(refused(&w, json!({"k": "YQ=="})).await, "same");
    passes(&w, json!({"k": "Yg=="})).await;
    let selected =
        by(json!({"selector": {"matchLabels": {"l": "1"}}, "parameterNotFoundAction": "Deny"}));
    validating(&w, "p", spec, selected).await;
    assert_eq!(refused(&w, json!({"k": "YQ=="})).await, "same");
}

#[tokio::test]
async fn other_versions_of_a_kind_are_meant_too() {
    let w = world().await;
    let scalers = |version: &'static str| {
        Resource::namespaced(
            "autoscaling",
            version,
            "horizontalpodautoscalers",
            "HorizontalPodAutoscaler",
        )
    };
    let rules = |policy: &str| {
        json!({"matchPolicy": policy, "resourceRules": [{"apiGroups": ["autoscaling"],
            "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["horizontalpodautoscalers"]}]})
    };
    let spec = |policy: &str| {
        json!({"matchConstraints": rules(policy), "validations": [{
            "expression": "object.spec.targetCPUUtilizationPercentage < 50",
            "messageExpression": "request.kind.version + ' from ' + request.requestKind.version"}]})
    };
    let scaler = object(json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h", "namespace": "a"}, "spec": {"maxReplicas": 2,
            "scaleTargetRef": {"kind": "Deployment", "name": "d"}, "metrics": [{"type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]}}));
    let user = UserInfo::new("alice", &[]);
    validating(&w, "p", spec("Equivalent"), json!({})).await;
    let v2 = scalers("v2");
    let error = w.run_as((&v2, ""), &user, scaler.clone(), None, false).await.expect_err("refused");
    assert!(error.message.ends_with("denied request: v1 from v2"), "{}", error.message);
    validating(&w, "p", spec("Exact"), json!({})).await;
    w.run_as((&v2, ""), &user, scaler, None, false).await.expect("admitted");
}

#[tokio::test]
async fn mutations_change_what_is_written() {
    let w = world().await;
    let apply = |expression: &str| json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}});
    let patch = |expression: &str| json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}});
    let spec = json!({"reinvocationPolicy": "Never", "mutations": [
        apply("Object{metadata: Object.metadata{labels: {'a': object.metadata.name}}}"),
        patch("[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('x/y'), value: object.metadata.labels.a + '!'}]"),
        patch("[JSONPatch{op: 'test', path: '/data/none', value: 'x'}, JSONPatch{op: 'add', path: '/data/k', value: 'v'}]"),
    ]});
    mutating(&w, "p", spec).await;
    let (made, _) = write(&w, map(json!({"q": "r"}))).await.expect("admitted");
    assert_eq!(made.at("metadata.labels"), Some(&json!({"a": "m", "x/y": "m!"})));
    // The failed test leaves the object as it was.
    assert_eq!(made.at("data"), Some(&json!({"q": "r"})));

    let atomic = json!({"reinvocationPolicy": "Never",
        "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
            "operations": ["CREATE"], "resources": ["services"]}]},
        "mutations": [apply("Object{spec: Object.spec{selector: {'a': 'b'}}}")]});
    mutating(&w, "p", atomic).await;
    let service = object(json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "s", "namespace": "a"}, "spec": {"ports": [{"port": 80}]}}));
    let user = UserInfo::new("alice", &[]);
    let error = w
        .run_as((&resource::SERVICES, ""), &user, service, None, false)
        .await
        .expect_err("refused");
    assert_eq!(
        error.message,
        "policy 'p' with binding 'p' denied request: error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.selector"
    );
    assert_eq!((error.code, error.reason.as_str()), (403, "Invalid"));
}

#[tokio::test]
async fn mutations_see_what_later_ones_do_if_they_want() {
    let count = "Object{metadata: Object.metadata{annotations: {'seen': string(size(object.metadata.?labels.orValue({})))}}}";
    let add = "Object{metadata: Object.metadata{labels: {'late': 'yes'}}}";
    let of = |expression: &str, again: &str| {
        json!({"reinvocationPolicy": again, "mutations": [{"patchType": "ApplyConfiguration",
            "applyConfiguration": {"expression": expression}}]})
    };
    for (again, seen) in [("Never", "0"), ("IfNeeded", "1")] {
        let w = world().await;
        mutating(&w, "a", of(count, again)).await;
        mutating(&w, "b", of(add, "Never")).await;
        let (made, _) = write(&w, map(json!({}))).await.expect("admitted");
        assert_eq!(made.annotation("seen"), Some(seen), "{again}");
    }
}

#[tokio::test]
async fn custom_resources_take_part() {
    let w = world().await;
    let version = |name: &str| {
        json!({"name": name, "served": true, "storage": name == "v1", "schema": {"openAPIV3Schema": {
            "type": "object", "properties": {"spec": {"type": "object", "properties": {
                "max": {"type": "integer"},
                "list": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}}}}}}})
    };
    w.put(json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "limits.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "limits", "kind": "Limit"}, "versions": [version("v1"), version("v2")]}}))
        .await;
    let limit = object(json!({"apiVersion": "example.com/v1", "kind": "Limit",
        "metadata": {"name": "l", "namespace": "a"}, "spec": {"max": 3, "list": ["a"]}}));
    w.put_custom("limits.example.com", &limit).await;
    // As the parameter of a policy, in another version than the stored one.
    let spec = json!({"paramKind": {"apiVersion": "example.com/v2", "kind": "Limit"},
        "validations": [{"expression": "size(object.data) < params.spec.max",
            "messageExpression": "'by ' + params.apiVersion"}]});
    let binding = json!({"paramRef": {"name": "l", "parameterNotFoundAction": "Deny"}});
    validating(&w, "p", spec, binding).await;
    passes(&w, json!({"a": "1"})).await;
    assert_eq!(refused(&w, json!({"a": "1", "b": "2", "c": "3"})).await, "by example.com/v2");
    // As what is written, its lists joined by its schema; the policy names another version.
    let spec = json!({"reinvocationPolicy": "Never",
        "matchConstraints": {"resourceRules": [{"apiGroups": ["example.com"], "apiVersions": ["v2"],
            "operations": ["CREATE"], "resources": ["limits"]}]},
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration":
            {"expression": "Object{spec: Object.spec{list: [request.kind.version]}}"}}]});
    mutating(&w, "m", spec).await;
    let limits = Resource::namespaced("example.com", "v1", "limits", "Limit");
    let user = UserInfo::new("alice", &[]);
    let (made, _) = w.run_as((&limits, ""), &user, limit, None, false).await.expect("admitted");
    assert_eq!(made.at("spec.list"), Some(&json!(["a", "v2"])));
    assert_eq!(made.api_version(), "example.com/v1");
}
