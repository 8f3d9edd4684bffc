//! Services, endpoints and endpoint slices.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::at::{At, Faults};
use super::common;
use crate::names;

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

fn headless(spec: &At<'_>) -> bool {
    let ips = spec.get("clusterIPs");
    ips.len() == 1 && ips.index(0).text() == "None"
}

/// What an update or a create says about addresses.
pub(super) fn given_addresses(root: &At<'_>, f: &mut Faults) {
    addresses(&root.get("spec"), None, f);
}

pub(super) fn create(root: &At<'_>, f: &mut Faults) {
    service(root, None, f);
}

fn service(root: &At<'_>, old: Option<&At<'_>>, f: &mut Faults) {
    let notes = root.get("metadata.annotations");
    let (hints, mode) = (
        notes.key("service.kubernetes.io/topology-aware-hints"),
        notes.key("service.kubernetes.io/topology-mode"),
    );
    if hints.is_set() && mode.is_set() && hints.value != mode.value {
        mode.invalid(f, "must match annotations[service.kubernetes.io/topology-aware-hints] when both are specified");
    }
    let spec = root.get("spec");
    let kind_at = spec.get("type");
    let kind = kind_at.text();
    let ports = spec.get("ports");
    let is_headless = headless(&spec);
    if ports.is_empty() && !is_headless && kind != "ExternalName" {
        ports.required(f, "");
    }
    match kind {
        "LoadBalancer" | "NodePort" if is_headless => spec
            .get("clusterIPs")
            .index(0)
            .invalid(f, &format!("may not be set to 'None' for {kind} services")),
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if !spec.get(field).is_empty() {
                    spec.get(field).forbidden(f, "may not be set for ExternalName services");
                }
            }
            let name = spec.get("externalName");
            let text = name.text().strip_suffix('.').unwrap_or(name.text());
            if text.is_empty() {
                name.required(f, "");
            } else {
                for why in names::dns_subdomain(text) {
                    name.invalid_as(f, text, &why);
                }
            }
        }
        _ => {}
    }
    let mut port_names = BTreeSet::new();
    for port in ports.items() {
        service_port(&port, ports.len() > 1, &mut port_names, f);
    }
    common::labels(&spec.get("selector"), f);
    let affinity = spec.get("sessionAffinity");
    affinity.need_one_of(f, &["ClientIP", "None"]);
    let config = spec.get("sessionAffinityConfig");
    match affinity.text() {
        "ClientIP" => {
            let timeout = config.get("clientIP.timeoutSeconds");
            if !config.is_set() {
                config.required(f, "when session affinity type is ClientIP");
            } else if !timeout.is_set() {
                config.get("clientIP").required(f, "when session affinity type is ClientIP");
            } else if !(1..=86_400).contains(&timeout.number()) {
                timeout.invalid(f, "must be greater than 0 and less than 86400");
            }
        }
        "None" if config.is_set() => {
            config.forbidden(f, "must not be set when session affinity is None");
        }
        _ => {}
    }
    addresses(&spec, old, f);
    let had = |path: &str, value: &At<'_>| {
        old.is_some_and(|o| o.get("spec").get(path).items().any(|v| v.value == value.value))
    };
    for ip in spec.get("externalIPs").items() {
        let before = f.len();
        if !had("externalIPs", &ip) {
            common::legacy_ip(&ip, f);
        }
        if f.len() == before {
            endpoint_ip(&ip, f);
        }
    }
    kind_at.need_one_of(f, &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]);
    if kind == "ClusterIP" {
        for port in ports.items() {
            if port.get("nodePort").number() != 0 {
                port.get("nodePort").forbidden(f, "may not be used when `type` is 'ClusterIP'");
            }
        }
    }
    let (mut node_ports, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for port in ports.items() {
        let node = port.get("nodePort");
        if node.number() != 0
            && !node_ports.insert((port.get("protocol").text().to_owned(), node.number()))
        {
            node.duplicate(f);
        }
    }
    for port in ports.items() {
        let (protocol, number) =
            (port.get("protocol").text().to_owned(), port.get("port").number());
        if !numbers.insert((protocol.clone(), number)) {
            // Upstream shows its own struct.
            let text = format!(
                "Duplicate value: {{\"Name\":\"\",\"Protocol\":{},\"AppProtocol\":null,\"Port\":{number},\"TargetPort\":0,\"NodePort\":0}}",
                names::quote(&protocol)
            );
            f.push(crate::Cause::new(crate::CauseReason::Duplicate, port.path(), text));
        }
    }
    source_ranges(root, &spec, kind, &had, f);
    let allocate = spec.get("allocateLoadBalancerNodePorts");
    if allocate.is_set() && kind != "LoadBalancer" {
        allocate.forbidden(f, "may only be used when `type` is 'LoadBalancer'");
    }
    balancer_class(&spec, f);
    traffic(&spec, kind, f);
}

