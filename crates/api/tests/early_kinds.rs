//! Kinds that are off by default have rules too: a good object of each passes, and each change of it
//! that is wrong is told with its field.

use isopod_api::{Object, Value, kinds, validate};
use serde_json::json;

struct Case {
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    name: &'static str,
    good: Value,
    /// A path, what goes there, and the fields that are wrong then.
    wrong: Vec<(&'static str, Value, &'static [&'static str])>,
}

fn cases() -> Vec<Case> {
    let anchor = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    vec![
        Case {
            group: "certificates.k8s.io",
            version: "v1beta1",
            plural: "clustertrustbundles",
            name: "example.com:signer:one",
            good: json!({"spec": {"signerName": "example.com/signer", "trustBundle": anchor}}),
            wrong: vec![
                ("/spec/trustBundle", json!(""), &["spec.trustBundle"]),
                ("/spec/trustBundle", json!(anchor.repeat(2)), &["spec.trustBundle"]),
                ("/spec/signerName", json!("example.com/other"), &["metadata.name"]),
            ],
        },
        Case {
            group: "certificates.k8s.io",
            version: "v1beta1",
            plural: "podcertificaterequests",
            name: "r",
            good: json!({"spec": {
                "signerName": "example.com/signer", "podName": "p", "podUID": "1",
                "serviceAccountName": "a", "serviceAccountUID": "2", "nodeName": "n", "nodeUID": "3",
                "maxExpirationSeconds": 3600, "stubPKCS10Request": "MAA=",
            }}),
            wrong: vec![
                ("/spec/podUID", json!(""), &["spec.podUID"]),
                ("/spec/maxExpirationSeconds", json!(3599), &["spec.maxExpirationSeconds"]),
                ("/spec/pkixPublicKey", json!("MAA="), &["spec"]),
                ("/spec/stubPKCS10Request", json!("eA=="), &["spec.stubPKCS10Request"]),
            ],
        },
        Case {
            group: "scheduling.k8s.io",
            version: "v1alpha2",
            plural: "podgroups",
            name: "g",
            good: json!({"spec": {"schedulingPolicy": {"gang": {"minCount": 2}}}}),
            wrong: vec![
                ("/spec/schedulingPolicy/basic", json!({}), &["spec.schedulingPolicy"]),
                ("/spec/schedulingPolicy", json!({}), &["spec.schedulingPolicy"]),
                (
                    "/spec/schedulingPolicy/gang/minCount",
                    json!(-1),
                    &["spec.schedulingPolicy.gang.minCount"],
                ),
                ("/spec/priority", json!(5), &["spec.priority"]),
                (
                    "/spec/resourceClaims",
                    json!([{"name": "a", "resourceClaimName": "x"}, {"name": "a"}]),
                    &["spec.resourceClaims[1]", "spec.resourceClaims[1]"],
                ),
            ],
        },
        Case {
            group: "scheduling.k8s.io",
            version: "v1alpha2",
            plural: "workloads",
            name: "w",
            good: json!({"spec": {"podGroupTemplates": [
                {"name": "a", "schedulingPolicy": {"basic": {}}},
            ]}}),
            wrong: vec![
                ("/spec/podGroupTemplates", json!([]), &["spec.podGroupTemplates"]),
                ("/spec/podGroupTemplates/0/name", json!("A"), &["spec.podGroupTemplates[0].name"]),
                ("/spec/controllerRef", json!({"kind": "Job"}), &["spec.controllerRef.name"]),
            ],
        },
        Case {
            group: "storagemigration.k8s.io",
            version: "v1beta1",
            plural: "storageversionmigrations",
            name: "m",
            good: json!({"spec": {"resource": {"group": "apps", "resource": "deployments"}}}),
            wrong: vec![
                ("/spec/resource/resource", json!(""), &["spec.resource.resource"]),
                ("/spec/resource/group", json!("A"), &["spec.resource.group"]),
            ],
        },
        Case {
            group: "internal.apiserver.k8s.io",
            version: "v1alpha1",
            plural: "storageversions",
            name: "apps.deployments",
            good: json!({"spec": {}, "status": {
                "commonEncodingVersion": "apps/v1",
                "storageVersions": [{"apiServerID": "a", "encodingVersion": "apps/v1",
                    "decodableVersions": ["apps/v1"], "servedVersions": ["apps/v1"]}],
            }}),
            wrong: vec![
                ("/metadata/name", json!("deployments"), &["metadata.name"]),
                ("/status/commonEncodingVersion", json!("v1"), &["status.commonEncodingVersion"]),
                (
                    "/status/storageVersions/0/servedVersions/0",
                    json!("apps/v2"),
                    &["status.storageVersions[0].servedVersions[0]"],
                ),
            ],
        },
        Case {
            group: "resource.k8s.io",
            version: "v1alpha3",
            plural: "resourcepoolstatusrequests",
            name: "r",
            good: json!({"spec": {"driver": "d.example.com", "limit": 10}}),
            wrong: vec![
                ("/spec/driver", json!(""), &["spec.driver"]),
                ("/spec/limit", json!(1001), &["spec.limit"]),
            ],
        },
    ]
}

/// Sets what a pointer leads to, whose parent is there.
fn set(document: &mut Value, pointer: &str, value: Value) {
    let (parent, last) = pointer.rsplit_once('/').expect("a pointer");
    match document.pointer_mut(parent).expect("a parent") {
        Value::Object(map) => {
            map.insert(last.to_owned(), value);
        }
        other => *other.pointer_mut(&format!("/{last}")).expect("an item") = value,
    }
}

#[test]
fn early_kinds_have_rules() {
    for case in cases() {
        let kind = kinds::find(case.group, case.version, case.plural).expect("a kind");
        let mut good = case.good.clone();
        good["metadata"] = json!({"name": case.name});
        if kind.namespaced {
            good["metadata"]["namespace"] = "a".into();
        }
        let faults = |value: &Value| -> Vec<String> {
            let mut object = Object::from_value(value.clone()).expect("a map");
            let causes = validate::create(kind, &mut object);
            causes.into_iter().map(|cause| cause.field).collect()
        };
        assert_eq!(faults(&good), Vec::<String>::new(), "{}", case.plural);
        for (at, value, fields) in case.wrong {
            let mut bad = good.clone();
            set(&mut bad, at, value);
            assert_eq!(faults(&bad), fields, "{} {at}", case.plural);
        }
    }
}
