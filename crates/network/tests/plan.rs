//! What services come to on a node: objects in, plans out, in words. And what a change of plans
//! costs in the kernel: elements in, elements out.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use isopod_network::netlink::nft::Family;
use isopod_network::objects::{EndpointSlice, Service};
use isopod_network::proxy::plan::{Action, At, Node, Pool, ServicePlan, plan};
use isopod_network::proxy::state::State;
use isopod_network::proxy::table::Layout;
use serde_json::{Value, json};

fn merged(mut base: Value, more: &Value) -> Value {
    if let (Some(base), Some(more)) = (base.as_object_mut(), more.as_object()) {
        for (key, value) in more {
            let slot = base.entry(key).or_insert(Value::Null);
            *slot = if slot.is_object() { merged(slot.take(), value) } else { value.clone() };
        }
    }
    base
}

fn service(more: &Value) -> Service {
    let base = json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "type": "ClusterIP", "clusterIP": "10.43.0.20", "clusterIPs": ["10.43.0.20"],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}],
        },
    });
    serde_json::from_value(merged(base, more)).expect("a service")
}

/// Endpoints as "last octet, node, flags": `r` ready, `t` terminating but serving, `-` neither,
/// then hints: `z=zone`, `n=node`.
fn slice(endpoints: &[&str]) -> EndpointSlice {
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|text| {
            let words: Vec<&str> = text.split_whitespace().collect();
            let conditions = match words[2] {
                "r" => json!({"ready": true}),
                "t" => json!({"ready": false, "serving": true, "terminating": true}),
                _ => json!({"ready": false, "serving": false, "terminating": false}),
            };
            let hint = |key: &str| {
                let found = words[3..].iter().filter_map(|w| w.strip_prefix(key));
                found.map(|name| json!({"name": name})).collect::<Vec<_>>()
            };
            json!({
                "addresses": [format!("10.42.0.{}", words[0])], "nodeName": words[1],
                "conditions": conditions,
                "hints": {"forZones": hint("z="), "forNodes": hint("n=")},
            })
        })
        .collect();
    serde_json::from_value(json!({
        "addressType": "IPv4", "endpoints": endpoints,
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }))
    .expect("a slice")
}

fn here() -> Node {
    Node { name: "a".into(), zone: "one".into(), answered_here: BTreeSet::new() }
}

fn words(plan: &ServicePlan) -> String {
    let mut out = String::new();
    let octets = |targets: &[(std::net::IpAddr, u16)]| {
        let all: Vec<String> = targets
            .iter()
            .map(|(ip, _)| ip.to_string().rsplit('.').next().unwrap_or("").to_owned())
            .collect();
        all.join(",")
    };
    for port in &plan.ports {
        for entry in &port.entries {
            let at = match entry.at {
                At::Address(ip, port) => format!("{ip}:{port}"),
                At::Node(port) => format!("node:{port}"),
            };
            let to = match entry.action {
                Action::Internal(Pool::Cluster) => format!("[{}]", octets(&port.cluster)),
                Action::Internal(Pool::Local) => format!("[{}] here", octets(&port.local)),
                Action::External => format!("[{}] masqueraded", octets(&port.cluster)),
                Action::ExternalLocal => {
                    format!("[{}], outside [{}]", octets(&port.cluster), octets(&port.local))
                }
                Action::Drop => "dropped".into(),
                Action::Reject => "refused".into(),
            };
            let _ = write!(out, "{at} -> {to}");
            if !entry.sources.is_empty() {
                let ranges: Vec<String> = entry.sources.iter().map(ToString::to_string).collect();
                let _ = write!(out, " from {}", ranges.join(","));
            }
            out.push_str("; ");
        }
    }
    if let Some(health) = &plan.health {
        let _ = write!(out, "health {} says {}; ", health.port, health.local_endpoints);
    }
    out.trim_end_matches("; ").to_owned()
}

