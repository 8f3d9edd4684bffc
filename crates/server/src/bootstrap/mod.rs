//! What a cluster holds before anyone used it: namespaces, the default RBAC policy, flow control,
//! priority classes, the `kubernetes` service. Written in one go at the first start; later starts
//! write only what is missing or out of date.
//!
//! The objects are written to the store in their stored form, all at once, so that one fsync covers
//! them. Not here: what the controllers make (service accounts, `kube-root-ca.crt`).

mod core;
mod flow;
mod rbac;

use api::clock::{Clock, Rng};
use api::{Key, Object, Value, codec, kinds};
use futures_util::future::try_join_all;
use store::{Change, CommitError, Expect, Store, Write};

pub use self::core::Facts;
pub use rbac::role_rules;

/// Why the initial objects could not be written.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The store refused.
    #[error("{object}: {source}")]
    Store {
        /// Which object.
        object: String,
        /// Why.
        source: CommitError,
    },
    /// A kind is missing from the kind table.
    #[error("no kind {0} is known")]
    Kind(String),
}

/// How a wanted object meets a stored one.
enum Policy {
    /// What is there stays as it is.
    Keep,
    /// Rules and subjects are added.
    Rbac,
    /// These parts are replaced.
    Parts(&'static [&'static str]),
}

/// Writes what is missing or out of date. Does nothing at most starts.
pub async fn run(
    store: &Store,
    facts: &Facts,
    clock: &Clock,
    rng: &Rng,
) -> Result<(), BootstrapError> {
    let now = clock.time();
    // No address without its service: others are allocated around it.
    let mut wanted: Vec<(Object, Policy)> = Vec::new();
    let keep = |o: Object| (o, Policy::Keep);
    wanted.extend(core::namespaces().into_iter().map(keep));
    wanted.extend(core::once(facts, &now).into_iter().map(keep));
    wanted.push(keep(core::service_address(facts.service_ip)));
    wanted.extend(core::current(facts).into_iter().map(|(o, parts)| (o, Policy::Parts(parts))));
    let versions: Vec<(&str, &str)> =
        facts.api_versions.iter().map(|(g, v)| (g.as_str(), v.as_str())).collect();
    wanted.extend(crate::aggregate::initial(&versions, &now).into_iter().map(keep));
    wanted.extend(flow::objects(&now).into_iter().map(keep));
    wanted.extend(rbac::objects().into_iter().map(|o| (o, Policy::Rbac)));
    let mut writes = Vec::new();
    for (object, policy) in wanted {
        if let Some(write) = write(store, object, &policy, &now, rng)? {
            writes.push(write);
        }
    }
    if !writes.is_empty() {
        tracing::info!(objects = writes.len(), "writing the cluster's initial objects");
    }
    try_join_all(writes.into_iter().map(|write| async {
        let object = write.key.to_string();
        match store.commit(write).await {
            // Another server of the same store was faster.
            Ok(_) | Err(CommitError::Conflict(_)) => Ok(()),
            Err(source) => Err(BootstrapError::Store { object, source }),
        }
    }))
    .await?;
    Ok(())
}

/// The write that brings the store to what is wanted, if any is needed.
fn write(
    store: &Store,
    wanted: Object,
    policy: &Policy,
    now: &str,
    rng: &Rng,
) -> Result<Option<Write>, BootstrapError> {
    let unknown = || BootstrapError::Kind(wanted.kind().to_owned());
    let kind = kinds::of_object(wanted.api_version(), wanted.kind()).ok_or_else(unknown)?;
    let resource = api::resource::qualified(kind.storage.0, kind.plural);
    let (namespace, name) = (wanted.namespace().to_owned(), wanted.name().to_owned());
    let stored = store.resource(&resource).get(&namespace, &name);
    let (expect, object) = match stored {
        None => {
            let mut object = wanted;
            object.set_meta("uid", rng.uuid());
            object.set_meta("creationTimestamp", now);
            (Expect::Absent, object)
        }
        Some(entry) => {
            let Ok(mut held) = entry.object() else { return Ok(None) };
            held.set_meta("resourceVersion", Value::Null);
            let Some(object) = merged(&held, &wanted, policy) else { return Ok(None) };
            (Expect::Revision(entry.revision), object)
        }
    };
    let card = kind.card(&object);
    let encoded = codec::json::encode_for_store(&object);
    let change = Change::Put { bytes: encoded.bytes, rv_at: encoded.rv_at, card };
    Ok(Some(Write { key: Key::new(resource, namespace, name), expect, change }))
}

fn merged(held: &Object, wanted: &Object, policy: &Policy) -> Option<Object> {
    let parts = match policy {
        Policy::Keep => return None,
        Policy::Rbac => return rbac::reconcile(held, wanted),
        Policy::Parts(parts) => parts,
    };
    let mut result = held.clone();
    for part in *parts {
        let value = wanted.at(part).cloned().unwrap_or_default();
        match part.split_once('.') {
            Some((map, key)) => {
                result.map_mut(map).insert(key.to_owned(), value);
            }
            None => {
                result.0.insert((*part).to_owned(), value);
            }
        }
    }
    (result != *held).then_some(result)
}

/// The default flow schemas and priority levels, for as long as the store's have not been read.
pub fn flow_objects() -> Vec<api::Object> {
    flow::objects("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            advertise_address: [192, 0, 2, 1].into(),
            secure_port: 6443,
            service_cidrs: vec!["10.43.0.0/16".into()],
            service_ip: [10, 43, 0, 1].into(),
            client_ca: "ca".into(),
            front_proxy_ca: "proxy".into(),
            api_versions: vec![("apps".into(), "v1".into())],
        }
    }

    #[tokio::test]
    async fn later_starts_write_only_what_changed() {
        let (store, clock, rng) = (Store::memory(), Clock::system(), Rng::seeded(1));
        run(&store, &facts(), &clock, &rng).await.expect("written");
        let first = store.revision();
        assert!(first > 150, "{first}");
        run(&store, &facts(), &clock, &rng).await.expect("nothing to do");
        assert_eq!(store.revision(), first);
        let moved = Facts { advertise_address: [192, 0, 2, 2].into(), ..facts() };
        run(&store, &moved, &clock, &rng).await.expect("written");
        assert_eq!(store.revision(), first + 2, "endpoints and their slice");
        let slice = store.resource("endpointslices.discovery.k8s.io").get("default", "kubernetes");
        let slice = slice.expect("there").object().expect("JSON");
        assert_eq!(slice.at("endpoints").expect("there")[0]["addresses"][0], "192.0.2.2");
    }
}
