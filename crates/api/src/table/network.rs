//! Texts of services, ingresses, endpoints and addresses.

use std::collections::BTreeSet;

use serde_json::Value;

use super::cells::{at, get, list, show, text};
use super::format::{few, field, named};
use crate::object::Object;

/// Addresses of a load balancer, sorted.
fn balancer(object: &Object) -> Vec<String> {
    let addresses: BTreeSet<String> = list(object, "status.loadBalancer.ingress")
        .iter()
        .map(|i| if field(i, "ip").is_empty() { field(i, "hostname") } else { field(i, "ip") })
        .filter(|a| !a.is_empty())
        .map(str::to_owned)
        .collect();
    addresses.into_iter().collect()
}

pub fn ingress_address(object: &Object) -> Value {
    balancer(object).join(",").into()
}

pub fn ingress_hosts(object: &Object) -> Value {
    let rules = list(object, "spec.rules");
    let hosts: Vec<&str> = rules.iter().map(|r| field(r, "host")).collect();
    let named: Vec<&str> = hosts.iter().copied().filter(|h| !h.is_empty()).take(3).collect();
    // A rule after the third host, named or not, makes it "more".
    let third = hosts.iter().enumerate().filter(|(_, h)| !h.is_empty()).nth(2);
    let more = third.is_some_and(|(at, _)| at + 1 < hosts.len());
    if named.is_empty() {
        "*".into()
    } else if more {
        format!("{} + {} more...", named.join(","), hosts.len() as i64 - 3).into()
    } else {
        named.join(",").into()
    }
}

pub fn ingress_ports(object: &Object) -> Value {
    if list(object, "spec.tls").is_empty() { "80" } else { "80, 443" }.into()
}

pub fn ingress_class_name(object: &Object) -> Value {
    let default = object.annotation("ingressclass.kubernetes.io/is-default-class") == Some("true");
    named(object, default)
}

pub fn ingress_class_parameters(object: &Object) -> Value {
    let Some(parameters) = get(object, "spec.parameters") else { return "<none>".into() };
    let group = match at(parameters, "apiGroup").and_then(Value::as_str) {
        Some(group) => format!(".{group}"),
        None => String::new(),
    };
    format!("{}{group}/{}", field(parameters, "kind"), field(parameters, "name")).into()
}

pub fn service_external(object: &Object) -> Value {
    let external = list(object, "spec.externalIPs").iter().filter_map(Value::as_str);
    let external: Vec<String> = external.map(str::to_owned).collect();
    match text(object, "spec.type") {
        "ClusterIP" | "NodePort" if external.is_empty() => "<none>".into(),
        "ClusterIP" | "NodePort" => external.join(",").into(),
        "LoadBalancer" => {
            let mut all = balancer(object);
            all.extend(external);
            if all.is_empty() { "<pending>".into() } else { all.join(",").into() }
        }
        "ExternalName" => text(object, "spec.externalName").into(),
        _ => "<unknown>".into(),
    }
}

pub fn service_ports(object: &Object) -> Value {
    let ports: Vec<String> = list(object, "spec.ports")
        .iter()
        .map(|port| {
            let number = |key| at(port, key).and_then(Value::as_i64).unwrap_or(0);
            let protocol = field(port, "protocol");
            match (number("port"), number("nodePort")) {
                (port, node @ 1..) => format!("{port}:{node}/{protocol}"),
                (port, _) => format!("{port}/{protocol}"),
            }
        })
        .collect();
    if ports.is_empty() { "<none>".into() } else { ports.join(",").into() }
}

pub fn endpoints(object: &Object) -> Value {
    let subsets = list(object, "subsets");
    if subsets.is_empty() {
        return "<none>".into();
    }
    let mut all = Vec::new();
    for subset in subsets {
        let items = |key| at(subset, key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let ips = || items("addresses").iter().map(|a| field(a, "ip"));
        if items("ports").is_empty() {
            all.extend(ips().map(str::to_owned));
        }
        for port in items("ports") {
            let port = show(at(port, "port"));
            all.extend(ips().map(|ip| match ip.contains(':') {
                true => format!("[{ip}]:{port}"),
                false => format!("{ip}:{port}"),
            }));
        }
    }
    few(&all, "").into()
}

pub fn slice_ports(object: &Object) -> Value {
    let ports: Vec<String> = list(object, "ports")
        .iter()
        .map(|port| match (at(port, "port"), at(port, "name")) {
            (Some(number), _) => number.to_string(),
            (None, Some(name)) => show(Some(name)),
            (None, None) => "*".into(),
        })
        .collect();
    few(&ports, "<unset>").into()
}

pub fn slice_endpoints(object: &Object) -> Value {
    let addresses: Vec<String> = list(object, "endpoints")
        .iter()
        .flat_map(|e| at(e, "addresses").and_then(Value::as_array).into_iter().flatten())
        .map(|a| show(Some(a)))
        .collect();
    few(&addresses, "<unset>").into()
}

pub fn parent_ref(object: &Object) -> Value {
    let Some(parent) = get(object, "spec.parentRef") else { return "<none>".into() };
    let mut text = crate::resource::qualified(field(parent, "group"), field(parent, "resource"))
        .to_lowercase();
    for part in [field(parent, "namespace"), field(parent, "name")] {
        if !part.is_empty() {
            text = format!("{text}/{part}");
        }
    }
    text.into()
}
