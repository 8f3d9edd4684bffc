//! The status of validating policies: whether their expressions fit the types of the resources that
//! they are about, as far as the rules name these.
//!
//! A policy is looked at once a generation; what does not fit is told in its status and stops nothing.
//! Not here: whether an expression can be read at all (`compile`), the types (`schema`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use api::kinds::Kind;
use api::{Map, Object, Resource, Value};
use cel::{Decl, Env, Type};
use client::{Client, Patch};
use serde_json::json;
use store::EventKind;

use super::super::expression::{self, May, Variables};
use super::super::lookup::{maps, text};
use super::schema;
use crate::endpoints::openapi;
use crate::server::Server;
use crate::transport::Local;

const POLICIES: Resource = Resource::cluster(
    super::GROUP,
    "v1",
    "validatingadmissionpolicies",
    "ValidatingAdmissionPolicy",
);
/// Upstream's name for who writes these.
const MANAGER: &str = "validatingadmissionpolicy-status";
/// As many types are looked at for one rule.
const MOST_TYPES: usize = 10;
/// How long what failed waits.
const AGAIN: Duration = Duration::from_secs(1);

/// Follows the policies until the server ends.
pub async fn run(server: Arc<Server>) {
    let client = Local::client(&server, "system:apiserver", &["system:masters"]);
    let cache = server.store.resource(&POLICIES.qualified());
    let (snapshot, mut watcher) = cache.list_and_watch(None);
    let mut due: BTreeSet<Arc<str>> = snapshot.iter().map(|e| e.card.name.clone()).collect();
    drop(snapshot);
    loop {
        let mut failed = BTreeSet::new();
        for name in std::mem::take(&mut due) {
            let Some(policy) = cache.get("", &name).and_then(|entry| entry.object().ok()) else {
                continue;
            };
            if let Err(error) = one(&server, &client, policy).await {
                tracing::debug!(%error, policy = %name, "its status was not written");
                failed.insert(name);
            }
        }
        let retry = !failed.is_empty();
        due = failed;
        tokio::select! {
            () = server.shutdown.cancelled() => return,
            () = tokio::time::sleep(AGAIN), if retry => {}
            batch = watcher.next_batch() => match batch {
                Ok(events) => {
                    let there = events.iter().filter(|e| e.kind != EventKind::Deleted);
                    due.extend(there.map(|e| e.entry.card.name.clone()));
                }
                Err(_) => {
                    let (snapshot, fresh) = cache.list_and_watch(None);
                    watcher = fresh;
                    due.extend(snapshot.iter().map(|e| e.card.name.clone()));
                }
            },
        }
    }
}

async fn one(server: &Arc<Server>, client: &Client, policy: Object) -> Result<(), client::Error> {
    let generation = policy.int("metadata.generation").unwrap_or(0);
    if generation <= policy.int("status.observedGeneration").unwrap_or(0) {
        return Ok(());
    }
    let name = policy.name().to_owned();
    let checking = server.clone();
    let checked = tokio::task::spawn_blocking(move || warnings(&checking, &policy)).await;
    let warnings = checked.map_err(|e| client::Error::transport("check a policy", e))?;
    let checking = match warnings.is_empty() {
        true => json!({}),
        false => json!({"expressionWarnings": warnings}),
    };
    let status = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "status": {"observedGeneration": generation, "typeChecking": checking},
    });
    let apply = Patch::Apply { manager: MANAGER, force: true };
    match client.patch::<Object>(&POLICIES, "", &name, Some("status"), apply, &status).await {
        Err(error) if error.api().is_some_and(api::ApiError::is_not_found) => Ok(()),
        outcome => outcome.map(|_| ()),
    }
}

