//! AppArmor and seccomp profiles as old clients say them: in annotations, which must agree with the
//! fields.

use super::at::{At, Faults};
use super::common;
use super::pod::CONTAINERS;
use crate::names;

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";
const SECCOMP_OF_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";

/// The annotations themselves.
pub(super) fn annotations(notes: &At<'_>, spec: &At<'_>, f: &mut Faults) {
    for (key, note) in notes.entries() {
        if key == SECCOMP_OF_POD || key.starts_with(SECCOMP) {
            seccomp(&notes.get(key).with(note.value), f);
        }
    }
    for (key, note) in notes.entries() {
        let Some(container) = key.strip_prefix(APP_ARMOR) else { continue };
        let known = |list: &&str| spec.get(list).items().any(|c| c.get("name").text() == container);
        if !CONTAINERS.iter().any(known) {
            note.invalid_as(f, container, "container not found");
        }
        let profile = note.text();
        if !["", "runtime/default", "unconfined"].contains(&profile)
            && !profile.starts_with("localhost/")
        {
            let why = format!("invalid AppArmor profile name: {}", names::quote(profile));
            note.invalid(f, &why);
        }
    }
}

fn seccomp(note: &At<'_>, f: &mut Faults) {
    let text = note.text();
    if ["runtime/default", "docker/default", "unconfined"].contains(&text) {
        return;
    }
    match text.strip_prefix("localhost/") {
        Some(path) => common::descending_path(&note.with(&path.into()), f),
        None => note.invalid(f, "must be a valid seccomp profile"),
    }
}

/// Annotations of pods, and that they do not change: which of AppArmor's and mirrors' came or went.
pub(super) fn changed(notes: &At<'_>, had: &At<'_>, f: &mut Faults) {
    const MIRROR: &str = "kubernetes.io/config.mirror";
    let kind = |key: &str| match key {
        MIRROR => Some("mirror pod annotation"),
        _ if key.starts_with(APP_ARMOR) => Some("AppArmor annotations"),
        _ => None,
    };
    for (key, was) in had.entries() {
        let now = notes.key(key);
        if let (Some(kind), true) = (kind(key), now.value != was.value) {
            now.forbidden(f, &format!("may not remove or update {kind}"));
        }
    }
    for (key, now) in notes.entries() {
        if let (Some(kind), false) = (kind(key), had.key(key).is_set()) {
            now.forbidden(f, &format!("may not add {kind}"));
        }
    }
}

/// What annotations and fields say of a profile must be the same.
pub(super) fn match_annotations(notes: &At<'_>, spec: &At<'_>, f: &mut Faults) {
    const SAYS: &[(&str, &[&str])] = &[
        ("Unconfined", &["unconfined"]),
        ("RuntimeDefault", &["runtime/default", "docker/default"]),
    ];
    let differs = |of: &str, note: &At<'_>, profile: &At<'_>, at: &At<'_>, f: &mut Faults| {
        let kind = profile.get("type");
        let kind = kind.text();
        let same = match SAYS.iter().find(|(name, _)| *name == kind) {
            // AppArmor knows one word for the default.
            Some((_, words)) => {
                let words = if of == "apparmor" { &words[..1] } else { words };
                words.contains(&note.text())
            }
            None if kind != "Localhost" => true,
            None => match note.text().strip_prefix("localhost/") {
                Some(path) if path == profile.get("localhostProfile").text() => true,
                Some(_) => {
                    let why = format!("{of} profile in annotation and field must match");
                    return at.get("localhostProfile").forbidden(f, &why);
                }
                None => false,
            },
        };
        if !same {
            at.get("type").forbidden(f, &format!("{of} type in annotation and field must match"));
        }
    };
    let (note, profile) = (notes.key(SECCOMP_OF_POD), spec.get("securityContext.seccompProfile"));
    if note.is_set() && profile.is_set() {
        differs("seccomp", &note, &profile, &profile, f);
    }
    let all = || CONTAINERS.map(|list| spec.get(list));
    for list in all() {
        for container in list.items() {
            let key = format!("{SECCOMP}{}", container.get("name").text());
            let (note, profile) =
                (notes.key(&key), container.get("securityContext.seccompProfile"));
            if note.is_set() && profile.is_set() {
                differs("seccomp", &note, &profile, &profile, f);
            }
        }
    }
    if spec.get("os.name").text() == "windows" {
        return;
    }
    let of_pod = spec.get("securityContext.appArmorProfile");
    for list in all() {
        for container in list.items() {
            let key = format!("{APP_ARMOR}{}", container.get("name").text());
            let own = container.get("securityContext.appArmorProfile");
            let profile = if own.is_set() { own } else { of_pod };
            let note = notes.key(&key);
            if note.is_set() && profile.is_set() {
                differs("apparmor", &note, &profile, &own, f);
            }
        }
    }
}