fn service_port(port: &At<'_>, named: bool, seen: &mut BTreeSet<String>, f: &mut Faults) {
    let name = port.get("name");
    if named && name.is_empty() {
        name.required(f, "");
    } else if !name.is_empty() {
        name.check(f, names::dns_label);
        if !seen.insert(name.text().to_owned()) {
            name.duplicate(f);
        }
    }
    let number = port.get("port");
    for why in names::port_number(number.number()) {
        number.invalid_as(f, number.number(), &why);
    }
    port.get("protocol").need_one_of(f, PROTOCOLS);
    common::port_or_name(&port.get("targetPort"), f);
    if port.get("appProtocol").is_set() {
        port.get("appProtocol").qualified(f);
    }
}

fn is_v6(text: &str) -> bool {
    matches!(common::parse_sloppy(text), Some(IpAddr::V6(_)))
}

fn addresses(spec: &At<'_>, old: Option<&At<'_>>, f: &mut Faults) {
    if spec.get("type").text() == "ExternalName" {
        return;
    }
    let (one, many) = (spec.get("clusterIP"), spec.get("clusterIPs"));
    if !one.is_empty() {
        if many.is_empty() {
            many.required(f, "");
        } else if many.index(0).text() != one.text() {
            many.invalid(f, "first value must match `clusterIP`");
        }
    } else if !many.is_empty() {
        many.invalid(f, "must be empty when `clusterIP` is not specified");
    }
    let families = spec.get("ipFamilies");
    let mut seen = BTreeSet::new();
    for family in families.items() {
        family.one_of(f, &["IPv4", "IPv6"]);
        if !seen.insert(family.text().to_owned()) {
            family.duplicate(f);
        }
    }
    spec.get("ipFamilyPolicy")
        .one_of_if_set(f, &["PreferDualStack", "RequireDualStack", "SingleStack"]);
    let mut bad = false;
    for (i, ip) in many.items().enumerate() {
        if i == 0 && ip.text() == "None" {
            if many.len() > 1 {
                bad = true;
                many.invalid(f, "'None' must be the first and only value");
            }
            continue;
        }
        let known =
            old.is_some_and(|o| o.get("spec.clusterIPs").items().any(|v| v.value == ip.value));
        let before = f.len();
        if !known {
            common::legacy_ip(&ip, f);
        }
        bad |= f.len() != before;
    }
    if many.len() > 2 {
        many.invalid(f, "may only hold up to 2 values");
    }
    if bad {
        return;
    }
    if many.len() > 1 {
        let six = many.items().filter(|ip| is_v6(ip.text())).count();
        if six == 0 || six == many.len() {
            many.invalid(f, "may specify no more than one IP for each IP family");
        }
    }
    if !headless(spec) {
        for (i, (ip, family)) in many.items().zip(families.items()).enumerate() {
            let wanted = family.text();
            if (wanted == "IPv4" && is_v6(ip.text())) || (wanted == "IPv6" && !is_v6(ip.text())) {
                ip.invalid(
                    f,
                    &format!("expected an {wanted} value as indicated by `ipFamilies[{i}]`"),
                );
            }
        }
    }
}

