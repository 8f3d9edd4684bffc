//! Reads the text of the kind table.
//!
//! The text is checked in and covered by tests: a line that cannot be read is a fault of the build,
//! so it panics.

use std::collections::HashMap;

use super::{CardField, Gate, Kind, Refusal, Subresource, Table, Verb, Verbs};

pub(super) fn table(text: &'static str) -> Table {
    let mut kinds: Vec<Kind> = Vec::new();
    let mut subresources: Vec<Subresource> = Vec::new();
    let (mut group, mut version, mut served) = ("", "", false);
    for line in text.lines() {
        let mut words = line.split(' ');
        let mut next = || words.next().unwrap_or("");
        match next() {
            "g" => group = Some(next()).filter(|g| *g != "-").unwrap_or(""),
            "v" => {
                version = next();
                served = next() == "+";
            }
            "r" => {
                finish(&mut kinds, &mut subresources);
                let mut kind = Kind {
                    group,
                    version,
                    plural: next(),
                    kind: next(),
                    singular: next(),
                    namespaced: next() == "N",
                    verbs: verbs(next()),
                    short_names: Box::default(),
                    categories: Box::default(),
                    subresources: Box::default(),
                    type_name: "",
                    storage: (group, version),
                    default_served: served,
                    gate: None,
                    ends: "",
                    storage_hash: "",
                    deletion_returns_object: false,
                    selectable: Box::new(["metadata.name", "metadata.namespace"]),
                    selected: Box::new(["metadata.name", "metadata.namespace"]),
                    refusal: Refusal::Default,
                    card: Box::default(),
                    custom: false,
                    stored_row: None,
                    list_kind: "",
                    api_version: super::group_version(group, version),
                };
                for word in words {
                    attribute(&mut kind, word);
                }
                kinds.push(kind);
            }
            "s" => {
                let (name, kind, verbs) = (next(), next(), verbs(next()));
                let body = next();
                let (group, version) = body.split_once('/').unwrap_or((group, version));
                let foreign = !body.is_empty();
                subresources.push(Subresource { name, group, version, kind, verbs, foreign });
            }
            _ => {}
        }
    }
    finish(&mut kinds, &mut subresources);
    let by_plural = kinds.iter().enumerate().map(|(at, k)| ((k.group, k.version, k.plural), at));
    let by_plural: HashMap<_, _> = by_plural.collect();
    let by_kind = kinds.iter().enumerate().map(|(at, k)| ((k.group, k.version, k.kind), at));
    let by_kind = by_kind.collect();
    Table { kinds, by_plural, by_kind }
}

fn attribute(kind: &mut Kind, word: &'static str) {
    match word.split_once('=') {
        Some(("short", names)) => kind.short_names = names.split(',').collect(),
        Some(("categories", names)) => kind.categories = names.split(',').collect(),
        Some(("deleted", what)) => kind.deletion_returns_object = what == "object",
        Some(("ends", ends)) => kind.ends = ends,
        Some(("gate", gate)) => {
            let gate = gate.split_once(':').map(|(name, stage)| Gate { name, stage });
            kind.gate = gate;
        }
        Some(("hash", hash)) => kind.storage_hash = hash,
        Some(("store", pair)) => {
            kind.storage = pair.split_once('/').unwrap_or((kind.group, kind.version));
        }
        Some(("type", name)) => kind.type_name = name,
        Some(("select", list)) => {
            let mut labels = list.split(',');
            kind.refusal = match labels.next() {
                Some("plain") => Refusal::Plain,
                Some("kind") => Refusal::Kind,
                Some("gvk") => Refusal::Gvk,
                _ => panic!("kind table: {word}"),
            };
            let pairs = labels.map(|label| label.split_once('>').unwrap_or((label, label)));
            let (selectable, selected): (Vec<_>, Vec<_>) = pairs.unzip();
            kind.selectable = selectable.into();
            kind.selected = selected.into();
        }
        Some(("card", list)) => kind.card = list.split(',').map(card_field).collect(),
        _ => panic!("kind table: {word}"),
    }
}

fn card_field(text: &'static str) -> CardField {
    let (text, default) = text.split_once(':').unwrap_or((text, ""));
    let (name, paths) = text.split_once('=').unwrap_or((text, text));
    CardField { name, paths: paths.split('|').collect(), default }
}

fn verbs(letters: &str) -> Verbs {
    Verbs(letters.chars().fold(0, |bits, letter| {
        bits | match letter {
            'c' => Verb::Create,
            'd' => Verb::Delete,
            'x' => Verb::DeleteCollection,
            'g' => Verb::Get,
            'l' => Verb::List,
            'p' => Verb::Patch,
            'u' => Verb::Update,
            'w' => Verb::Watch,
            _ => panic!("kind table: no verb {letter}"),
        } as u8
    }))
}

/// Completes the last kind with the subresources read for it.
fn finish(kinds: &mut [Kind], subresources: &mut Vec<Subresource>) {
    if let Some(kind) = kinds.last_mut() {
        kind.subresources = std::mem::take(subresources).into_boxed_slice();
    }
}
