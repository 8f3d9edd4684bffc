//! A question about the cluster's domain, answered from the [`Zone`]: pure, by the Kubernetes DNS
//! specification 1.1.0, with the details that CoreDNS settled.
//!
//! Not here: messages and sockets ([`super::server`]), other domains ([`super::forward`]).

use std::collections::BTreeSet;
use std::net::IpAddr;

use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::zone::{EndpointNames, Kind, Port, Zone};

/// How long answers live, in seconds.
pub const TTL: u32 = 5;
/// Version of the specification, under `dns-version`.
const SPECIFICATION: &str = "1.1.0";

/// What a question comes to.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// Records.
    Found {
        /// The answer section.
        answers: Vec<Record>,
        /// Addresses of the targets in it.
        additionals: Vec<Record>,
    },
    /// The name exists, but not with that type.
    NoData,
    /// The name does not exist.
    NoName,
    /// An alias to follow: the records so far, and where to.
    Alias(Box<Record>, Name),
    /// Not about the cluster.
    Outside,
}

/// The cluster's domain.
#[derive(Clone, Debug)]
pub struct Domain {
    /// As in `cluster.local.`
    pub name: Name,
    labels: Vec<String>,
    /// The DNS server's own address.
    pub address: IpAddr,
}

fn labels_of(name: &Name) -> Vec<String> {
    name.iter().map(|l| String::from_utf8_lossy(l).to_ascii_lowercase()).collect()
}

fn host_record(name: &Name, ip: IpAddr) -> Record {
    let data = match ip {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    };
    Record::from_rdata(name.clone(), TTL, data)
}

fn is_of(kind: RecordType, ip: IpAddr) -> bool {
    match kind {
        RecordType::A => ip.is_ipv4(),
        RecordType::AAAA => ip.is_ipv6(),
        RecordType::ANY => true,
        _ => false,
    }
}

impl Domain {
    /// A domain of its text (`cluster.local`); `None` where that is no name.
    pub fn new(domain: &str, address: IpAddr) -> Option<Self> {
        let mut name = Name::from_ascii(domain.trim_matches('.')).ok()?.to_lowercase();
        name.set_fqdn(true);
        Some(Self { labels: labels_of(&name), name, address })
    }

    fn absolute(&self, relative: &[&str]) -> Option<Name> {
        let all = relative.iter().copied().chain(self.labels.iter().map(String::as_str));
        let mut name = Name::from_labels(all.map(str::as_bytes)).ok()?;
        name.set_fqdn(true);
        Some(name)
    }

    /// The start of authority, which negative answers carry.
    pub fn authority(&self, serial: u32) -> Option<Record> {
        let (server, mailbox) = (self.absolute(&["ns", "dns"])?, self.absolute(&["hostmaster"])?);
        let soa = SOA::new(server, mailbox, serial, 7200, 1800, 86400, TTL);
        Some(Record::from_rdata(self.name.clone(), TTL, RData::SOA(soa)))
    }

    /// Answers a question.
    pub fn answer(&self, zone: &Zone, name: &Name, kind: RecordType, serial: u32) -> Outcome {
        let labels = labels_of(name);
        let Some(relative) = labels.strip_suffix(self.labels.as_slice()) else {
            return self.reverse(zone, name, &labels, kind);
        };
        let parts: Vec<&str> = relative.iter().map(String::as_str).collect();
        match parts.as_slice() {
            [] => self.apex(name, kind, serial),
            ["dns-version"] if kind == RecordType::TXT => found(vec![Record::from_rdata(
                name.clone(),
                TTL,
                RData::TXT(TXT::new(vec![SPECIFICATION.to_owned()])),
            )]),
            ["dns-version" | "svc" | "pod" | "dns"] => Outcome::NoData,
            ["ns", "dns"] if is_of(kind, self.address) => {
                found(vec![host_record(name, self.address)])
            }
            ["ns", "dns"] => Outcome::NoData,
            [namespace, "svc" | "pod"] => {
                if zone.has_namespace(namespace) {
                    Outcome::NoData
                } else {
                    Outcome::NoName
                }
            }
            [ip, namespace, "pod"] => pod(zone, name, kind, ip, namespace),
            [service, namespace, "svc"] => {
                self.service(zone, name, kind, (namespace, service), None)
            }
            [port, protocol, service, namespace, "svc"]
                if port.starts_with('_') && protocol.starts_with('_') =>
            {
                let wanted = Some((&port[1..], &protocol[1..]));
                self.service(zone, name, kind, (namespace, service), wanted)
            }
            [endpoint, service, namespace, "svc"] => {
                self.endpoint(zone, name, kind, (namespace, service), endpoint)
            }
            _ => Outcome::NoName,
        }
    }

