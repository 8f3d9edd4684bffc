//! What a write of a service takes and gives back: cluster IPs, node ports, a health check port.

use std::net::IpAddr;

use api::{ApiError, Cause, Object};
use futures_util::future::BoxFuture;
use serde_json::json;

use super::families;
use super::ips::{self, IpError, Ips, Taken};
use super::ports::{self, PortError, Ports};
use super::range::Family;
use super::spec::Spec;
use crate::gate::{Allocator, Reservation};

/// The allocator of services.
pub struct Services {
    ips: Ips,
    ports: Ports,
}

impl Services {
    /// Out of these addresses and ports.
    pub fn new(ips: Ips, ports: Ports) -> Self {
        Self { ips, ports }
    }
}

/// What one write holds. Dropped, everything taken is free again; committed, what the write gave up
/// is.
struct Held {
    ips: Ips,
    ports: Ports,
    taken_ips: Vec<Taken>,
    taken_ports: Vec<u16>,
    free_ips: Vec<IpAddr>,
    free_ports: Vec<u16>,
    dry: bool,
    /// The port that a dry run named last.
    dry_port: i64,
    done: bool,
}

impl Reservation for Held {
    fn commit(mut self: Box<Self>) {
        if self.dry {
            return;
        }
        self.done = true;
        self.taken_ips.iter().for_each(|t| self.ips.settle(t));
        self.free_ips.iter().for_each(|ip| ips::spawn(self.ips.release(*ip)));
        self.ports.release(&self.free_ports);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.ports.release(&self.taken_ports);
        if !self.dry {
            self.taken_ips.drain(..).for_each(|t| self.ips.give_back(t));
        }
    }
}

impl Allocator for Services {
    fn handles(&self, resource: &str) -> bool {
        resource == "services"
    }

    fn allocate<'a>(
        &'a self,
        new: &'a mut Object,
        old: Option<&'a Object>,
        dry_run: bool,
    ) -> BoxFuture<'a, Result<Box<dyn Reservation>, ApiError>> {
        Box::pin(async move {
            let name = new.name().to_owned();
            let invalid = |causes| ApiError::invalid("", "Service", &name, causes);
            let before = old.map(Spec::read);
            let mut spec = Spec::read(new);
            if let Some(before) = &before {
                families::keep_allocated(&mut spec, before);
            }
            families::normalize(&mut spec, before.as_ref());
            let cluster: Vec<Family> = self.ips.families().collect();
            families::fill(&mut spec, before.as_ref(), &cluster).map_err(invalid)?;
            let mut held = Held {
                ips: self.ips.clone(),
                ports: self.ports.clone(),
                taken_ips: Vec::new(),
                taken_ports: Vec::new(),
                free_ips: Vec::new(),
                free_ports: Vec::new(),
                dry: dry_run,
                dry_port: 32_768,
                done: false,
            };
            let service = (new.namespace().to_owned(), name.clone());
            held.cluster_ips(&mut spec, before.as_ref(), (&service.0, &service.1)).await?;
            held.node_ports(&mut spec, before.as_ref(), &name)?;
            spec.write(new);
            Ok(Box::new(held) as Box<dyn Reservation>)
        })
    }

    fn release<'a>(&'a self, service: &'a Object) -> BoxFuture<'a, ()> {
        self.ports.release(&ports::of_service(service));
        Box::pin(async move {
            for ip in ips::of_service(service) {
                self.ips.release(ip).await;
            }
        })
    }
}

impl Held {
    async fn cluster_ips(
        &mut self,
        spec: &mut Spec,
        before: Option<&Spec>,
        service: (&str, &str),
    ) -> Result<(), ApiError> {
        let parsed =
            |ips: &[String]| ips.iter().filter_map(|ip| ip.parse().ok()).collect::<Vec<_>>();
        let from = match before {
            Some(old) if families::untouched(spec, old) => return Ok(()),
            None => 0,
            Some(old) if old.is_external_name() => 0,
            Some(old) if old.is_headless() => return Ok(()),
            Some(old) if spec.is_external_name() => {
                self.free_ips = parsed(&old.cluster_ips);
                return Ok(());
            }
            Some(old) if old.families.len() == 1 && spec.families.len() == 2 => 1,
            Some(old) => {
                if old.families.len() == 2 && spec.families.len() == 1 {
                    self.free_ips = parsed(old.cluster_ips.get(1..).unwrap_or_default());
                }
                return Ok(());
            }
        };
        if spec.is_external_name() || spec.is_headless() {
            return Ok(());
        }
        spec.cluster_ips.resize(spec.families.len().max(spec.cluster_ips.len()), String::new());
        for i in from..spec.families.len() {
            let taken = match spec.cluster_ips[i].as_str() {
                "" => {
                    let family = Family::parse(&spec.families[i]).unwrap_or(Family::V4);
                    self.ips.take_any(family, service, self.dry).await
                }
                given => match given.parse() {
                    Ok(ip) => self.ips.take(ip, service, self.dry).await,
                    Err(_) => continue,
                },
            };
            let taken = taken.map_err(|error| refusal(&error, spec, i, service.1))?;
            spec.cluster_ips[i] = taken.ip.to_string();
            self.taken_ips.push(taken);
        }
        if let Some(first) = spec.cluster_ips.first() {
            spec.cluster_ip.clone_from(first);
        }
        Ok(())
    }

