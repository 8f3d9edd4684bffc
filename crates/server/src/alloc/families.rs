//! IP families of a service: which it has, by its wish, its addresses and the cluster's ranges; and
//! how what a client left out on an update is taken from the stored service.
//!
//! Not here: taking addresses (`ips`).

use std::net::IpAddr;

use api::{Cause, Value};
use serde_json::json;

use super::range::Family;
use super::spec::{NONE, Spec};

const SINGLE: &str = "SingleStack";
const PREFER: &str = "PreferDualStack";
const REQUIRE: &str = "RequireDualStack";

/// Brings `clusterIP` and `clusterIPs` together, whichever the client set.
pub fn normalize(new: &mut Spec, old: Option<&Spec>) {
    let Some(old) = old else {
        if !new.cluster_ip.is_empty() && new.cluster_ips.is_empty() {
            new.cluster_ips = vec![new.cluster_ip.clone()];
        }
        return;
    };
    let same = |new: &Spec| new.cluster_ip == old.cluster_ip && new.cluster_ips == old.cluster_ips;
    if !old.cluster_ips.is_empty() && new.cluster_ips.is_empty() && old.cluster_ip == new.cluster_ip
    {
        new.cluster_ips.clone_from(&old.cluster_ips);
    }
    if old.cluster_ip == new.cluster_ip {
        return;
    }
    let untouched = new.cluster_ips == old.cluster_ips;
    if !old.cluster_ip.is_empty() && new.cluster_ip.is_empty() {
        // Upstream compares the plural forms here, which an old client leaves as they were.
        if untouched || same(new) {
            new.cluster_ips.clear();
        }
    } else if untouched {
        new.cluster_ips = vec![new.cluster_ip.clone()];
    }
}

/// Takes over what was allocated before and the client did not repeat.
pub fn keep_allocated(new: &mut Spec, old: &Spec) {
    if !old.is_external_name() && !new.is_external_name() {
        if new.cluster_ip.is_empty() {
            new.cluster_ip.clone_from(&old.cluster_ip);
        }
        if new.cluster_ips.is_empty() {
            new.cluster_ips.clone_from(&old.cluster_ips);
        }
    }
    if old.wants_node_ports() && new.wants_node_ports() {
        let used: Vec<i64> = new.ports.iter().map(|p| p.node_port).filter(|p| *p != 0).collect();
        for port in new.ports.iter_mut().filter(|p| p.node_port == 0) {
            let before = old.ports.iter().rev().find(|p| p.name == port.name);
            let before = before.map_or(0, |p| p.node_port);
            if !(used.contains(&before) && old.ports.iter().any(|p| p.node_port == before)) {
                port.node_port = before;
            }
        }
    }
    if old.wants_health_port() && new.wants_health_port() && new.health == 0 {
        new.health = old.health;
    }
}

/// Whether an update leaves everything about addresses of a dual-stack-preferring service alone.
pub fn untouched(new: &Spec, old: &Spec) -> bool {
    let prefers = |policy: &Option<String>| policy.as_deref() == Some(PREFER);
    prefers(&new.policy)
        && (old.policy.is_none() || prefers(&old.policy))
        && old.kind == new.kind
        && new.cluster_ips == old.cluster_ips
        && new.families == old.families
}