    fn apex(&self, name: &Name, kind: RecordType, serial: u32) -> Outcome {
        match kind {
            RecordType::SOA => {
                self.authority(serial).map_or(Outcome::NoData, |soa| found(vec![soa]))
            }
            RecordType::NS => {
                let Some(server) = self.absolute(&["ns", "dns"]) else { return Outcome::NoData };
                let record = Record::from_rdata(name.clone(), TTL, RData::NS(NS(server.clone())));
                Outcome::Found {
                    answers: vec![record],
                    additionals: vec![host_record(&server, self.address)],
                }
            }
            _ => Outcome::NoData,
        }
    }

    fn service(
        &self,
        zone: &Zone,
        name: &Name,
        kind: RecordType,
        (namespace, service): (&str, &str),
        wanted: Option<(&str, &str)>,
    ) -> Outcome {
        let Some(known) = zone.service(namespace, service) else { return Outcome::NoName };
        let matches = |p: &Port| wanted.is_none_or(|(n, proto)| p.name == n && p.protocol == proto);
        match &known.kind {
            Kind::Alias(target) => {
                let Ok(mut target) = Name::from_utf8(target) else { return Outcome::NoData };
                target.set_fqdn(true);
                let record =
                    Record::from_rdata(name.clone(), TTL, RData::CNAME(CNAME(target.clone())));
                if kind == RecordType::CNAME {
                    found(vec![record])
                } else {
                    Outcome::Alias(Box::new(record), target)
                }
            }
            Kind::Cluster(ips) => {
                let ports: Vec<&Port> = known.ports.iter().filter(|p| matches(p)).collect();
                if ports.is_empty() && wanted.is_some() {
                    return Outcome::NoName;
                }
                if kind != RecordType::SRV {
                    return hosts(name, kind, ips.iter().copied());
                }
                let Some(target) = self.absolute(&[service, namespace, "svc"]) else {
                    return Outcome::NoData;
                };
                let targets = ports.iter().map(|p| (target.clone(), p.number)).collect();
                let additionals = ips.iter().map(|ip| host_record(&target, *ip)).collect();
                srv(name, targets, additionals)
            }
            Kind::Headless => {
                let endpoints: Vec<&EndpointNames> = zone
                    .endpoints(namespace, service)
                    .filter(|e| wanted.is_none() || e.ports.iter().any(matches))
                    .collect();
                self.of_endpoints(name, kind, (namespace, service), &endpoints, matches)
            }
        }
    }

    fn endpoint(
        &self,
        zone: &Zone,
        name: &Name,
        kind: RecordType,
        (namespace, service): (&str, &str),
        label: &str,
    ) -> Outcome {
        if zone.service(namespace, service).is_none() {
            return Outcome::NoName;
        }
        let endpoints: Vec<&EndpointNames> =
            zone.endpoints(namespace, service).filter(|e| e.label == label).collect();
        self.of_endpoints(name, kind, (namespace, service), &endpoints, |_| true)
    }