    fn take(&mut self, port: i64) -> Result<(), PortError> {
        if self.dry {
            // A dry run only looks whether somebody has it.
            return if self.ports.is_taken(port) { Err(PortError::Taken) } else { Ok(()) };
        }
        self.taken_ports.push(self.ports.take(port)?);
        Ok(())
    }

    fn take_any(&mut self) -> Result<i64, PortError> {
        if self.dry {
            // Nothing is taken on a dry run, so the answer names ports that nobody can have.
            self.dry_port += 1;
            return Ok(self.dry_port);
        }
        let port = self.ports.take_any()?;
        self.taken_ports.push(port);
        Ok(port.into())
    }

    fn node_ports(
        &mut self,
        spec: &mut Spec,
        before: Option<&Spec>,
        name: &str,
    ) -> Result<(), ApiError> {
        let numbers = |spec: &Spec| -> Vec<i64> {
            spec.ports.iter().map(|p| p.node_port).filter(|p| *p != 0).collect()
        };
        let owned = before.filter(|old| old.has_node_ports()).map(&numbers).unwrap_or_default();
        let full = |e: PortError| ApiError::internal(format!("failed to allocate a nodePort: {e}"));
        if spec.has_node_ports() {
            for i in 0..spec.ports.len() {
                let (port, wanted) = (spec.ports[i].port, spec.ports[i].node_port);
                if wanted == 0 {
                    if !spec.wants_node_ports() {
                        continue;
                    }
                    // Ports of the same number (TCP and UDP) share one node port.
                    let mut twins = spec.ports.iter().enumerate().filter(|(j, p)| {
                        *j != i && p.port == port && p.node_port != 0 && before.is_none()
                    });
                    spec.ports[i].node_port = match twins.next() {
                        Some((j, twin)) if j < i => twin.node_port,
                        Some((_, twin)) => twin.node_port,
                        None => self.take_any().map_err(full)?,
                    };
                    continue;
                }
                let held = owned.contains(&wanted)
                    || self.taken_ports.iter().any(|p| i64::from(*p) == wanted);
                if held {
                    continue;
                }
                self.take(wanted).map_err(|e| {
                    let field = format!("spec.ports[{i}].nodePort");
                    let cause = Cause::invalid(field, &json!(wanted), &e.to_string());
                    ApiError::invalid("", "Service", name, vec![cause])
                })?;
            }
        }
        let kept = if spec.has_node_ports() { numbers(spec) } else { Vec::new() };
        let gone = owned.iter().filter(|p| !kept.contains(p));
        self.free_ports = gone.filter_map(|p| u16::try_from(*p).ok()).collect();
        let had = before.is_some_and(Spec::wants_health_port);
        if spec.wants_health_port() && !had {
            if spec.health == 0 {
                spec.health = self.take_any().map_err(|e| {
                    ApiError::internal(format!("failed to allocate a HealthCheck NodePort 0: {e}"))
                })?;
            } else {
                let wanted = spec.health;
                self.take(wanted).map_err(|e| {
                    ApiError::internal(format!(
                        "failed to allocate requested HealthCheck NodePort {wanted}: {e}"
                    ))
                })?;
            }
        }
        if let Some(old) = before.filter(|_| had && !spec.wants_health_port()) {
            self.free_ports.extend(u16::try_from(old.health).ok().filter(|p| *p != 0));
        }
        Ok(())
    }
}

fn refusal(error: &IpError, spec: &Spec, i: usize, name: &str) -> ApiError {
    let given = &spec.cluster_ips[i];
    if matches!(error, IpError::Full | IpError::Store(_)) {
        let text = format!("failed to allocate a serviceIP for Service {name:?}: {error}");
        return ApiError::internal(text);
    }
    let which = if given.is_empty() { "IP".to_owned() } else { format!("IP {given}") };
    let detail = format!("failed to allocate {which}: {error}");
    let cause = Cause::invalid("spec.clusterIPs", &json!(spec.cluster_ips), &detail);
    ApiError::invalid("", "Service", name, vec![cause])
}