/// What does not fit, by field.
fn warnings(server: &Server, policy: &Object) -> Vec<Value> {
    let empty = Map::new();
    let spec = policy.at("spec").and_then(Value::as_object).unwrap_or(&empty);
    let types = types(server, spec);
    if types.is_empty() {
        return Vec::new();
    }
    let param = spec.get("paramKind").and_then(Value::as_object);
    let param_type = param.and_then(|kind| {
        let (group, version) = split(text(kind, "apiVersion"));
        let kind = all(server)
            .into_iter()
            .find(|k| k.group == group && k.version == version && k.kind == text(kind, "kind"))?;
        declared(server, kind)
    });
    let environments: Vec<(String, Env)> = types
        .iter()
        .map(|(kind, decl)| {
            let env = environment(decl, param.is_some(), param_type.as_ref());
            let (_, env) = Variables::read(spec.get("variables"), &env);
            let Kind { group, version, kind, .. } = kind;
            (format!("{group}/{version}, Kind={kind}"), env)
        })
        .collect();
    let mut out = Vec::new();
    let mut check = |field: String, source: &str| {
        let faults: Vec<String> = environments
            .iter()
            .filter_map(|(name, env)| Some(format!("{name}: {}\n", env.compile(source).err()?)))
            .collect();
        if !faults.is_empty() {
            out.push(json!({"fieldRef": field, "warning": faults.join("\n")}));
        }
    };
    for (at, validation) in maps(spec.get("validations")).enumerate() {
        let field = format!("spec.validations[{at}]");
        check(format!("{field}.expression"), text(validation, "expression"));
        let message = text(validation, "messageExpression");
        if !message.is_empty() {
            check(format!("{field}.messageExpression"), message);
        }
    }
    out
}

/// What expressions may name, where the object's type is known.
fn environment(object: &Arc<Decl>, params: bool, param: Option<&Arc<Decl>>) -> Env {
    let base = expression::env(May { params, ..May::default() }).extend();
    // Upstream checks without `authorizer.requestResource`, and warns of its use.
    let base = base.variable("authorizer", Type::Opaque(expression::AUTHORIZER));
    let typed = base.declared("object", object).declared("oldObject", object);
    match param {
        Some(param) => typed.declared("params", param).build(),
        None => typed.build(),
    }
}

fn split(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// All kinds that are served now.
fn all(server: &Server) -> Vec<&'static Kind> {
    let customs = server.customs.table();
    let versions = customs.definitions().filter(|d| d.established).flat_map(|d| &d.versions);
    let customs = versions.filter(|v| v.served).map(|v| v.kind);
    server.served.all().iter().copied().chain(customs).collect()
}

/// The types that the rules of a policy name, in order. Rules with a `*` name none.
fn types(server: &Server, spec: &Map<String, Value>) -> Vec<(&'static Kind, Arc<Decl>)> {
    let rules = spec.get("matchConstraints").and_then(|m| m.get("resourceRules"));
    let all = all(server);
    let mut found: BTreeMap<(&str, &str, &str), &'static Kind> = BTreeMap::new();
    'rules: for rule in maps(rules) {
        let list = |key: &str| {
            let list = rule.get(key).and_then(Value::as_array).into_iter().flatten();
            let mut list: Vec<&str> = list.filter_map(Value::as_str).collect();
            list.sort_unstable();
            list
        };
        let (groups, versions) = (list("apiGroups"), list("apiVersions"));
        if groups.iter().chain(&versions).any(|item| item.contains('*')) {
            continue;
        }
        let mut resources = list("resources");
        resources.retain(|item| !item.contains(['*', '/']));
        let mut count = 0;
        for group in &groups {
            for version in &versions {
                for resource in &resources {
                    // A resource without a group may be of any.
                    let named = |kind: &&&'static Kind| {
                        (group.is_empty() || kind.group == *group)
                            && kind.version == *version
                            && kind.plural == *resource
                    };
                    for kind in all.iter().filter(named) {
                        found.insert((kind.group, kind.version, kind.kind), kind);
                        count += 1;
                        if count == MOST_TYPES {
                            break 'rules;
                        }
                    }
                }
            }
        }
    }
    let typed = |kind: &'static Kind| Some((kind, declared(server, kind)?));
    found.into_values().filter_map(typed).collect()
}

/// The type of a kind.
fn declared(server: &Server, kind: &'static Kind) -> Option<Arc<Decl>> {
    let customs = server.customs.table();
    openapi::documents(server, customs.definitions_of(kind.group), &[], |documents| {
        let named = |name: &str| documents.schema(name);
        schema::resource(&documents.schema_name(kind), kind.kind, &named)
    })
}