    fn of_endpoints(
        &self,
        name: &Name,
        kind: RecordType,
        (namespace, service): (&str, &str),
        endpoints: &[&EndpointNames],
        matches: impl Fn(&Port) -> bool,
    ) -> Outcome {
        if endpoints.is_empty() {
            // As the specification has it for headless services without ready endpoints.
            return Outcome::NoName;
        }
        if kind != RecordType::SRV {
            return hosts(name, kind, endpoints.iter().map(|e| e.ip));
        }
        let (mut targets, mut additionals) = (BTreeSet::new(), Vec::new());
        for endpoint in endpoints {
            let Some(target) = self.absolute(&[&endpoint.label, service, namespace, "svc"]) else {
                continue;
            };
            for port in endpoint.ports.iter().filter(|p| matches(p)) {
                targets.insert((target.clone(), port.number));
            }
            let record = host_record(&target, endpoint.ip);
            if !additionals.contains(&record) {
                additionals.push(record);
            }
        }
        srv(name, targets.into_iter().collect(), additionals)
    }

    fn reverse(&self, zone: &Zone, name: &Name, labels: &[String], kind: RecordType) -> Outcome {
        let Some(ip) = address_of(labels) else { return Outcome::Outside };
        let names = zone.names_of(ip);
        if names.is_empty() {
            return Outcome::Outside;
        }
        if !matches!(kind, RecordType::PTR | RecordType::ANY) {
            return Outcome::NoData;
        }
        let targets = names.iter().filter_map(|parts| {
            self.absolute(&parts.iter().map(String::as_str).collect::<Vec<_>>())
        });
        found(
            targets
                .map(|target| Record::from_rdata(name.clone(), TTL, RData::PTR(PTR(target))))
                .collect(),
        )
    }
}

fn found(answers: Vec<Record>) -> Outcome {
    if answers.is_empty() {
        return Outcome::NoData;
    }
    Outcome::Found { answers, additionals: Vec::new() }
}

fn hosts(name: &Name, kind: RecordType, ips: impl Iterator<Item = IpAddr>) -> Outcome {
    let unique: BTreeSet<IpAddr> = ips.filter(|ip| is_of(kind, *ip)).collect();
    found(unique.into_iter().map(|ip| host_record(name, ip)).collect())
}

fn srv(name: &Name, targets: Vec<(Name, u16)>, additionals: Vec<Record>) -> Outcome {
    if targets.is_empty() {
        return Outcome::NoData;
    }
    let weight = u16::try_from(100 / targets.len()).unwrap_or(1).max(1);
    let answers = targets
        .into_iter()
        .map(|(target, port)| {
            let data = RData::SRV(SRV::new(0, weight, port, target));
            Record::from_rdata(name.clone(), TTL, data)
        })
        .collect();
    Outcome::Found { answers, additionals }
}

/// `10-42-0-7` in an existing namespace is 10.42.0.7, whether or not a pod has it.
fn pod(zone: &Zone, name: &Name, kind: RecordType, ip: &str, namespace: &str) -> Outcome {
    if !zone.has_namespace(namespace) {
        return Outcome::NoName;
    }
    let four = ip.replace('-', ".").parse::<std::net::Ipv4Addr>().map(IpAddr::V4);
    let six = || ip.replace('-', ":").parse::<std::net::Ipv6Addr>().map(IpAddr::V6);
    match four.or_else(|_| six()) {
        Ok(ip) => hosts(name, kind, std::iter::once(ip)),
        Err(_) => Outcome::NoName,
    }
}

/// The address in the name of a reverse question.
fn address_of(labels: &[String]) -> Option<IpAddr> {
    let parts: Vec<&str> = labels.iter().map(String::as_str).collect();
    match parts.as_slice() {
        [rest @ .., "in-addr", "arpa"] if rest.len() == 4 => {
            let text: Vec<&str> = rest.iter().rev().copied().collect();
            text.join(".").parse().ok().map(IpAddr::V4)
        }
        [rest @ .., "ip6", "arpa"] if rest.len() == 32 => {
            let mut value: u128 = 0;
            for nibble in rest.iter().rev() {
                let digit = u8::from_str_radix(nibble, 16).ok().filter(|d| *d < 16)?;
                value = (value << 4) | u128::from(digit);
            }
            Some(IpAddr::V6(value.into()))
        }
        _ => None,
    }
}
