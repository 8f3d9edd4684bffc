//! Network policies, ingresses and their classes, address and network objects.

use std::net::IpAddr;

use serde_json::Value;

use super::at::{At, Faults, IMMUTABLE};
use super::{common, service};
use crate::names;

pub(super) fn policy(root: &At<'_>, f: &mut Faults) {
    let spec = root.get("spec");
    common::label_selector(&spec.get("podSelector"), f);
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in spec.get(direction).items() {
            for port in rule.get("ports").items() {
                policy_port(&port, f);
            }
            for peer in rule.get(peers).items() {
                policy_peer(&peer, f);
            }
        }
    }
    let types = spec.get("policyTypes");
    if types.len() > 2 {
        return types.invalid(f, "may not specify more than two policyTypes");
    }
    for kind in types.items() {
        kind.one_of(f, &["Ingress", "Egress"]);
    }
}

fn policy_port(at: &At<'_>, f: &mut Faults) {
    at.get("protocol").one_of_if_set(f, &["TCP", "UDP", "SCTP"]);
    let (port, end) = (at.get("port"), at.get("endPort"));
    match port.value {
        Value::Null => {
            if end.is_set() {
                end.invalid(f, "may not be specified when `port` is not specified");
            }
        }
        Value::String(_) => {
            if end.is_set() {
                end.invalid(f, "may not be specified when `port` is non-numeric");
            }
            port.check(f, names::port_name);
        }
        _ => {
            port.range(f, 1, 65535);
            if end.is_set() {
                if end.number() < port.number() {
                    end.invalid_as(f, port.number(), "must be greater than or equal to `port`");
                }
                end.range(f, 1, 65535);
            }
        }
    }
}

fn policy_peer(at: &At<'_>, f: &mut Faults) {
    let mut count = 0;
    for field in ["podSelector", "namespaceSelector"] {
        if at.get(field).is_set() {
            count += 1;
            common::label_selector(&at.get(field), f);
        }
    }
    let block = at.get("ipBlock");
    if block.is_set() {
        count += 1;
        ip_block(&block, f);
    }
    if count == 0 {
        at.required(f, "must specify a peer");
    } else if count > 1 && block.is_set() {
        at.forbidden(f, "may not specify both ipBlock and another peer");
    }
}

fn ip_block(at: &At<'_>, f: &mut Faults) {
    let cidr = at.get("cidr");
    if cidr.is_empty() {
        return cidr.required(f, "");
    }
    common::legacy_cidr(&cidr, f);
    let Some((base, bits)) = common::parse_cidr(cidr.text()) else { return };
    for except in at.get("except").items() {
        common::legacy_cidr(&except, f);
        let Some((ip, length)) = common::parse_cidr(except.text()) else { continue };
        let inside = ip.is_ipv4() == base.is_ipv4()
            && common::masked(common::masked(ip, length), bits) == common::masked(base, bits);
        if !inside || bits >= length {
            except.invalid(f, "must be a strict subset of `cidr`");
        }
    }
}

pub(super) fn ingress(root: &At<'_>, f: &mut Faults) {
    ingress_spec(&root.get("spec"), f);
    let class = root.get("spec.ingressClassName");
    let notes = root.get("metadata.annotations");
    let note = notes.key("kubernetes.io/ingress.class");
    if note.is_set() && class.is_set() && note.value != class.value {
        let path = root.get("annotations.kubernetes.io/ingress.class");
        path.with(note.value).invalid(f, "must match `ingressClassName` when both are specified");
    }
}

pub(super) fn ingress_update(new: &At<'_>, _old: &At<'_>, f: &mut Faults) {
    ingress_spec(&new.get("spec"), f);
}