fn source_ranges(
    root: &At<'_>,
    spec: &At<'_>,
    kind: &str,
    had: &dyn Fn(&str, &At<'_>) -> bool,
    f: &mut Faults,
) {
    let ranges = spec.get("loadBalancerSourceRanges");
    let note = root.get("metadata.annotations");
    let note = note.key("service.beta.kubernetes.io/load-balancer-source-ranges");
    let wrong = "may only be used when `type` is 'LoadBalancer'";
    if !ranges.is_empty() {
        let path = spec.get("LoadBalancerSourceRanges");
        let shown = path.with(ranges.value);
        if kind != "LoadBalancer" {
            shown.forbidden(f, wrong);
        }
        for range in shown.items() {
            let trimmed = Value::from(range.text().trim());
            let range = range.with(&trimmed);
            if !had("loadBalancerSourceRanges", &range) {
                common::legacy_cidr(&range, f);
            }
        }
    } else if note.is_set() {
        if kind != "LoadBalancer" {
            note.forbidden(f, wrong);
        }
        for part in note.text().split(',').map(str::trim).filter(|p| !p.is_empty()) {
            common::legacy_cidr(&note.with(&part.into()), f);
        }
    }
}

fn balancer_class(spec: &At<'_>, f: &mut Faults) {
    let class = spec.get("loadBalancerClass");
    if !class.is_set() {
        return;
    }
    if spec.get("type").text() == "LoadBalancer" {
        class.qualified(f);
    } else {
        class.forbidden(f, "may only be used when `type` is 'LoadBalancer'");
    }
}

fn externally_accessible(spec: &At<'_>) -> bool {
    match spec.get("type").text() {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !spec.get("externalIPs").is_empty(),
        _ => false,
    }
}

fn needs_health_check(spec: &At<'_>) -> bool {
    spec.get("type").text() == "LoadBalancer" && spec.get("externalTrafficPolicy").text() == "Local"
}

fn traffic(spec: &At<'_>, kind: &str, f: &mut Faults) {
    let external = spec.get("externalTrafficPolicy");
    if externally_accessible(spec) {
        external.need_one_of(f, &["Cluster", "Local"]);
    } else if !external.is_empty() {
        external.invalid(f, "may only be set for externally-accessible services");
    }
    let health = spec.get("healthCheckNodePort");
    if needs_health_check(spec) {
        if health.number() == 0 {
            health.required(f, "");
        } else {
            health.range(f, 1, 65535);
        }
    } else if health.number() != 0 {
        health.invalid(
            f,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        );
    }
    let internal = spec.get("internalTrafficPolicy");
    if internal.is_set() {
        internal.one_of(f, &["Cluster", "Local"]);
    } else if matches!(kind, "NodePort" | "LoadBalancer" | "ClusterIP") {
        internal.required(f, "");
    }
    spec.get("trafficDistribution")
        .one_of_if_set(f, &["PreferClose", "PreferSameZone", "PreferSameNode"]);
}

pub(super) fn update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    let (spec, was) = (new.get("spec"), old.get("spec"));
    let external = [&spec, &was].iter().any(|s| s.get("type").text() == "ExternalName");
    if !external {
        cluster_ips(&spec, &was, f);
        families(&spec, &was, f);
    }
    let balanced = |s: &At<'_>| s.get("type").text() == "LoadBalancer";
    let class = spec.get("loadBalancerClass");
    if balanced(&spec) && balanced(&was) && class.value != was.get("loadBalancerClass").value {
        class.invalid(f, "may not change once set");
    }
    balancer_class(&spec, f);
    if needs_health_check(&spec) && needs_health_check(&was) {
        let health = spec.get("healthCheckNodePort");
        if health.value != was.get("healthCheckNodePort").value {
            health.forbidden(f, super::at::IMMUTABLE);
        }
    }
    service(new, Some(old), f);
}

fn cluster_ips(spec: &At<'_>, was: &At<'_>, f: &mut Faults) {
    if headless(spec) && headless(was) {
        return;
    }
    let (now, before) = (spec.get("clusterIPs"), was.get("clusterIPs"));
    let changed = "may not change once set";
    let shown = if now.is_set() { now.value.clone() } else { Value::Null };
    match now.len().cmp(&before.len()) {
        std::cmp::Ordering::Equal => {
            for (i, ip) in before.items().enumerate() {
                if now.index(i).value != ip.value {
                    now.index(i).invalid_as(f, shown.clone(), changed);
                }
            }
        }
        std::cmp::Ordering::Less => {
            if now.is_empty() {
                now.index(0).invalid_as(f, shown.clone(), "primary clusterIP can not be unset");
            } else if now.index(0).value != before.index(0).value {
                now.index(0).invalid_as(f, shown, changed);
            }
            let policy = spec.get("ipFamilyPolicy");
            if now.len() == 1 && policy.text() != "SingleStack" {
                policy.invalid(
                    f,
                    "must be set to 'SingleStack' when releasing the secondary clusterIP",
                );
            }
        }
        std::cmp::Ordering::Greater => {
            if !before.is_empty() && now.index(0).value != before.index(0).value {
                now.index(0).invalid_as(f, shown, changed);
            }
        }
    }
}

