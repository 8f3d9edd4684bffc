//! A row each: an object, and what is said about it.

use super::*;

fn said(group: &str, plural: &str, sub: &str, old: Option<&str>, new: &str) -> Vec<String> {
    let object =
        |text: &str| Object::from_value(serde_json::from_str(text).expect("JSON")).expect("a map");
    let (new, old) = (object(new), old.map(object));
    let mut out = Vec::new();
    if let Some((_, _, _, advise)) =
        objects::KINDS.iter().find(|(g, p, s, _)| (*g, *p, *s) == (group, plural, sub))
    {
        advise(&new, old.as_ref(), &mut out);
    } else if let Some(row) = TEMPLATES.iter().find(|(g, p, ..)| (*g, *p) == (group, plural)) {
        workload(row, &new, old.as_ref(), &mut out);
    } else {
        pods::advise("", &new.0, &mut out);
    }
    out
}

/// Plural (or `plural/sub`) with its group before a dot, the object before (empty: none), the
/// object, the warnings.
#[rustfmt::skip]
const ROWS: &[(&str, &str, &str, &str, &[&str])] = &[
    ("", "services", "", r#"{"spec":{"clusterIP":"FD00::1","clusterIPs":["FD00::1"],"externalIPs":["010.0.0.1"],"loadBalancerSourceRanges":["10.0.0.1/8"]}}"#, &[
        r#"spec.clusterIPs[0]: IPv6 address "FD00::1" should be in RFC 5952 canonical format ("fd00::1")"#,
        r#"spec.externalIPs[0]: non-standard IP address "010.0.0.1" is invalid: use "10.0.0.1""#,
        "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
        r#"spec.loadBalancerSourceRanges[0]: CIDR value "10.0.0.1/8" is ambiguous in this context (should be "10.0.0.0/8" or "10.0.0.1/32"?)"#,
    ]),
    ("", "services/status", "{}", r#"{"status":{"loadBalancer":{"ingress":[{"ip":"::ffff:1.2.3.4"},{"hostname":"h"}]}}}"#, &[
        r#"status.loadBalancer.ingress[0]: non-standard IP address "::ffff:1.2.3.4" is invalid: use "1.2.3.4""#,
    ]),
    ("", "nodes", "", r#"{"spec":{"externalID":"x","podCIDRs":["FD00::/64"]}}"#, &[
        "spec.externalID: this field is deprecated, and is unused by Kubernetes",
        r#"spec.podCIDRs[0]: IPv6 CIDR value "FD00::/64" should be in RFC 5952 canonical format ("fd00::/64")"#,
    ]),
    ("", "resourcequotas", "", r#"{"spec":{"hard":{"cpu":"2","limits.cpu":"1","requests.memory":"1Gi","limits.memory":"1Gi"}}}"#, &[
        "ResourceQuota cpu (2) should be less than limits.cpu (1)",
    ]),
    ("", "resourcequotas", "{}", r#"{"spec":{"hard":{"cpu":"2","limits.cpu":"1"}}}"#, &[]),
    ("", "secrets", "", r#"{"type":"kubernetes.io/tls","data":{"tls.crt":"eA==","tls.key":"eA=="}}"#, &[
        "tls: failed to find any PEM data in certificate input",
    ]),
    ("", "secrets", "", r#"{"type":"Opaque","data":{"tls.crt":"eA=="}}"#, &[]),
    ("", "persistentvolumes", "", r#"{"metadata":{"annotations":{"volume.beta.kubernetes.io/mount-options":"ro"}},"spec":{"rbd":{},
        "nodeAffinity":{"required":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"beta.kubernetes.io/os","operator":"Exists"}]}]}}}}"#, &[
        r#"metadata.annotations[volume.beta.kubernetes.io/mount-options]: deprecated since v1.31; use "mountOptions" attribute instead"#,
        r#"spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].key: beta.kubernetes.io/os is deprecated since v1.14; use "kubernetes.io/os" instead"#,
        "spec.rbd: deprecated in v1.28, non-functional in v1.31+",
    ]),
    ("networking.k8s.io", "ingresses", "{}", r#"{"metadata":{"annotations":{"kubernetes.io/ingress.class":"x"}}}"#, &[]),
    ("networking.k8s.io", "networkpolicies", "", r#"{"spec":{"egress":[{"to":[{"ipBlock":{"cidr":"10.0.0.0/8","except":["10.1.0.1/16"]}}]}]}}"#, &[
        r#"spec.egress[0].to[0].ipBlock.except[0]: CIDR value "10.1.0.1/16" is ambiguous in this context (should be "10.1.0.0/16" or "10.1.0.1/32"?)"#,
    ]),
    ("storage.k8s.io", "storageclasses", "", r#"{"allowedTopologies":[{"matchLabelExpressions":[{"key":"beta.kubernetes.io/arch","values":["x"]}]}]}"#, &[
        r#"allowedTopologies[0].matchLabelExpressions[0].key: deprecated since v1.14; use "kubernetes.io/arch" instead"#,
    ]),
    ("resource.k8s.io", "resourceslices", "", r#"{"spec":{"driver":"A.b"}}"#, &[
        r#"spec.driver: driver names should be lowercase; "A.b" contains uppercase characters"#,
    ]),
    ("apps", "statefulsets", "", r#"{"spec":{"revisionHistoryLimit":-1,"volumeClaimTemplates":[{"spec":{"resources":{"requests":{"storage":"1m"}}}}]}}"#, &[
        r#"spec.volumeClaimTemplates[0].resources.requests[storage]: fractional byte value "1m" is invalid, must be an integer"#,
        "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended",
    ]),
    ("batch", "cronjobs", r#"{"metadata":{"generation":1}}"#, r#"{"metadata":{"generation":2},"spec":{"schedule":"TZ=x * * * * *","jobTemplate":{"spec":
        {"completionMode":"Indexed","completions":100001,"parallelism":10001,"template":{"spec":{"terminationGracePeriodSeconds":-1}}}}}}"#, &[
        "spec.jobTemplate.spec: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail",
        "spec.jobTemplate.spec.template.spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
        "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
    ]),
    ("apps", "deployments", r#"{"metadata":{"name":"d","generation":2}}"#, r#"{"metadata":{"name":"d","generation":2},"spec":{"template":{"spec":{"terminationGracePeriodSeconds":-1}}}}"#, &[]),
    ("", "pods", "", r#"{"spec":{"volumes":[{"name":"v","configMap":{"name":"m","items":[{"key":"a","path":"x/"},{"key":"b","path":"x/y"}]}},
        {"name":"w","projected":{"sources":[{"serviceAccountToken":{"path":"t"}},{"secret":{"name":"s","items":[{"key":"k","path":"t"}]}}]}}]}}"#, &[
        r#"volume "v" (ConfigMap "m"): overlapping paths: "x/y" with "x""#,
        r#"volume "w" (Projected): overlapping paths: "t" (Secret "s") with "t" (ServiceAccountToken)"#,
    ]),
    ("", "pods", "", r#"{"metadata":{"annotations":{"seccomp.security.alpha.kubernetes.io/pod":"x"}},"spec":{"dnsConfig":{"nameservers":["1.1.1.01"]},
        "affinity":{"nodeAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{"preference":{"matchExpressions":[{"key":"k","operator":"In","values":["-"]}]}}]},
        "podAntiAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{"podAffinityTerm":{"topologyKey":"k"}}]}}}}"#, &[
        "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].values[0]: - is invalid, a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        r#"metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the "seccompProfile" field instead"#,
        "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.labelSelector: a null labelSelector results in matching no pod",
        r#"spec.dnsConfig.nameservers[0]: non-standard IP address "1.1.1.01" is invalid: use "1.1.1.1""#,
    ]),
];

