//! ResourceQuota: a namespace uses no more than its quotas allow. What a write uses is added to the
//! quota before the write happens; a controller takes it back when objects go away.
//!
//! Not here: what an object uses (`usage`).

mod usage;

use std::collections::BTreeMap;

use api::clock::Clock;
use api::quantity::Quantity;
use api::{ApiError, Entry, Map, Object, Resource, Value, codec, kinds, resource};
use futures_util::future::BoxFuture;
use store::{Change, CommitError, Expect, Store};

use super::limit_ranger::{Amounts, amounts};
use super::lookup::{forbidden, is};
use crate::gate::{Admission, Operation, Write};

/// How often a lost race over a quota is run again.
const TRIES: usize = 16;

/// The plugin.
pub struct ResourceQuota {
    store: Store,
    clock: Clock,
}

/// `a=1,b=2`.
fn print(amounts: &Amounts, only: &[&String]) -> String {
    let parts: Vec<String> = amounts
        .iter()
        .filter(|(name, _)| only.contains(name))
        .map(|(name, amount)| format!("{name}={amount}"))
        .collect();
    parts.join(",")
}

impl ResourceQuota {
    /// Quotas live in `store`.
    pub fn new(store: &Store, clock: &Clock) -> Self {
        Self { store: store.clone(), clock: clock.clone() }
    }

    async fn check(&self, write: &Write<'_>) -> Result<(), ApiError> {
        let cache = self.store.resource(&resource::RESOURCE_QUOTAS.qualified());
        if cache.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let Some(object) = &write.object else { return Ok(()) };
        let used = usage::of(write.resource, object, now);
        let before = write.old.filter(|_| write.operation == Operation::Update);
        let used_before = before.map(|old| usage::of(write.resource, old, now));
        // All quotas are judged before any is charged.
        let mut charged: Vec<(String, Amounts)> = Vec::new();
        for _ in 0..TRIES {
            let mut charges = Vec::new();
            for entry in cache.list(Some(write.namespace)).iter() {
                let name = entry.card.name.to_string();
                if charged.iter().any(|(done, _)| *done == name) {
                    continue;
                }
                let Ok(quota) = entry.object() else { continue };
                if !usage::matches(&quota, write.resource, object, now) {
                    continue;
                }
                let matched_before =
                    before.is_some_and(|old| usage::matches(&quota, write.resource, old, now));
                let past = used_before.as_ref().filter(|_| matched_before);
                let delta = more(&used, past);
                if let Some(sum) = judge(write, &quota, &delta, object)? {
                    charges.push((entry.clone(), quota, sum, delta));
                }
            }
            if write.dry_run {
                return Ok(());
            }
            let mut again = false;
            for (entry, quota, sum, delta) in charges {
                let name = entry.card.name.to_string();
                match self.charge(&entry, quota, &sum).await {
                    Ok(()) => charged.push((name, delta)),
                    Err(CommitError::Conflict(_)) => again = true,
                    Err(error) => return Err(ApiError::internal(error)),
                }
            }
            if !again {
                return Ok(());
            }
        }
        let name = write.namespace;
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Err(ApiError::conflict("", "resourcequotas", name, why))
    }

    async fn charge(
        &self,
        entry: &Entry,
        mut quota: Object,
        sum: &Amounts,
    ) -> Result<(), CommitError> {
        let used: Map<String, Value> =
            sum.iter().map(|(name, amount)| (name.clone(), amount.to_string().into())).collect();
        quota.map_mut("status").insert("used".into(), used.into());
        quota.set_meta("resourceVersion", Value::Null);
        let card =
            kinds::by_kind("", "v1", "ResourceQuota").map(|k| k.card(&quota)).unwrap_or_default();
        let encoded = codec::json::encode_for_store(&quota);
        let change = Change::Put { bytes: encoded.bytes, rv_at: encoded.rv_at, card };
        let key = api::Key::new("resourcequotas", quota.namespace(), quota.name());
        let write = store::Write { key, expect: Expect::Revision(entry.revision), change };
        self.store.commit(write).await.map(|_| ())
    }
}

/// What a write adds to what was used before.
fn more(used: &Amounts, before: Option<&Amounts>) -> Amounts {
    let zero = Quantity::milli(0);
    let mut delta = BTreeMap::new();
    for (name, amount) in used {
        let past = before.and_then(|b| b.get(name)).copied().unwrap_or(zero);
        let grown = *amount - past;
        if grown.signum() > 0 {
            delta.insert(name.clone(), grown);
        }
    }
    delta
}

/// What a quota's use would be with a write; `None` where the write does not touch it.
fn judge(
    write: &Write<'_>,
    quota: &Object,
    delta: &Amounts,
    object: &Object,
) -> Result<Option<Amounts>, ApiError> {
    // Only what the controller has seen counts.
    let hard = amounts(quota.at("status.hard"));
    let name = quota.name();
    if let Some(fault) = usage::constraint(&hard, write.resource, object) {
        return Err(forbidden(write, &format!("failed quota: {name}: {fault}")));
    }
    let delta: Amounts =
        delta.iter().filter(|(n, _)| hard.contains_key(*n)).map(|(n, q)| (n.clone(), *q)).collect();
    if delta.is_empty() {
        return Ok(None);
    }
    let used = amounts(quota.at("status.used"));
    let unknown: Vec<&str> =
        usage::concerned(&hard, write.resource).filter(|n| !used.contains_key(*n)).collect();
    if !unknown.is_empty() {
        let why = format!("status unknown for quota: {name}, resources: {}", unknown.join(","));
        return Err(forbidden(write, &why));
    }
    let mut sum = used.clone();
    for (resource, amount) in &delta {
        let total = sum.get(resource).map_or(*amount, |held| *held + *amount);
        sum.insert(resource.clone(), total);
    }
    let exceeded: Vec<&String> = delta.keys().filter(|n| sum.get(*n) > hard.get(*n)).collect();
    if exceeded.is_empty() {
        return Ok(Some(sum));
    }
    let why = format!(
        "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
        print(&delta, &exceeded),
        print(&used, &exceeded),
        print(&hard, &exceeded)
    );
    Err(forbidden(write, &why))
}

impl Admission for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    fn handles(&self, resource: &Resource, subresource: &str, operation: Operation) -> bool {
        if !resource.namespaced {
            return false;
        }
        let pod = is(resource, &resource::PODS);
        match operation {
            Operation::Create => subresource.is_empty(),
            Operation::Update if subresource.is_empty() => {
                pod || is(resource, &resource::SERVICES)
                    || is(resource, &resource::PERSISTENT_VOLUME_CLAIMS)
            }
            Operation::Update => pod && subresource == "resize",
            _ => false,
        }
    }

    fn validate<'a>(&'a self, write: &'a Write<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        Box::pin(self.check(write))
    }
}