fn families(spec: &At<'_>, was: &At<'_>, f: &mut Faults) {
    if headless(spec) || headless(was) {
        return;
    }
    let (now, before) = (spec.get("ipFamilies"), was.get("ipFamilies"));
    let changed = "may not change once set";
    let ips = spec.get("clusterIPs").value.clone();
    match now.len().cmp(&before.len()) {
        std::cmp::Ordering::Equal => {
            for (i, family) in before.items().enumerate() {
                if now.index(i).value != family.value {
                    now.index(0).invalid_as(f, now.value.clone(), changed);
                }
            }
        }
        std::cmp::Ordering::Less => {
            if spec.get("clusterIPs").is_empty() {
                now.index(0).invalid_as(f, now.value.clone(), "primary ipFamily can not be unset");
            }
            if !now.is_empty() && now.index(0).value != before.index(0).value {
                now.index(0).invalid_as(f, ips, changed);
            }
            let policy = spec.get("ipFamilyPolicy");
            if now.len() == 1 && policy.text() != "SingleStack" {
                policy.invalid(
                    f,
                    "must be set to 'SingleStack' when releasing the secondary ipFamily",
                );
            }
        }
        std::cmp::Ordering::Greater => {
            if !before.is_empty() && now.index(0).value != before.index(0).value {
                now.index(0).invalid_as(f, ips, changed);
            }
        }
    }
}

/// The status of a load balancer, of services and of ingresses.
pub(super) fn status(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    let list = new.get("status.loadBalancer.ingress");
    if new.get("spec.type").text() != "LoadBalancer" && !list.is_empty() {
        return list.forbidden(f, "may only be used when `spec.type` is 'LoadBalancer'");
    }
    for ingress in list.items() {
        let (ip, mode, name) = (ingress.get("ip"), ingress.get("ipMode"), ingress.get("hostname"));
        let known =
            old.get("status.loadBalancer.ingress").items().any(|i| i.get("ip").value == ip.value);
        if !ip.is_empty() && !known {
            common::legacy_ip(&ip, f);
        }
        if !mode.is_set() {
            if !ip.is_empty() {
                mode.required(f, "must be specified when `ip` is set");
            }
        } else if ip.is_empty() {
            mode.forbidden(f, "may not be specified when `ip` is not set");
        } else {
            mode.one_of(f, &["Proxy", "VIP"]);
        }
        host_name(&name, f);
    }
}

/// A host name that is not an address.
pub(super) fn host_name(name: &At<'_>, f: &mut Faults) {
    if name.is_empty() {
        return;
    }
    name.check(f, names::dns_subdomain);
    if common::parse_sloppy(name.text()).is_some() {
        name.invalid(f, "must be a DNS name, not an IP address");
    }
}