fn ingress_spec(spec: &At<'_>, f: &mut Faults) {
    let (rules, default) = (spec.get("rules"), spec.get("defaultBackend"));
    if rules.is_empty() && !default.is_set() {
        let shown = if rules.is_set() { rules.value.clone() } else { Value::Null };
        spec.invalid_as(f, shown, "either `defaultBackend` or `rules` must be specified");
    }
    if default.is_set() {
        backend(&default, f);
    }
    for rule in rules.items() {
        let host = rule.get("host");
        if !host.is_empty() {
            if common::parse_sloppy(host.text()).is_some() {
                host.invalid(f, "must be a DNS name, not an IP address");
            }
            if host.text().contains('*') {
                host.check(f, names::wildcard_dns_subdomain);
            } else {
                host.check(f, names::dns_subdomain);
            }
        }
        let http = rule.get("http");
        if http.is_set() {
            http.get("paths").need(f);
            for path in http.get("paths").items() {
                ingress_path(&path, f);
            }
        }
    }
    for tls in spec.get("tls").items() {
        for host in tls.get("hosts").items() {
            if host.text().contains('*') {
                host.check(f, names::wildcard_dns_subdomain);
            } else {
                host.check(f, names::dns_subdomain);
            }
        }
        tls.get("secretName").check_if_set(f, names::dns_subdomain);
    }
    let class = spec.get("ingressClassName");
    if class.is_set() {
        class.check(f, names::dns_subdomain);
    }
}

fn ingress_path(at: &At<'_>, f: &mut Faults) {
    let (kind, path) = (at.get("pathType"), at.get("path"));
    if !kind.is_set() {
        return kind.required(f, "pathType must be specified");
    }
    let absolute = path.text().starts_with('/');
    match kind.text() {
        "Exact" | "Prefix" => {
            if !absolute {
                path.invalid_as(f, path.text(), "must be an absolute path");
            }
            for bad in ["//", "/./", "/../", "%2f", "%2F"] {
                if path.text().contains(bad) {
                    path.invalid(f, &format!("must not contain '{bad}'"));
                }
            }
            for bad in ["/..", "/."] {
                if path.text().ends_with(bad) {
                    path.invalid(f, &format!("cannot end with '{bad}'"));
                }
            }
        }
        "ImplementationSpecific" => {
            if !path.is_empty() && !absolute {
                path.invalid(f, "must be an absolute path");
            }
        }
        _ => kind.unsupported(f, &["Exact", "ImplementationSpecific", "Prefix"]),
    }
    backend(&at.get("backend"), f);
}

fn backend(at: &At<'_>, f: &mut Faults) {
    let (resource, target) = (at.get("resource"), at.get("service"));
    match (resource.is_set(), target.is_set()) {
        (true, true) => at.invalid_as(f, "", "cannot set both resource and service backends"),
        (false, false) => at.invalid_as(f, "", "resource or service backend is required"),
        (true, false) => {
            if resource.get("apiGroup").is_set() {
                resource.get("apiGroup").check(f, names::dns_subdomain);
            }
            resource.get("kind").need_check(f, names::path_segment);
            resource.get("name").need_check(f, names::path_segment);
        }
        (false, true) => {
            target.get("name").need_check(f, names::dns_label);
            let (name, number) = (target.get("port.name"), target.get("port.number"));
            match (name.is_empty(), number.number() == 0) {
                (false, false) => at.invalid_as(f, "", "cannot set both port name & port number"),
                (false, true) => name.check(f, names::port_name),
                (true, false) => number.range(f, 1, 65535),
                (true, true) => at.required(f, "port name or number is required"),
            }
        }
    }
}

pub(super) fn ingress_status(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    for ingress in new.get("status.loadBalancer.ingress").items() {
        let ip = ingress.get("ip");
        let known =
            old.get("status.loadBalancer.ingress").items().any(|i| i.get("ip").value == ip.value);
        if !ip.is_empty() && !known {
            common::legacy_ip(&ip, f);
        }
        service::host_name(&ingress.get("hostname"), f);
    }
}

