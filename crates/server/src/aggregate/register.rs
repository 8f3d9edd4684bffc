//! Registrations that the server makes itself: one a version that it serves, built-in or custom.
//!
//! Those of built-in versions are looked after when the server starts; those of custom resources as
//! long as their definitions are there. A registration without the label is somebody's own and left
//! alone. Not here: other servers.

use std::collections::BTreeMap;

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

const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";

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
    for entry in server.store.resource(DEFINITIONS).list(None).iter() {
        let Ok(definition) = entry.object() else { continue };
        let group = definition.text("spec.group").unwrap_or("");
        let versions = definition.at("spec.versions").and_then(Value::as_array);
        let served = versions.into_iter().flatten().filter(|version| version["served"] == true);
        for name in served.filter_map(|version| version["name"].as_str()) {
            let (name, wanted) = wanted(group, name, priority::CUSTOM, ALWAYS);
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

/// Brings the registrations to what they should be.
pub async fn settle(server: &Server, client: &Client, starting: bool) -> Result<(), client::Error> {
    let mut all = custom(server);
    let groups = server.served.groups();
    let versions: Vec<(&str, &str)> = groups
        .iter()
        .flat_map(|group| server.served.versions(group).into_iter().map(move |v| (*group, v)))
        .collect();
    all.extend(built_in(&versions));
    let cache = server.store.resource(&SERVICES.qualified());
    let mut present = Vec::new();
    for entry in cache.list(None).iter() {
        let Ok(held) = entry.object() else { continue };
        present.push(held.name().to_owned());
        let label = entry.card.label(LABEL).unwrap_or("");
        match all.get(held.name()) {
            Some(wanted) if !label.is_empty() => {
                let looked_after = wanted.label == ALWAYS || starting;
                if looked_after && held.at("spec") != Some(&wanted.spec) {
                    let mut fixed = held.clone();
                    fixed.0.insert("spec".into(), wanted.spec.clone());
                    ignore(
                        client.replace::<Value>(&SERVICES, "", held.name(), None, &fixed).await,
                    )?;
                }
            }
            None if label == ALWAYS || (label == ON_START && starting) => {
                let options = DeleteOptions::default();
                ignore(client.delete(&SERVICES, "", held.name(), &options).await)?;
                continue;
            }
            _ => {}
        }
        if held.at("spec.service").is_none() {
            local(client, &held, &server.clock.time()).await?;
        }
    }
    for (name, wanted) in &all {
        let looked_after = wanted.label == ALWAYS || starting;
        if looked_after && !present.contains(name) {
            let object = object(name, wanted, &server.clock.time());
            ignore(client.create::<Value>(&SERVICES, "", &object).await)?;
        }
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
