//! `tables/kinds.txt`: every group, version, resource and subresource, out of the discovery
//! documents, with the stored version and the selectable fields.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use serde_json::Value;
use sha2::{Digest, Sha256};

const HEAD: &str = "\
# Made by `cargo run -p xtask -- gen`; do not edit. Read by api::kinds.
# g group; v version (+ served by default); r plural kind singular scope verbs attributes;
# s subresource kind verbs (group/version of the kind where it is another one).
# Verbs: c create, d delete, x deletecollection, g get, l list, p patch, u update, w watch.
# Attributes: short names, categories, hash of the stored version as published, store the version
#   stored here where it is another one, type, deleted (what a deletion
#   answers with, where not a status), ends (minor releases: deprecated, removed; what to use
#   instead), gate (a feature gate that is off by default, and its stage), select (refusal and
#   labels), card.
";

/// The text of the table.
pub fn table(shared: &Path, facts: &Path) -> Result<String> {
    let every = super::json(shared.join("discovery/aggregated_v2.json"))?;
    let default_core = super::json(shared.join("discovery-default-api.json"))?;
    let default_groups = super::json(shared.join("discovery-default-apis.json"))?;
    let mut default = HashSet::new();
    for group in items(&default_core).chain(items(&default_groups)) {
        for version in list(&group["versions"]) {
            default.insert((name(group), text(&version["version"])));
        }
    }
    let types = super::json(shared.join("types.json"))?;
    let mut by_kind = HashMap::new();
    for (name, facts) in types["types"].as_object().context("types.json: no types")? {
        for gvk in list(&facts["gvk"]) {
            by_kind.insert((text(&gvk[0]), text(&gvk[1]), text(&gvk[2])), name.as_str());
        }
    }
    let mut selects = HashMap::new();
    let mut cards = HashMap::new();
    for line in super::fact_lines(facts, "selectable.txt")? {
        let words: Vec<&str> = line.split(' ').collect();
        let (head, rest) = words.split_at(3);
        match *head {
            ["select", version, plural] => {
                selects.insert((version.to_owned(), plural.to_owned()), rest.join(","))
            }
            ["card", group, plural] => {
                cards.insert((group.replace('-', ""), plural.to_owned()), rest.join(","))
            }
            _ => anyhow::bail!("selectable.txt: {line}"),
        };
    }

    let mut ends = HashMap::new();
    let mut gates = HashMap::new();
    for line in super::fact_lines(facts, "lifecycle.txt")? {
        let words: Vec<&str> = line.split(' ').collect();
        let (into, value) = match *words.as_slice() {
            ["ends", _, _, ..] => (&mut ends, words[3..].join(",")),
            ["gate", _, _, gate, stage] => (&mut gates, format!("{gate}:{stage}")),
            _ => anyhow::bail!("lifecycle.txt: {line}"),
        };
        let version = words[1].strip_prefix("-/").unwrap_or(words[1]);
        into.insert((version.to_owned(), words[2].to_owned()), value);
    }

    // Kinds whose deletion answers with the object, not with a status.
    let swagger = super::json(shared.join("openapi/swagger.json"))?;
    let mut answers = HashSet::new();
    for path in swagger["paths"].as_object().context("swagger.json: no paths")?.values() {
        let delete = &path["delete"];
        let gvk = &delete["x-kubernetes-group-version-kind"];
        let answer = text(&delete["responses"]["200"]["schema"]["$ref"]);
        if delete["x-kubernetes-action"] == "delete" && !answer.ends_with(".Status") {
            answers.insert((text(&gvk["group"]), text(&gvk["version"]), text(&gvk["kind"])));
        }
    }

    let groups: Vec<&Value> = items(&default_core).chain(items(&every)).collect();
    let versions_of = |group: &str| -> Vec<String> {
        let of = groups.iter().find(|g| name(g) == group);
        of.map(|g| list(&g["versions"]).map(|v| text(&v["version"]).to_owned()).collect())
            .unwrap_or_default()
    };
    let mut out = HEAD.to_owned();
    for group in &groups {
        let group_name = name(group);
        writeln!(out, "g {}", if group_name.is_empty() { "-" } else { group_name })?;
        for version in list(&group["versions"]) {
            let v = text(&version["version"]);
            let served = default.contains(&(group_name, v));
            writeln!(out, "v {v}{}", if served { " +" } else { "" })?;
            let api_version =
                if group_name.is_empty() { v.to_owned() } else { format!("{group_name}/{v}") };
            let file = if group_name.is_empty() {
                format!("discovery/api__{v}.json")
            } else {
                format!("discovery/apis__{group_name}__{v}.json")
            };
            let legacy = super::json(shared.join(file))?;
            for resource in list(&version["resources"]) {
                let plural = text(&resource["resource"]);
                let kind = text(&resource["responseKind"]["kind"]);
                write!(
                    out,
                    "r {plural} {kind} {} {} {}",
                    text(&resource["singularResource"]),
                    if resource["scope"] == "Namespaced" { "N" } else { "C" },
                    verbs(&resource["verbs"]),
                )?;
                for (key, from) in [("short", "shortNames"), ("categories", "categories")] {
                    let names: Vec<&str> = list(&resource[from]).map(text).collect();
                    if !names.is_empty() {
                        write!(out, " {key}={}", names.join(","))?;
                    }
                }
                let entry = list(&legacy["resources"]).find(|r| text(&r["name"]) == plural);
                let hash = entry.map_or("", |e| text(&e["storageVersionHash"]));
                if !hash.is_empty() {
                    let mut store = (group_name.to_owned(), v.to_owned());
                    for candidate_group in ["", group_name] {
                        for candidate in versions_of(candidate_group) {
                            if digest(candidate_group, &candidate, kind) == hash {
                                store = (candidate_group.to_owned(), candidate);
                            }
                        }
                    }
                    // The published hash names what upstream stores; here a version that is served
                    // by default wins, so that reads need no conversion.
                    let is_default = |g: &str, v: &str| default.contains(&(g, v));
                    if !is_default(&store.0, &store.1) {
                        let better = versions_of(group_name).into_iter().find(|candidate| {
                            is_default(group_name, candidate)
                                && by_kind.contains_key(&(group_name, candidate, kind))
                        });
                        if let Some(better) = better {
                            store = (group_name.to_owned(), better);
                        }
                    }
                    write!(out, " hash={hash}")?;
                    if store != (group_name.to_owned(), v.to_owned()) {
                        write!(out, " store={}/{}", store.0, store.1)?;
                    }
                }
                if let Some(of) = by_kind.get(&(group_name, v, kind)) {
                    write!(out, " type={of}")?;
                }
                if answers.contains(&(group_name, v, kind)) {
                    write!(out, " deleted=object")?;
                }
                if let Some(end) = ends.get(&(api_version.clone(), kind.to_owned())) {
                    write!(out, " ends={end}")?;
                }
                let key = (api_version.clone(), plural.to_owned());
                if let Some(gate) = gates.get(&key) {
                    write!(out, " gate={gate}")?;
                }
                if let Some(select) = selects.get(&key) {
                    write!(out, " select={select}")?;
                }
                if let Some(card) = cards.get(&(group_name.to_owned(), plural.to_owned())) {
                    write!(out, " card={card}")?;
                }
                out.push('\n');
                for sub in list(&resource["subresources"]) {
                    let body = &sub["responseKind"];
                    write!(
                        out,
                        "s {} {} {}",
                        text(&sub["subresource"]),
                        text(&body["kind"]),
                        verbs(&sub["verbs"])
                    )?;
                    if !text(&body["version"]).is_empty() {
                        write!(out, " {}/{}", text(&body["group"]), text(&body["version"]))?;
                    }
                    out.push('\n');
                }
            }
        }
    }
    Ok(out)
}

fn items(document: &Value) -> impl Iterator<Item = &Value> {
    list(&document["items"])
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

fn name(group: &Value) -> &str {
    text(&group["metadata"]["name"])
}

fn verbs(value: &Value) -> String {
    list(value)
        .map(|verb| match text(verb) {
            "deletecollection" => 'x',
            other => other.chars().next().unwrap_or('?'),
        })
        .collect()
}

/// The hash that discovery publishes for a stored version.
fn digest(group: &str, version: &str, kind: &str) -> String {
    let sum = Sha256::digest(format!("{group}/{version}/{kind}"));
    base64::engine::general_purpose::STANDARD.encode(&sum[..8])
}