/// Fills in policy and families; the causes of a refusal.
pub fn fill(new: &mut Spec, old: Option<&Spec>, cluster: &[Family]) -> Result<(), Vec<Cause>> {
    if new.is_external_name() || old.is_some_and(|old| untouched(new, old)) {
        return Ok(());
    }
    let lone = new.cluster_ip == NONE && new.selectorless;
    if new.policy.is_none() {
        let kept = old.and_then(|old| old.policy.clone());
        let policy = if lone { REQUIRE } else { SINGLE };
        new.policy = Some(kept.unwrap_or_else(|| policy.to_owned()));
    }
    some(related_faults(new))?;
    let policy = new.policy.clone().unwrap_or_default();
    let mut causes = Vec::new();
    let mut refuse =
        |detail: &str| causes.push(Cause::invalid("spec.ipFamilyPolicy", &json!(policy), detail));
    if let Some(old) = old {
        if policy == SINGLE {
            if old.cluster_ips == new.cluster_ips {
                new.cluster_ips.truncate(1);
            }
            if old.families == new.families {
                new.families.truncate(1);
            }
        } else {
            let less = |new: usize, old: usize| new > 0 && new < old;
            if less(new.cluster_ips.len(), old.cluster_ips.len()) {
                refuse("must be 'SingleStack' to release the secondary cluster IP");
            }
            if less(new.families.len(), old.families.len()) {
                refuse("must be 'SingleStack' to release the secondary IP family");
            }
        }
    }
    if policy == SINGLE {
        const MUST: &str = "must be 'RequireDualStack' or 'PreferDualStack' when multiple";
        if new.cluster_ips.len() == 2 {
            refuse(&format!("{MUST} cluster IPs are specified"));
        }
        if new.families.len() == 2 {
            refuse(&format!("{MUST} IP families are specified"));
        }
    }
    for (i, ip) in new.cluster_ips.iter().enumerate().skip(new.families.len()) {
        let Ok(ip) = ip.parse::<IpAddr>() else { break };
        let family = Family::of(ip);
        if cluster.contains(&family) {
            new.families.push(family.as_str().to_owned());
        } else {
            let detail = format!("{} is not configured on this cluster", family.as_str());
            let field = format!("spec.clusterIPs[{i}]");
            causes.push(Cause::invalid(field, &json!(new.cluster_ips), &detail));
        }
    }
    some(causes)?;
    let default = cluster.first().copied().unwrap_or(Family::V4);
    let other = |first: &str| Family::parse(first).unwrap_or(default).other().as_str().to_owned();
    if lone {
        // What its endpoints have is its own affair.
        if new.families.is_empty() {
            new.families = vec![default.as_str().to_owned()];
        }
        if new.families.len() < 2 && policy != SINGLE {
            new.families.push(other(&new.families[0]));
        }
        return Ok(());
    }
    let mut causes = Vec::new();
    if policy == REQUIRE && cluster.len() < 2 {
        let detail = "this cluster is not configured for dual-stack services";
        causes.push(Cause::invalid("spec.ipFamilyPolicy", &json!(policy), detail));
    }
    for (i, family) in new.families.iter().enumerate() {
        if !Family::parse(family).is_some_and(|f| cluster.contains(&f)) {
            let field = format!("spec.ipFamilies[{i}]");
            causes.push(Cause::invalid(field, &json!(family), "not configured on this cluster"));
        }
    }
    some(causes)?;
    if new.families.is_empty() {
        new.families = vec![default.as_str().to_owned()];
    }
    if policy != SINGLE && new.families.len() == 1 && cluster.len() == 2 {
        new.families.push(other(&new.families[0]));
    }
    Ok(())
}

fn some(causes: Vec<Cause>) -> Result<(), Vec<Cause>> {
    if causes.is_empty() { Ok(()) } else { Err(causes) }
}

