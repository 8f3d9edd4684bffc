//! What the cluster's names stand for: services, endpoints and namespaces, indexed by name and
//! address, and kept up to date by single objects.
//!
//! A projection of a few dozen bytes an object, as names are asked for far more often than they
//! change. Not here: DNS records ([`super::answer`]).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use crate::objects::{EndpointSlice, SERVICE_NAME, Service};

/// One port, as SRV records tell it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port {
    /// Its name, in lower case.
    pub name: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// Its number.
    pub number: u16,
}

/// What a service's name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its cluster addresses.
    Cluster(Vec<IpAddr>),
    /// Its endpoints.
    Headless,
    /// Another name.
    Alias(String),
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceNames {
    /// Where its name leads.
    pub kind: Kind,
    /// Its ports.
    pub ports: Vec<Port>,
}

/// A ready endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointNames {
    /// Its address.
    pub ip: IpAddr,
    /// Its label under the service: the pod's hostname, or the address with dashes.
    pub label: String,
    /// The ports it serves; none for services without.
    pub ports: std::sync::Arc<[Port]>,
}

type ServiceKey = (String, String);

/// The index.
#[derive(Debug, Default)]
pub struct Zone {
    namespaces: HashSet<String>,
    services: HashMap<ServiceKey, ServiceNames>,
    /// Endpoints of a service, by slice.
    endpoints: HashMap<ServiceKey, BTreeMap<String, Vec<EndpointNames>>>,
    /// Which service a slice belongs to, by the slice's namespace and name.
    slices: HashMap<ServiceKey, String>,
    by_cluster_ip: HashMap<IpAddr, ServiceKey>,
    by_endpoint_ip: HashMap<IpAddr, Vec<(ServiceKey, String)>>,
}

fn protocol(name: &str) -> String {
    if name.is_empty() { "tcp".to_owned() } else { name.to_ascii_lowercase() }
}

/// The label of an endpoint without a hostname.
pub fn dashed(ip: IpAddr) -> String {
    ip.to_string().replace(['.', ':'], "-")
}

impl Zone {
    /// A namespace came or went.
    pub fn set_namespace(&mut self, name: &str, there: bool) {
        if there {
            self.namespaces.insert(name.to_owned());
        } else {
            self.namespaces.remove(name);
        }
    }

    /// A service came or changed.
    pub fn set_service(&mut self, service: &Service) {
        let key = (service.metadata.namespace.clone(), service.metadata.name.clone());
        self.remove_service(&key.0, &key.1);
        let kind = if service.is_external_name() {
            Kind::Alias(service.spec.external_name.clone())
        } else if service.is_headless() {
            Kind::Headless
        } else {
            Kind::Cluster(service.cluster_addresses().collect())
        };
        if let Kind::Cluster(ips) = &kind {
            for ip in ips {
                self.by_cluster_ip.insert(*ip, key.clone());
            }
        }
        let ports = service.spec.ports.iter().map(|p| Port {
            name: p.name.to_ascii_lowercase(),
            protocol: protocol(&p.protocol),
            number: p.port,
        });
        let ports = ports.collect();
        self.services.insert(key, ServiceNames { kind, ports });
    }

    /// A service went.
    pub fn remove_service(&mut self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(ServiceNames { kind: Kind::Cluster(ips), .. }) = self.services.remove(&key) {
            for ip in ips {
                if self.by_cluster_ip.get(&ip) == Some(&key) {
                    self.by_cluster_ip.remove(&ip);
                }
            }
        }
    }

    /// An endpoint slice came or changed.
    pub fn set_slice(&mut self, slice: &EndpointSlice) {
        let (namespace, name) = (&slice.metadata.namespace, &slice.metadata.name);
        self.remove_slice(namespace, name);
        let Some(service) = slice.metadata.labels.get(SERVICE_NAME) else { return };
        let ports: std::sync::Arc<[Port]> = slice
            .ports
            .iter()
            .filter_map(|p| {
                Some(Port {
                    name: p.name.to_ascii_lowercase(),
                    protocol: protocol(&p.protocol),
                    number: p.port?,
                })
            })
            .collect();
        let key = (namespace.clone(), service.clone());
        let mut all = Vec::new();
        for endpoint in slice.endpoints.iter().filter(|e| e.ready()) {
            for ip in endpoint.addresses.iter().filter_map(|a| a.parse::<IpAddr>().ok()) {
                let label = match endpoint.hostname.as_deref() {
                    Some(hostname) if !hostname.is_empty() => hostname.to_ascii_lowercase(),
                    _ => dashed(ip),
                };
                let reverse = self.by_endpoint_ip.entry(ip).or_default();
                reverse.push((key.clone(), label.clone()));
                all.push(EndpointNames { ip, label, ports: ports.clone() });
            }
        }
        self.slices.insert((namespace.clone(), name.clone()), service.clone());
        self.endpoints.entry(key).or_default().insert(name.clone(), all);
    }

    /// An endpoint slice went.
    pub fn remove_slice(&mut self, namespace: &str, name: &str) {
        let Some(service) = self.slices.remove(&(namespace.to_owned(), name.to_owned())) else {
            return;
        };
        let key = (namespace.to_owned(), service);
        let Some(slices) = self.endpoints.get_mut(&key) else { return };
        for endpoint in slices.remove(name).unwrap_or_default() {
            if let Some(reverse) = self.by_endpoint_ip.get_mut(&endpoint.ip) {
                let at = reverse.iter().position(|(k, l)| *k == key && *l == endpoint.label);
                at.map(|at| reverse.swap_remove(at));
                if reverse.is_empty() {
                    self.by_endpoint_ip.remove(&endpoint.ip);
                }
            }
        }
        if slices.is_empty() {
            self.endpoints.remove(&key);
        }
    }

    /// Whether a namespace exists.
    pub fn has_namespace(&self, name: &str) -> bool {
        self.namespaces.contains(name)
    }

    /// A service.
    pub fn service(&self, namespace: &str, name: &str) -> Option<&ServiceNames> {
        self.services.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// The ready endpoints of a service.
    pub fn endpoints(&self, namespace: &str, name: &str) -> impl Iterator<Item = &EndpointNames> {
        let key = (namespace.to_owned(), name.to_owned());
        self.endpoints.get(&key).into_iter().flat_map(BTreeMap::values).flatten()
    }

    /// The names of an address, relative to the domain: of the service that has it as its cluster
    /// address, else of endpoints of headless services.
    pub fn names_of(&self, ip: IpAddr) -> Vec<Vec<String>> {
        let path = |key: &ServiceKey| vec![key.1.clone(), key.0.clone(), "svc".to_owned()];
        if let Some(key) = self.by_cluster_ip.get(&ip) {
            return vec![path(key)];
        }
        let headless = |key: &ServiceKey| {
            matches!(self.services.get(key), Some(ServiceNames { kind: Kind::Headless, .. }))
        };
        let found = self.by_endpoint_ip.get(&ip).into_iter().flatten();
        let mut names: Vec<Vec<String>> = found
            .filter(|(key, _)| headless(key))
            .map(|(key, label)| [vec![label.clone()], path(key)].concat())
            .collect();
        names.sort();
        names.dedup();
        names
    }
}