#[test]
fn advice() {
    for (group, what, old, new, wanted) in ROWS {
        let (plural, sub) = what.split_once('/').unwrap_or((what, ""));
        let old = Some(*old).filter(|old| !old.is_empty());
        assert_eq!(said(group, plural, sub, old, new), *wanted, "{what}: {new}");
    }
}

#[test]
fn keys_belong_to_their_certificates() {
    let pair = || rcgen::generate_simple_self_signed(vec!["a".to_owned()]).expect("generates");
    use base64::Engine as _;
    let pack = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    let (one, other) = (pair(), pair());
    let (certificate, key) = (pack(one.cert.pem()), pack(one.signing_key.serialize_pem()));
    let strange = pack(other.signing_key.serialize_pem());
    let fault = |certificate: &str, key: &str| keys::fault(Some(certificate), Some(key));
    assert_eq!(fault(&certificate, &key), None);
    let wrong = [
        (&certificate, &strange, "tls: private key does not match public key"),
        (
            &certificate,
            &certificate,
            "tls: found a certificate rather than a key in the PEM for the private key",
        ),
        (
            &key,
            &key,
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched",
        ),
    ];
    for (certificate, key, why) in wrong {
        assert_eq!(fault(certificate, key).as_deref(), Some(why));
    }
}