#[test]
fn plans() {
    let node_port = json!({"spec": {"type": "NodePort",
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30080}]}});
    let balancer = merged(
        node_port.clone(),
        &json!({"spec": {"type": "LoadBalancer"},
                "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.5", "ipMode": "VIP"}]}}}),
    );
    let external_local = |base: &Value| {
        let policy =
            json!({"spec": {"externalTrafficPolicy": "Local", "healthCheckNodePort": 32000}});
        merged(base.clone(), &policy)
    };
    let internal_local = json!({"spec": {"internalTrafficPolicy": "Local"}});
    let table: &[(&str, Value, &[&str], &str)] = &[
        ("plain", json!({}), &["2 a r", "3 b r"], "10.43.0.20:80 -> [2,3]"),
        ("not ready ones are out", json!({}), &["2 a r", "3 b -", "4 b t"], "10.43.0.20:80 -> [2]"),
        ("leaving ones serve when alone", json!({}), &["3 b -", "4 b t"], "10.43.0.20:80 -> [4]"),
        ("nobody", json!({}), &["3 b -"], "10.43.0.20:80 -> refused"),
        ("no slices", json!({}), &[], "10.43.0.20:80 -> refused"),
        ("headless", json!({"spec": {"clusterIP": "None"}}), &["2 a r"], ""),
        ("an alias", json!({"spec": {"type": "ExternalName", "clusterIP": ""}}), &["2 a r"], ""),
        (
            "another proxy's",
            json!({"metadata": {"labels": {"service.kubernetes.io/service-proxy-name": "x"}}}),
            &["2 a r"],
            "",
        ),
        (
            "a node port",
            node_port.clone(),
            &["2 a r", "3 b r"],
            "10.43.0.20:80 -> [2,3]; node:30080 -> [2,3] masqueraded",
        ),
        (
            "external addresses",
            json!({"spec": {"externalIPs": ["198.51.100.7", "fd00::7"]}}),
            &["2 a r"],
            "10.43.0.20:80 -> [2]; 198.51.100.7:80 -> [2] masqueraded",
        ),
        (
            "a load balancer, policy Local",
            external_local(&balancer),
            &["2 a r", "3 b r"],
            "10.43.0.20:80 -> [2,3]; 203.0.113.5:80 -> [2,3], outside [2]; \
             node:30080 -> [2,3], outside [2]; health 32000 says 1",
        ),
        (
            "policy Local, leaving ones here",
            external_local(&node_port),
            &["2 a t", "3 b r"],
            "10.43.0.20:80 -> [3]; node:30080 -> [3], outside [2]; health 32000 says 0",
        ),
        (
            "policy Local, nobody anywhere",
            external_local(&node_port),
            &[],
            "10.43.0.20:80 -> refused; node:30080 -> refused; health 32000 says 0",
        ),
        (
            "a proxying load balancer is left to itself",
            merged(
                node_port.clone(),
                &json!({"status": {"loadBalancer":
                    {"ingress": [{"ip": "203.0.113.5", "ipMode": "Proxy"}]}}}),
            ),
            &["2 a r"],
            "10.43.0.20:80 -> [2]; node:30080 -> [2] masqueraded",
        ),
        (
            "source ranges",
            merged(
                balancer,
                &json!({"spec": {"loadBalancerSourceRanges": ["192.0.2.0/24", "fd00::/64"]}}),
            ),
            &["2 a r"],
            "10.43.0.20:80 -> [2]; \
             203.0.113.5:80 -> [2] masqueraded from 192.0.2.0/24,203.0.113.5/32; \
             node:30080 -> [2] masqueraded",
        ),
        (
            "internal Local",
            internal_local.clone(),
            &["2 a r", "3 b r"],
            "10.43.0.20:80 -> [2] here",
        ),
        (
            "internal Local, none here",
            internal_local.clone(),
            &["3 b r"],
            "10.43.0.20:80 -> dropped",
        ),
        ("internal Local, nobody", internal_local, &[], "10.43.0.20:80 -> refused"),
        (
            "by zone",
            json!({}),
            &["2 b r z=one", "3 b r z=two", "4 b r z=one"],
            "10.43.0.20:80 -> [2,4]",
        ),
        ("one without a hint", json!({}), &["2 b r z=one", "3 b r"], "10.43.0.20:80 -> [2,3]"),
        ("no hint for ours", json!({}), &["2 b r z=two", "3 b r z=two"], "10.43.0.20:80 -> [2,3]"),
        (
            "by node before zone",
            json!({}),
            &["2 a r z=one n=a", "3 b r z=one n=b"],
            "10.43.0.20:80 -> [2]",
        ),
    ];
    for (what, more, endpoints, expected) in table {
        let plan = plan(Family::V4, &service(more), &[slice(endpoints)], &here());
        assert_eq!(words(&plan), *expected, "{what}");
    }
}

#[test]
fn an_address_answered_on_this_machine_is_left_alone() {
    let node = Node {
        answered_here: BTreeSet::from(["10.43.0.20".parse().expect("an address")]),
        ..here()
    };
    let plan = plan(Family::V4, &service(&json!({})), &[], &node);
    assert_eq!(words(&plan), "");
    assert!(plan.cluster_ips.is_empty());
}

#[test]
fn a_change_costs_what_changed() {
    let mut state = State::new(Family::V4, Layout::default());
    let key = |name: &str| ("default".to_owned(), name.to_owned());
    let of = |more: &Value, endpoints: &[&str]| {
        Some(plan(Family::V4, &service(more), &[slice(endpoints)], &here()))
    };
    let none = json!({});
    // Cluster address, way in, two endpoints, one of them here.
    assert_eq!(state.take(vec![(key("web"), of(&none, &["2 a r", "3 b r"]))]).size(), 5);
    assert!(state.take(vec![(key("web"), of(&none, &["2 a r", "3 b r"]))]).is_empty());
    // One more endpoint: its element, and the way in exchanged for that to three.
    assert_eq!(state.take(vec![(key("web"), of(&none, &["2 a r", "3 b r", "4 b r"]))]).size(), 3);
    // One exchanged: one out, one in.
    assert_eq!(state.take(vec![(key("web"), of(&none, &["2 a r", "3 b r", "5 b r"]))]).size(), 2);
    // A second service with the same endpoint and the same external address: the first keeps the
    // address, the endpoint's hairpin element is there already.
    let more = json!({"spec": {"externalIPs": ["198.51.100.7"]}});
    state.take(vec![(key("web"), of(&more, &["2 a r"]))]);
    let second =
        merged(more.clone(), &json!({"spec": {"clusterIP": "10.43.0.21", "clusterIPs": []}}));
    let change = state.take(vec![(key("other"), of(&second, &["2 a r"]))]);
    assert_eq!(change.size(), 3, "cluster address, way in, endpoint");
    // When the first goes, the external address, leading to the same endpoint, is the second's.
    let change = state.take(vec![(key("web"), None)]);
    assert_eq!(change.size(), 3, "the first's own three");
    assert_eq!(state.take(vec![(key("other"), None)]).size(), 6);
    assert!(state.is_empty());
}