/// The faults of the fields that belong together: cluster IPs, families, policy.
fn related_faults(spec: &Spec) -> Vec<Cause> {
    const IPS: &str = "spec.clusterIPs";
    let ips = &spec.cluster_ips;
    let mut causes = Vec::new();
    if spec.cluster_ip.is_empty() {
        if !ips.is_empty() {
            let detail = "must be empty when `clusterIP` is not specified";
            causes.push(Cause::invalid(IPS, &json!(ips), detail));
        }
    } else if ips.is_empty() {
        causes.push(Cause::required(IPS, ""));
    } else if ips[0] != spec.cluster_ip {
        causes.push(Cause::invalid(IPS, &json!(ips), "first value must match `clusterIP`"));
    }
    for (i, family) in spec.families.iter().enumerate() {
        let (field, value) = (format!("spec.ipFamilies[{i}]"), Value::from(family.as_str()));
        if Family::parse(family).is_none() {
            causes.push(Cause::not_supported(field.clone(), &value, &["IPv4", "IPv6"]));
        }
        if spec.families[..i].contains(family) {
            causes.push(Cause::duplicate(field, &value));
        }
    }
    let policies = [SINGLE, PREFER, REQUIRE];
    if let Some(policy) = &spec.policy
        && !policies.contains(&policy.as_str())
    {
        causes.push(Cause::not_supported("spec.ipFamilyPolicy", &json!(policy), &policies));
    }
    let before = causes.len();
    for (i, ip) in ips.iter().enumerate() {
        if i == 0 && ip == NONE {
            if ips.len() > 1 {
                let detail = "'None' must be the first and only value";
                causes.push(Cause::invalid(IPS, &json!(ips), detail));
            }
        } else if ip.parse::<IpAddr>().is_err() {
            let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            causes.push(Cause::invalid(format!("{IPS}[{i}]"), &json!(ip), detail));
        }
    }
    let broken = causes.len() > before;
    if ips.len() > 2 {
        causes.push(Cause::invalid(IPS, &json!(ips), "may only hold up to 2 values"));
    }
    if broken {
        return causes;
    }
    let of: Vec<Option<Family>> = ips.iter().map(|ip| ip.parse().ok().map(Family::of)).collect();
    if ips.len() > 1 && of.windows(2).all(|pair| pair[0] == pair[1]) {
        let detail = "may specify no more than one IP for each IP family";
        causes.push(Cause::invalid(IPS, &json!(ips), detail));
    }
    for (i, (ip, family)) in ips.iter().zip(&spec.families).enumerate() {
        let (Some(is), Some(named)) = (of[i], Family::parse(family)) else { continue };
        if is != named {
            let detail = format!("expected an {family} value as indicated by `ipFamilies[{i}]`");
            causes.push(Cause::invalid(format!("{IPS}[{i}]"), &json!(ip), &detail));
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(ip: &str) -> Spec {
        let ips = if ip.is_empty() { vec![] } else { vec![ip.to_owned()] };
        Spec {
            kind: "ClusterIP".into(),
            cluster_ip: ip.into(),
            cluster_ips: ips,
            ..Spec::default()
        }
    }

    #[test]
    fn families_by_policy_and_cluster() {
        let (four, dual) = (&[Family::V4][..], &[Family::V4, Family::V6][..]);
        let table: &[(&str, Option<&str>, &[Family], &[&str], &str)] = &[
            ("", None, four, &["IPv4"], SINGLE),
            ("", Some(PREFER), four, &["IPv4"], PREFER),
            ("", Some(PREFER), dual, &["IPv4", "IPv6"], PREFER),
            ("fd00::1", Some(PREFER), dual, &["IPv6", "IPv4"], PREFER),
            (NONE, None, four, &["IPv4", "IPv6"], REQUIRE),
        ];
        for (ip, policy, cluster, families, filled) in table {
            let mut s = Spec { policy: policy.map(str::to_owned), selectorless: true, ..spec(ip) };
            fill(&mut s, None, cluster).expect("accepted");
            assert_eq!(
                (s.families.as_slice(), s.policy.as_deref()),
                (
                    families.iter().map(|f| (*f).to_owned()).collect::<Vec<_>>().as_slice(),
                    Some(*filled),
                ),
                "{ip} {policy:?}"
            );
        }
        let mut s = Spec { policy: Some(REQUIRE.into()), ..spec("") };
        assert!(fill(&mut s, None, four).is_err());
        assert!(fill(&mut spec("fd00::1"), None, four).is_err());
    }

    #[test]
    fn updates_keep_what_was_allocated() {
        let mut old = Spec { kind: "NodePort".into(), ..spec("10.0.0.1") };
        let port = |name: &str, node_port: i64| super::super::spec::Port {
            name: name.into(),
            port: 1,
            node_port,
        };
        old.ports = vec![port("a", 30001), port("b", 30002)];
        let mut new = Spec { kind: "NodePort".into(), ..spec("") };
        new.ports = vec![port("b", 0), port("c", 0), port("a", 30005)];
        keep_allocated(&mut new, &old);
        normalize(&mut new, Some(&old));
        assert_eq!((&*new.cluster_ip, new.cluster_ips.len()), ("10.0.0.1", 1));
        let ports: Vec<i64> = new.ports.iter().map(|p| p.node_port).collect();
        assert_eq!(ports, [30002, 0, 30005]);
    }
}
