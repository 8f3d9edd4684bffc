//! Registrations that the server makes itself: one a version that it serves, built-in or custom.
//!
//! Those of built-in versions are looked after when the server starts; those of custom resources as
//! long as their definitions are there. A registration without the label is somebody's own and left
//! alone. Not here: other servers.

use std::collections::{BTreeMap, BTreeSet, HashMap};

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

fn wanted_of(
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
        Some(wanted_of(group, version, priority::of(group, version)?, ON_START))
    });
    placed.collect()
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

/// Which registrations there should be, and which are to be looked at.
pub struct Registrations {
    built_in: BTreeMap<String, Wanted>,
    /// Those that were there for definitions, by group.
    custom: HashMap<String, BTreeSet<String>>,
    /// Nothing is known of any.
    all: bool,
    due: BTreeSet<String>,
}

impl Registrations {
    /// All are to be looked at.
    pub fn new(server: &Server) -> Self {
        let groups = server.served.groups();
        let versions: Vec<(&str, &str)> = groups
            .iter()
            .flat_map(|group| server.served.versions(group).into_iter().map(move |v| (*group, v)))
            .collect();
        let built_in = built_in(&versions);
        Self { built_in, custom: HashMap::new(), all: true, due: BTreeSet::new() }
    }

    /// These registrations changed; none given: any may have.
    pub fn changed<'a>(&mut self, names: Option<impl Iterator<Item = &'a str>>) {
        match names {
            Some(names) => self.due.extend(names.map(str::to_owned)),
            None => self.all = true,
        }
    }

    /// These definitions changed; none given: any may have.
    pub fn defined<'a>(&mut self, server: &Server, names: Option<impl Iterator<Item = &'a str>>) {
        let Some(names) = names else {
            self.all = true;
            return;
        };
        let groups = names.filter_map(|name| Some(name.split_once('.')?.1));
        for group in groups.collect::<BTreeSet<&str>>() {
            let known = self.custom.remove(group).unwrap_or_default();
            let wanted = versions(server, group);
            // A version that was there, and is, stays as it is.
            self.due.extend(known.symmetric_difference(&wanted).cloned());
            if !wanted.is_empty() {
                self.custom.insert(group.to_owned(), wanted);
            }
        }
    }

    /// Brings the registrations to what they should be.
    pub async fn settle(
        &mut self,
        server: &Server,
        client: &Client,
        starting: bool,
    ) -> Result<(), client::Error> {
        if self.all {
            self.look_at_all(server);
        }
        while let Some(name) = self.due.pop_first() {
            if let Err(error) = self.one(server, client, &name, starting).await {
                self.due.insert(name);
                return Err(error);
            }
        }
        Ok(())
    }

    fn look_at_all(&mut self, server: &Server) {
        self.all = false;
        self.custom.clear();
        self.due.extend(self.built_in.keys().cloned());
        for entry in server.store.resource(&SERVICES.qualified()).list(None).iter() {
            self.due.insert(entry.card.name.to_string());
        }
        for definition in server.customs.table().definitions() {
            if !self.custom.contains_key(&definition.group) {
                let wanted = versions(server, &definition.group);
                self.due.extend(wanted.iter().cloned());
                self.custom.insert(definition.group.clone(), wanted);
            }
        }
    }

    async fn one(
        &self,
        server: &Server,
        client: &Client,
        name: &str,
        starting: bool,
    ) -> Result<(), client::Error> {
        let (version, group) = name.split_once('.').unwrap_or((name, ""));
        let custom = || {
            let wanted = self.custom.get(group).is_some_and(|names| names.contains(name));
            wanted.then(|| wanted_of(group, version, priority::CUSTOM, ALWAYS).1)
        };
        let custom = if self.built_in.contains_key(name) { None } else { custom() };
        let wanted = self.built_in.get(name).or(custom.as_ref());
        let held = server.store.resource(&SERVICES.qualified()).get("", name);
        match (held, wanted) {
            (Some(entry), _) => present(server, client, &entry, wanted, starting).await,
            (None, Some(wanted)) if wanted.label == ALWAYS || starting => {
                let object = object(name, wanted, &server.clock.time());
                ignore(client.create::<Value>(&SERVICES, "", &object).await)
            }
            (None, _) => Ok(()),
        }
    }
}

/// The registrations of a group of custom resources, by its definitions.
fn versions(server: &Server, group: &str) -> BTreeSet<String> {
    let table = server.customs.table();
    let versions = table.definitions_of(group).flat_map(|definition| &definition.versions);
    versions.filter(|v| v.served).map(|v| format!("{}.{group}", v.name)).collect()
}

/// Brings one registration to what it should be.
async fn present(
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