pub(super) fn ingress_class(root: &At<'_>, f: &mut Faults) {
    let controller = root.get("spec.controller");
    if controller.len() > 250 {
        controller.too_long(f, 250);
    }
    domain_path(&controller, f);
    let parameters = root.get("spec.parameters");
    if !parameters.is_set() {
        return;
    }
    if parameters.get("apiGroup").is_set() {
        parameters.get("apiGroup").check(f, names::dns_subdomain);
    }
    parameters.get("kind").need_check(f, names::path_segment);
    parameters.get("name").need_check(f, names::path_segment);
    let (scope, namespace) = (parameters.get("scope"), parameters.get("namespace"));
    match scope.text() {
        "Cluster" => {
            if namespace.is_set() {
                namespace.forbidden(f, "`parameters.scope` is set to 'Cluster'");
            }
        }
        "Namespace" => {
            if namespace.is_set() {
                namespace.check(f, names::dns_label);
            } else {
                namespace.required(f, "`parameters.scope` is set to 'Namespace'");
            }
        }
        _ => scope.unsupported(f, &["Cluster", "Namespace"]),
    }
}

/// `acme.io/foo`
pub(super) fn domain_path(at: &At<'_>, f: &mut Faults) {
    let text = at.text();
    if text.is_empty() {
        return at.required(f, "");
    }
    match text.split_once('/') {
        Some((domain, path)) if !domain.is_empty() && !path.is_empty() => {
            for why in names::dns_subdomain(domain) {
                at.invalid_as(f, domain, &why);
            }
            if !path
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b))
            {
                let why =
                    names::pattern_fault("Invalid path", "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+", &[]);
                at.invalid_as(f, path, &why);
            }
        }
        _ => at.invalid(f, "must be a domain-prefixed path (such as \"acme.io/foo\")"),
    }
}

pub(super) fn ingress_class_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    let (now, was) = (new.get("spec.controller"), old.get("spec.controller"));
    if now.text() != was.text() {
        now.invalid_as(f, now.text(), IMMUTABLE);
    }
    ingress_class(new, f);
}

/// The name of an address object is the address.
pub(super) fn ip_name(text: &str) -> names::Faults {
    let value = Value::from(text);
    let mut f = Vec::new();
    common::canonical_ip(&At::root(&value), &mut f);
    let shown = format!("Invalid value: {}: ", names::quote(text));
    f.into_iter().map(|c| c.message.strip_prefix(&shown).unwrap_or(&c.message).to_owned()).collect()
}

pub(super) fn ip_address(root: &At<'_>, f: &mut Faults) {
    let parent = root.get("spec.parentRef");
    if !parent.is_set() {
        return parent.required(f, "");
    }
    parent.get("group").check_if_set(f, names::dns_subdomain);
    parent.get("resource").need_check(f, names::path_segment);
    parent.get("name").need_check(f, names::path_segment);
    parent.get("namespace").check_if_set(f, names::path_segment);
}

pub(super) fn ip_address_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    ip_address(new, f);
    let (now, was) = (new.get("spec.parentRef"), old.get("spec.parentRef"));
    now.immutable_struct(f, &was, "ParentReference");
}

pub(super) fn service_cidr(root: &At<'_>, f: &mut Faults) {
    let list = root.get("spec.cidrs");
    if list.is_empty() {
        return list.required(f, "at least one CIDR required");
    }
    if list.len() > 2 {
        let text =
            format!("Invalid value: {{\"CIDRs\":{}}}: may only hold up to 2 values", list.value);
        f.push(crate::Cause::new(crate::CauseReason::Invalid, list.path(), text));
        return;
    }
    for cidr in list.items() {
        common::canonical_cidr(&cidr, f);
    }
    let families: Vec<bool> = list
        .items()
        .filter_map(|c| common::parse_cidr(c.text()).map(|(ip, _)| matches!(ip, IpAddr::V4(_))))
        .collect();
    if matches!(families.as_slice(), [a, b] if a == b) {
        list.invalid(f, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64");
    }
}

pub(super) fn service_cidr_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    let (now, was) = (new.get("spec.cidrs"), old.get("spec.cidrs"));
    if now.len() == was.len() {
        for (a, b) in now.items().zip(was.items()) {
            if a.value != b.value {
                a.invalid(f, IMMUTABLE);
            }
        }
    } else if was.len() == 1 && now.len() == 2 {
        if now.index(0).value != was.index(0).value {
            now.index(0).invalid(f, IMMUTABLE);
        }
        service_cidr(new, f);
    } else {
        now.invalid(f, IMMUTABLE);
    }
}