/// An address that traffic can be sent to.
fn endpoint_ip(at: &At<'_>, f: &mut Faults) {
    let text = at.text();
    let Some(ip) = common::parse_sloppy(text) else {
        return at.invalid_as(f, text, "must be a valid IP address");
    };
    if ip.is_unspecified() {
        at.invalid(f, &format!("may not be unspecified ({text})"));
    }
    if ip.is_loopback() {
        at.invalid(f, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let (link_local, link_multicast) = match ip {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => {
            (v6.segments()[0] & 0xffc0 == 0xfe80, v6.segments()[0] & 0xff0f == 0xff02)
        }
    };
    if link_local {
        at.invalid(f, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if link_multicast {
        at.invalid(f, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

pub(super) fn endpoints_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    if new.get("subsets").value != old.get("subsets").value {
        endpoints(new, f);
    }
}

pub(super) fn endpoints(root: &At<'_>, f: &mut Faults) {
    for subset in root.get("subsets").items() {
        let (ready, unready) = (subset.get("addresses"), subset.get("notReadyAddresses"));
        if ready.is_empty() && unready.is_empty() {
            subset.required(f, "must specify `addresses` or `notReadyAddresses`");
        }
        for address in ready.items().chain(unready.items()) {
            let ip = address.get("ip");
            common::legacy_ip(&ip, f);
            address.get("hostname").check_if_set(f, names::dns_label);
            if address.get("nodeName").is_set() {
                address.get("nodeName").check(f, names::dns_subdomain);
            }
            endpoint_ip(&ip, f);
        }
        let ports = subset.get("ports");
        for port in ports.items() {
            let (name, number) = (port.get("name"), port.get("port"));
            if ports.len() > 1 && name.is_empty() {
                name.required(f, "");
            } else if !name.is_empty() {
                name.check(f, names::dns_label);
            }
            for why in names::port_number(number.number()) {
                number.invalid_as(f, number.number(), &why);
            }
            port.get("protocol").need_one_of(f, PROTOCOLS);
            if port.get("appProtocol").is_set() {
                port.get("appProtocol").qualified(f);
            }
        }
    }
}

const ADDRESS_TYPES: &[&str] = &["FQDN", "IPv4", "IPv6"];

pub(super) fn slice(root: &At<'_>, f: &mut Faults) {
    root.get("addressType").need_one_of(f, ADDRESS_TYPES);
    slice_ports(&root.get("ports"), f);
    slice_endpoints(root, f);
}

fn slice_ports(ports: &At<'_>, f: &mut Faults) {
    if ports.len() > 20_000 {
        return ports.too_many(f, 20_000);
    }
    let mut seen = BTreeSet::new();
    for port in ports.items() {
        let name = port.get("name");
        if !name.is_empty() {
            name.check(f, names::dns_label);
        }
        if !seen.insert(name.text().to_owned()) {
            name.duplicate_as(f, name.text());
        }
        port.get("protocol").one_of(f, PROTOCOLS);
        if port.get("appProtocol").is_set() {
            port.get("appProtocol").qualified(f);
        }
    }
}

fn slice_endpoints(root: &At<'_>, f: &mut Faults) {
    let (kind, endpoints) = (root.get("addressType"), root.get("endpoints"));
    if endpoints.len() > 1000 {
        return endpoints.too_many(f, 1000);
    }
    for endpoint in endpoints.items() {
        let addresses = endpoint.get("addresses");
        if addresses.is_empty() {
            addresses.required(f, "must contain at least 1 address");
        } else if addresses.len() > 100 {
            addresses.too_many(f, 100);
        }
        for address in addresses.items() {
            let (what, before) = (kind.text(), f.len());
            match what {
                "IPv4" => {
                    common::legacy_ip(&address, f);
                }
                "IPv6" => common::canonical_ip(&address, f),
                "FQDN" => fqdn(&address, f),
                _ => {}
            }
            if matches!(what, "IPv4" | "IPv6") && f.len() == before {
                if (what == "IPv6") != is_v6(address.text()) {
                    let why = format!("must be an {what} address");
                    addresses.invalid_as(f, address.text(), &why);
                }
                endpoint_ip(&address, f);
            }
        }
        if endpoint.get("nodeName").is_set() {
            endpoint.get("nodeName").check(f, names::dns_subdomain);
        }
        let topology = endpoint.get("deprecatedTopology");
        if topology.len() > 16 {
            topology.too_many(f, 16);
        }
        common::labels(&topology, f);
        if endpoint.get("hostname").is_set() {
            endpoint.get("hostname").check(f, names::dns_label);
        }
        hints(&endpoint.get("hints"), f);
    }
}

fn fqdn(at: &At<'_>, f: &mut Faults) {
    let text = at.text().strip_suffix('.').unwrap_or(at.text());
    if text.is_empty() {
        return at.required(f, "");
    }
    let faults = names::dns_subdomain(text);
    if !faults.is_empty() {
        at.invalid_as(f, text, &faults.join(","));
    } else if !text.contains('.') {
        at.invalid_as(f, text, "should be a domain with at least two segments separated by dots");
    }
}

fn hints(at: &At<'_>, f: &mut Faults) {
    let lists: [(&str, fn(&str) -> names::Faults); 2] =
        [("forZones", names::label_value), ("forNodes", names::dns_subdomain)];
    for (list, rule) in lists {
        let items = at.get(list);
        if items.len() > 8 {
            return items.too_many(f, 8);
        }
        let mut seen = BTreeSet::new();
        for item in items.items() {
            let name = item.get("name");
            if !seen.insert(name.text().to_owned()) {
                name.duplicate(f);
            }
            name.check(f, rule);
        }
    }
}

pub(super) fn slice_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    new.get("addressType").need_one_of(f, ADDRESS_TYPES);
    slice_ports(&new.get("ports"), f);
    // What is stored already stays.
    if new.get("endpoints").value != old.get("endpoints").value {
        slice_endpoints(new, f);
    }
    new.get("addressType").immutable(f, &old.get("addressType"));
}
