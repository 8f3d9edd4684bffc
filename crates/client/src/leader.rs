//! Leader election on a lease: of several instances, one works.
//!
//! The holder renews the lease; others take it over once it has not been renewed for its duration, by
//! their own clock since they last saw it change (clocks of machines differ). Not here: what the
//! leader does.

use std::future::Future;
use std::time::Duration;

use api::Object;
use api::clock::{Clock, Rng};
use api::resource::LEASES;
use serde::de::IgnoredAny;
use serde_json::json;
use tokio::time::Instant;

use crate::client::Client;
use crate::error::Error;
use crate::{Result, Shutdown};

/// Which lease, and how patient everyone is.
#[derive(Clone, Debug)]
pub struct Config {
    /// The lease's namespace.
    pub namespace: String,
    /// The lease's name.
    pub name: String,
    /// Who we are; unique among the instances.
    pub identity: String,
    /// How long others wait after the last renewal.
    pub duration: Duration,
    /// How long the leader tries to renew before it steps down.
    pub deadline: Duration,
    /// How often it renews, and others look.
    pub period: Duration,
}

impl Config {
    /// Upstream's durations: 15, 10 and 2 seconds.
    pub fn new(
        namespace: impl Into<String>,
        name: impl Into<String>,
        identity: impl Into<String>,
    ) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            duration: Duration::from_secs(15),
            deadline: Duration::from_secs(10),
            period: Duration::from_secs(2),
        }
    }
}

struct Elector {
    client: Client,
    config: Config,
    clock: Clock,
    /// The last state of the lease, and when it was first seen.
    observed: Option<(String, Instant)>,
}

/// Becomes the leader, runs `lead` with a token that is cancelled when leadership is lost, and releases
/// the lease when it ends. Returns when `lead` has ended or on shutdown; a leader that lost its lease
/// must not go on, so the caller usually ends the process then.
pub async fn run<F, Fut>(
    client: Client,
    config: Config,
    clock: Clock,
    rng: Rng,
    shutdown: Shutdown,
    lead: F,
) where
    F: FnOnce(Shutdown) -> Fut,
    Fut: Future<Output = ()>,
{
    let period = config.period;
    let mut elector = Elector { client, config, clock, observed: None };
    loop {
        if elector.attempt().await.unwrap_or(false) {
            break;
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(rng.jittered(period, 1.2)) => {}
        }
    }
    tracing::info!(lease = elector.config.name, "became the leader");
    let leading = shutdown.child_token();
    let work = lead(leading.clone());
    tokio::pin!(work);
    let (lost, ended) = tokio::select! {
        () = &mut work => (false, true),
        () = elector.renew() => (true, false),
        () = shutdown.cancelled() => (false, false),
    };
    if !ended {
        leading.cancel();
        work.await;
    }
    if lost {
        tracing::error!(lease = elector.config.name, "lost the lease");
        return;
    }
    if let Err(error) = elector.release().await {
        tracing::warn!("cannot release the lease: {error}");
    }
}

impl Elector {
    /// Renews until that has failed for too long.
    async fn renew(&mut self) {
        let mut last = Instant::now();
        while last.elapsed() < self.config.deadline {
            tokio::time::sleep(self.config.period).await;
            let left = self.config.deadline.saturating_sub(last.elapsed());
            match tokio::time::timeout(left, self.attempt()).await {
                Ok(Ok(true)) => last = Instant::now(),
                // Somebody else holds it: no use in waiting.
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::warn!("cannot renew the lease: {error}"),
                Err(_) => return,
            }
        }
    }

    /// One try to acquire or renew: whether we hold the lease now.
    async fn attempt(&mut self) -> Result<bool> {
        let Config { namespace, name, identity, .. } = &self.config;
        let now = self.clock.micro_time();
        let seconds = self.config.duration.as_secs();
        let lease: Object = match self.client.get(&LEASES, namespace, name).await {
            Ok(lease) => lease,
            Err(e) if e.is_not_found() => {
                let body = json!({
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": {"name": name, "namespace": namespace},
                    "spec": {
                        "holderIdentity": identity, "leaseDurationSeconds": seconds,
                        "acquireTime": now, "renewTime": now, "leaseTransitions": 0,
                    },
                });
                return won(self.client.create::<IgnoredAny>(&LEASES, namespace, &body).await);
            }
            Err(error) => return Err(error),
        };
        let version = lease.resource_version().to_owned();
        let holder = lease.text("spec.holderIdentity").unwrap_or("").to_owned();
        if self.observed.as_ref().is_none_or(|(seen, _)| *seen != version) {
            self.observed = Some((version.clone(), Instant::now()));
        }
        let ours = holder == *identity;
        let fresh =
            self.observed.as_ref().is_some_and(|(_, at)| at.elapsed() < self.config.duration);
        if !ours && !holder.is_empty() && fresh {
            return Ok(false);
        }
        let mut spec = json!({
            "holderIdentity": identity, "leaseDurationSeconds": seconds, "renewTime": now,
        });
        if !ours {
            spec["acquireTime"] = now.into();
            spec["leaseTransitions"] = (lease.int("spec.leaseTransitions").unwrap_or(0) + 1).into();
        }
        self.write(&version, spec).await
    }

    async fn write(&self, version: &str, spec: api::Value) -> Result<bool> {
        let Config { namespace, name, .. } = &self.config;
        let body = json!({"metadata": {"resourceVersion": version}, "spec": spec});
        let patch = crate::Patch::Merge;
        won(self.client.patch(&LEASES, namespace, name, None, patch, &body).await)
    }

    /// Lets others take the lease at once.
    async fn release(&self) -> Result<()> {
        let Config { namespace, name, identity, .. } = &self.config;
        let lease: Object = self.client.get(&LEASES, namespace, name).await?;
        if lease.text("spec.holderIdentity") == Some(identity) {
            let now = self.clock.micro_time();
            let spec = json!({
                "holderIdentity": "", "leaseDurationSeconds": 1,
                "renewTime": now, "acquireTime": now,
            });
            self.write(lease.resource_version(), spec).await?;
        }
        Ok(())
    }
}

/// Losing a race is an answer, not an error.
fn won(sent: Result<IgnoredAny, Error>) -> Result<bool> {
    match sent {
        Ok(_) => Ok(true),
        Err(e) if e.is_conflict() || e.is_already_exists() => Ok(false),
        Err(error) => Err(error),
    }
}
