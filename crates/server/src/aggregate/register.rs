//! Registrations that the server makes itself: one a version that it serves, built-in or custom.
//!
//! Those of built-in versions are looked after when the server starts; those of custom resources as
//! long as their definitions are there. A registration without the label is somebody's own and left
//! alone. Not here: other servers.

use std::collections::{BTreeMap, HashMap};

use api::{ApiError, Object, Value};
use client::{Client, DeleteOptions, Patch};
use serde_json::json;

use super::{SERVICES, check, priority};
use crate::server::Server;

const LABEL: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Looked after when the server starts.
const ON_START: &str = "onstart";
/// Looked after always.
const ALWAYS: &str = "true";

/// A registration that should be there.
struct Wanted {
    spec: Value,
    label: &'static str,
}

fn wanted(
    group: &str,
    version: &str,
    (of_group, of_version): (u32, u32),
    label: &'static str,
) -> (String, Wanted) {
    let mut spec = json!({
        "version": version, "groupPriorityMinimum": of_group, "versionPriority": of_version,
    });
    if !group.is_empty() {
        spec["group"] = group.into();
    }
    (format!("{version}.{group}"), Wanted { spec, label })
}

fn built_in(versions: &[(&str, &str)]) -> BTreeMap<String, Wanted> {
    let placed = versions.iter().filter_map(|(group, version)| {
        Some(wanted(group, version, priority::of(group, version)?, ON_START))
    });
    placed.collect()
}

fn custom(server: &Server) -> BTreeMap<String, Wanted> {
    let mut all = BTreeMap::new();
    for definition in server.customs.table().definitions() {
        for version in definition.versions.iter().filter(|version| version.served) {
            let (name, wanted) = wanted(&definition.group, &version.name, priority::CUSTOM, ALWAYS);
            all.insert(name, wanted);
        }
    }
    all
}

fn object(name: &str, wanted: &Wanted, now: &str) -> Object {
    Object::from_value(json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": name, "labels": {LABEL: wanted.label}},
        "spec": wanted.spec,
        "status": {"conditions": [{
            "type": "Available", "status": "True", "lastTransitionTime": now,
            "reason": "Local", "message": LOCAL,
        }]},
    }))
    .unwrap_or_default()
}

/// What is said of every version that is served here.
const LOCAL: &str = "Local APIServices are always available";

/// The registrations of built-in versions, for the first start.
pub fn initial(versions: &[(&str, &str)], now: &str) -> Vec<Object> {
    built_in(versions).iter().map(|(name, wanted)| object(name, wanted, now)).collect()
}

/// Registrations that are as they should be, by name: the revision that was looked at, and whether
/// there should be one.
#[derive(Default)]
pub struct Settled(HashMap<String, (u64, bool)>);

/// Brings the registrations to what they should be. Looks at those alone that changed since.
pub async fn settle(
    server: &Server,
    client: &Client,
    settled: &mut Settled,
    starting: bool,
) -> Result<(), client::Error> {
    let mut all = custom(server);
    let groups = server.served.groups();
    let versions: Vec<(&str, &str)> = groups
        .iter()
        .flat_map(|group| server.served.versions(group).into_iter().map(move |v| (*group, v)))
        .collect();
    all.extend(built_in(&versions));
    let cache = server.store.resource(&SERVICES.qualified());
    let mut before = std::mem::take(&mut settled.0);
    for entry in cache.list(None).iter() {
        let name = entry.card.name.to_string();
        let wanted = all.remove(&name);
        let state = (entry.revision, wanted.is_some());
        if starting || before.remove(&name) != Some(state) {
            one(server, client, entry, wanted.as_ref(), starting).await?;
        }
        settled.0.insert(name, state);
    }
    for (name, wanted) in all {
        if wanted.label == ALWAYS || starting {
            let object = object(&name, &wanted, &server.clock.time());
            ignore(client.create::<Value>(&SERVICES, "", &object).await)?;
        }
    }
    Ok(())
}

/// Brings one registration to what it should be.
async fn one(
    server: &Server,
    client: &Client,
    entry: &api::Entry,
    wanted: Option<&Wanted>,
    starting: bool,
) -> Result<(), client::Error> {
    let Ok(held) = entry.object() else { return Ok(()) };
    let label = entry.card.label(LABEL).unwrap_or("");
    match wanted {
        Some(wanted) if !label.is_empty() => {
            let looked_after = wanted.label == ALWAYS || starting;
            if looked_after && held.at("spec") != Some(&wanted.spec) {
                let mut fixed = held.clone();
                fixed.0.insert("spec".into(), wanted.spec.clone());
                return ignore(
                    client.replace::<Value>(&SERVICES, "", held.name(), None, &fixed).await,
                );
            }
        }
        None if label == ALWAYS || (label == ON_START && starting) => {
            let options = DeleteOptions::default();
            return ignore(client.delete(&SERVICES, "", held.name(), &options).await);
        }
        _ => {}
    }
    if held.at("spec.service").is_none() {
        local(client, &held, &server.clock.time()).await?;
    }
    Ok(())
}

/// A version that is served here is available.
async fn local(client: &Client, held: &Object, now: &str) -> Result<(), client::Error> {
    let known = check::available(held);
    let good = known
        .is_some_and(|c| c["status"] == "True" && c["reason"] == "Local" && c["message"] == LOCAL);
    if good {
        return Ok(());
    }
    let finding = check::Finding { reason: "Local", message: LOCAL.to_owned() };
    condition(client, held, &finding, now).await
}

/// Writes what was found of a registration, where it is news.
pub async fn condition(
    client: &Client,
    held: &Object,
    finding: &check::Finding,
    now: &str,
) -> Result<(), client::Error> {
    let status = if finding.is_good() { "True" } else { "False" };
    let known = check::available(held);
    let same = |key: &str, value: &str| known.is_some_and(|c| c[key] == value);
    if same("status", status) && same("reason", finding.reason) && same("message", &finding.message)
    {
        return Ok(());
    }
    let since = known.filter(|c| c["status"] == status).map(|c| c["lastTransitionTime"].clone());
    let patch = json!({
        // What was looked at must still be so.
        "metadata": {"uid": held.uid()},
        "status": {"conditions": [{
            "type": "Available", "status": status, "reason": finding.reason,
            "message": finding.message, "lastTransitionTime": since.unwrap_or_else(|| now.into()),
        }]},
    });
    let name = held.name();
    ignore(client.patch::<Value>(&SERVICES, "", name, Some("status"), Patch::Merge, &patch).await)
}

/// What somebody else has changed meanwhile is looked at again anyway.
fn ignore<T>(result: Result<T, client::Error>) -> Result<(), client::Error> {
    let harmless = |e: &ApiError| e.is_not_found() || e.is_conflict() || e.is_already_exists();
    match result {
        Err(error) if !error.api().is_some_and(harmless) => Err(error),
        _ => Ok(()),
    }
}
