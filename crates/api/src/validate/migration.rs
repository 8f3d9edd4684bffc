//! Versions that servers store objects in, and moving objects from one to another.
//!
//! Not here: doing it.

use std::collections::{BTreeMap, BTreeSet};

use super::at::{At, Faults, IMMUTABLE};
use super::policy;
use crate::names;

/// `group.resource`.
pub(super) fn storage_version_name(name: &str) -> names::Faults {
    let Some((group, resource)) = name.rsplit_once('.') else {
        return vec!["name must be in the form of <group>.<resource>".to_owned()];
    };
    let group =
        names::dns_subdomain(group).into_iter().map(|why| format!("the group segment {why}"));
    let resource = names::dns_1035_label(resource);
    group.chain(resource.into_iter().map(|why| format!("the resource segment {why}"))).collect()
}

pub(super) fn storage_version(root: &At<'_>, f: &mut Faults) {
    status(&root.get("status"), f);
}

pub(super) fn storage_version_status(new: &At<'_>, _: &At<'_>, f: &mut Faults) {
    status(&new.get("status"), f);
}

fn status(status: &At<'_>, f: &mut Faults) {
    let servers = status.get("storageVersions");
    let mut seen = BTreeSet::new();
    for server in servers.items() {
        let id = server.get("apiServerID");
        if !seen.insert(id.text().to_owned()) {
            id.duplicate(f);
        }
        id.check(f, names::dns_subdomain);
        versions(&server, f);
    }
    let mut encodings = servers.items().map(|s| s.get("encodingVersion").text().to_owned());
    let first = encodings.next();
    let agreed = first.filter(|first| encodings.all(|other| other == *first));
    let common = status.get("commonEncodingVersion");
    match (agreed, common.is_set()) {
        (None, true) => common.invalid(f, "should be nil if servers do not agree on the same encoding version, or if there is no server reporting the supported versions yet"),
        (Some(agreed), false) => {
            common.invalid(f, &format!("the common encoding version is {agreed}"));
        }
        (Some(agreed), true) if agreed != common.text() => {
            common.invalid(f, &format!("the actual common encoding version is {agreed}"));
        }
        _ => {}
    }
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for (at, condition) in status.get("conditions").items().enumerate() {
        // Upstream leaves the list out of these paths.
        let path = format!("{}[{at}]", status.path());
        let mut fault = |field: &str, cause: &dyn Fn(String) -> crate::Cause| {
            f.push(cause(format!("{path}.{field}")));
        };
        let kind = condition.get("type");
        if let Some(first) = kinds.insert(kind.text().to_owned(), at) {
            let why = format!(
                "the type of the condition is not unique, it also appears in conditions[{first}]"
            );
            fault("type", &|path| crate::Cause::invalid(path, kind.value, &why));
        }
        for field in ["type", "status"] {
            let value = condition.get(field);
            for why in names::qualified_name(value.text()) {
                fault(field, &|path| crate::Cause::invalid(path, &value.text().into(), &why));
            }
        }
        for field in ["reason", "message"] {
            if condition.get(field).is_empty() {
                fault(field, &|path| crate::Cause::required(path, ""));
            }
        }
    }
}

/// What one server encodes, decodes and serves.
fn versions(server: &At<'_>, f: &mut Faults) {
    let encoding = server.get("encodingVersion");
    api_version(&encoding, f);
    let decodable = server.get("decodableVersions");
    for version in decodable.items() {
        api_version(&version, f);
    }
    let decodes = |text: &str| decodable.items().any(|version| version.text() == text);
    if !decodes(encoding.text()) {
        let why = format!("decodableVersions must include encodingVersion {}", encoding.text());
        decodable.invalid(f, &why);
    }
    let list: Vec<String> = decodable.items().map(|v| v.text().to_owned()).collect();
    for version in server.get("servedVersions").items() {
        api_version(&version, f);
        if !decodes(version.text()) {
            let why = format!(
                "individual served version : {} must be included in decodableVersions : [{}]",
                version.text(),
                list.join(" ")
            );
            version.invalid(f, &why);
        }
    }
}

/// `v1`, or `apps/v1`.
fn api_version(at: &At<'_>, f: &mut Faults) {
    let parts: Vec<&str> = at.text().split('/').collect();
    let mut faults = Vec::new();
    let version = match parts[..] {
        [version] => version,
        [group, version] => {
            if group.is_empty() {
                faults.push("group part must be non-empty".to_owned());
            }
            faults
                .extend(names::dns_subdomain(group).iter().map(|why| format!("group part {why}")));
            version
        }
        _ => {
            faults.push("an apiVersion is ".to_owned() + &names::pattern_fault(
                "a DNS-1035 label, which must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
                "[a-z]([-a-z0-9]*[a-z0-9])?",
                &["my-name", "abc-123"],
            ) + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyVersion')");
            ""
        }
    };
    if parts.len() <= 2 {
        if version.is_empty() {
            faults.push("version part must be non-empty".to_owned());
        }
        faults
            .extend(names::dns_1035_label(version).iter().map(|why| format!("version part {why}")));
    }
    if !faults.is_empty() {
        at.invalid_as(f, at.text(), &faults.join(","));
    }
}

pub(super) fn migration(root: &At<'_>, f: &mut Faults) {
    let resource = root.get("spec.resource");
    let name = resource.get("resource");
    if name.is_empty() {
        name.required(f, "resource is required to be set");
    } else {
        joined(&name, names::dns_1035_label(name.text()), f);
    }
    let group = resource.get("group");
    if !group.is_empty() {
        joined(&group, names::dns_subdomain(group.text()), f);
    }
}

fn joined(at: &At<'_>, faults: names::Faults, f: &mut Faults) {
    if !faults.is_empty() {
        at.invalid(f, &faults.join(","));
    }
}

pub(super) fn migration_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    migration(new, f);
    new.get("spec").immutable(f, &old.get("spec"));
}

pub(super) fn migration_status(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    let (status, was) = (new.get("status"), old.get("status"));
    let version = status.get("resourceVersion");
    let digits = |text: &str| !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    if !version.is_empty() && !digits(version.text()) {
        version.invalid(f, &format!("resource version is not well formed: {}", version.text()));
    }
    let conditions = status.get("conditions");
    policy::conditions(&conditions, f);
    let before = was.get("resourceVersion");
    if !before.is_empty() && before.text() != version.text() {
        version.invalid_as(f, version.text(), IMMUTABLE);
    }
    let holds = |status: &At<'_>, kind: &str| {
        let list = status.get("conditions");
        list.items().any(|c| c.get("type").text() == kind && c.get("status").text() == "True")
    };
    let both = holds(&status, "Succeeded") && holds(&status, "Failed");
    let ended = |kind: &str| holds(&was, kind) && !holds(&status, kind);
    for (wrong, why) in [
        (both, "Both success and failed conditions cannot be true at the same time"),
        (ended("Succeeded"), "Success condition cannot be set to false once it is true"),
        (ended("Failed"), "Failed condition cannot be set to false once it is true"),
    ] {
        if wrong {
            conditions.invalid(f, why);
        }
    }
}
