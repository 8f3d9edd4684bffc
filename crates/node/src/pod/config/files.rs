//! Files that every container gets: `/etc/hosts`, and what goes into `/etc/resolv.conf`.
//!
//! Text only; writing and mounting them is the worker's.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::sandbox::hostname;
use crate::cri;
use crate::pod::view::PodView;

/// The text of `/etc/hosts`.
pub fn hosts(pod: &PodView, pod_ips: &[String], cluster_domain: &str, node_hosts: &str) -> String {
    let mut out = String::new();
    if pod.host_network() {
        out.push_str("# Kubernetes-managed hosts file (host network).\n");
        out.push_str(node_hosts);
    } else {
        out.push_str(
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
        );
        let name = hostname(pod);
        for ip in pod_ips {
            // Writing to a String cannot fail.
            let _ = match super::sandbox::fqdn(pod, cluster_domain) {
                Some(fqdn) => writeln!(out, "{ip}\t{fqdn}\t{name}"),
                None => writeln!(out, "{ip}\t{name}"),
            };
        }
    }
    let aliases = pod.spec.host_aliases.as_deref().unwrap_or_default();
    if !aliases.is_empty() {
        out.push_str("\n# Entries added by HostAliases.\n");
        for alias in aliases {
            let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
            let _ = writeln!(out, "{}\t{names}", alias.ip);
        }
    }
    out
}

/// Reads a `resolv.conf`.
pub fn parse_resolv_conf(text: &str) -> cri::DnsConfig {
    let mut config = cri::DnsConfig::default();
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or("");
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => config.servers.extend(words.next().map(str::to_owned)),
            Some("search") => config.searches = words.map(str::to_owned).collect(),
            Some("domain") if config.searches.is_empty() => {
                config.searches = words.take(1).map(str::to_owned).collect();
            }
            Some("options") => config.options.extend(words.map(str::to_owned)),
            _ => {}
        }
    }
    config
}

/// The pod's `resolv.conf` by its DNS policy.
pub fn dns(
    pod: &PodView,
    node: &cri::DnsConfig,
    cluster_dns: &[IpAddr],
    cluster_domain: &str,
) -> cri::DnsConfig {
    let policy = pod.spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster = match policy {
        "ClusterFirstWithHostNet" => true,
        "ClusterFirst" => !pod.host_network(),
        _ => false,
    };
    let mut config = if policy == "None" {
        cri::DnsConfig::default()
    } else if cluster && !cluster_dns.is_empty() {
        let ns = pod.namespace();
        let mut searches = vec![
            format!("{ns}.svc.{cluster_domain}"),
            format!("svc.{cluster_domain}"),
            cluster_domain.to_owned(),
        ];
        searches.extend(node.searches.iter().cloned());
        cri::DnsConfig {
            servers: cluster_dns.iter().map(ToString::to_string).collect(),
            searches,
            options: vec!["ndots:5".into()],
        }
    } else {
        node.clone()
    };
    if let Some(own) = &pod.spec.dns_config {
        config.servers.extend(own.nameservers.iter().flatten().cloned());
        config.searches.extend(own.searches.iter().flatten().cloned());
        for option in own.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            let text =
                option.value.as_ref().map_or_else(|| name.clone(), |v| format!("{name}:{v}"));
            // The pod's own option replaces one of the same name.
            config.options.retain(|o| o.split(':').next() != Some(&name));
            config.options.push(text);
        }
    }
    dedup(&mut config.servers);
    dedup(&mut config.searches);
    // What the resolver library reads at most.
    config.servers.truncate(3);
    config.searches.truncate(32);
    config
}

fn dedup(list: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    list.retain(|s| seen.insert(s.clone()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::view::tests::pod;

    #[test]
    fn dns_policies() {
        let node =
            parse_resolv_conf("# c\nnameserver 192.0.2.53\nsearch corp.example\noptions edns0\n");
        let of = |spec: serde_json::Value| {
            let p = pod(
                serde_json::json!({ "metadata": { "name": "p", "namespace": "n" }, "spec": spec }),
            );
            dns(&p, &node, &["10.43.0.10".parse().expect("an address")], "cluster.local")
        };
        let c = of(serde_json::json!({ "containers": [] }));
        assert_eq!(c.servers, ["10.43.0.10"]);
        assert_eq!(
            c.searches,
            ["n.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example"]
        );
        assert_eq!(c.options, ["ndots:5"]);
        assert_eq!(of(serde_json::json!({ "containers": [], "hostNetwork": true })), node);
        assert_eq!(of(serde_json::json!({ "containers": [], "dnsPolicy": "Default" })), node);
        let c = of(serde_json::json!({ "containers": [], "dnsPolicy": "None", "dnsConfig": {
            "nameservers": ["1.1.1.1"], "options": [{ "name": "ndots", "value": "2" }, { "name": "rotate" }] } }));
        assert_eq!(
            (c.servers, c.options),
            (vec!["1.1.1.1".into()], vec!["ndots:2".into(), "rotate".into()])
        );
    }

    #[test]
    fn hosts_name_the_pod() {
        let p = pod(serde_json::json!({ "metadata": { "name": "p", "namespace": "n" }, "spec": {
            "containers": [], "subdomain": "web",
            "hostAliases": [{ "ip": "192.0.2.7", "hostnames": ["a", "b"] }] } }));
        let text = hosts(&p, &["10.0.0.1".into()], "cluster.local", "");
        assert!(text.contains("10.0.0.1\tp.web.n.svc.cluster.local\tp\n"));
        assert!(text.ends_with("192.0.2.7\ta\tb\n"));
    }
}
