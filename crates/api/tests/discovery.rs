//! Discovery documents against those of an upstream server, order included.
#![allow(clippy::unwrap_used)] // a test that cannot read its data has failed

use isopod_api::discovery::{self, Group};
use isopod_api::kinds::{self, RuntimeConfig};

mod shared;

fn split(groups: Vec<Group>) -> (Vec<Group>, Vec<Group>) {
    groups.into_iter().partition(|g| g.name.is_empty())
}

#[test]
fn defaults_are_upstreams() {
    let Some(dir) = shared::dir() else { return };
    let (core, named) = split(discovery::builtin(|kind| kind.default_served));
    for (groups, file) in
        [(core, "discovery-default-api.json"), (named, "discovery-default-apis.json")]
    {
        assert_eq!(discovery::aggregated(&groups), shared::json(dir.join(file)), "{file}");
    }
}

#[test]
fn everything_is_upstreams() {
    let Some(dir) = shared::dir() else { return };
    let dir = dir.join("discovery");
    let on = |names: &[&str]| -> Vec<(String, bool)> {
        names.iter().map(|name| ((*name).to_owned(), true)).collect()
    };
    let all = RuntimeConfig::new(&on(&["api/all"]), &on(&["AllAlpha", "AllBeta"])).unwrap();
    let groups = discovery::builtin(|kind| all.serves(kind));
    let (_, named) = split(groups.clone());
    assert_eq!(discovery::aggregated(&named), shared::json(dir.join("aggregated_v2.json")));
    assert_eq!(
        discovery::api_versions(&groups, "10.10.10.10:8050"),
        shared::json(dir.join("api.json"))
    );
    assert_eq!(discovery::group_list(&groups), shared::json(dir.join("apis.json")));
    for group in &groups {
        for version in &group.versions {
            let file = if group.name.is_empty() {
                format!("api__{}.json", version.version)
            } else {
                format!("apis__{}__{}.json", group.name, version.version)
            };
            let theirs = shared::json(dir.join(&file));
            assert_eq!(discovery::resource_list(&group.name, version), theirs, "{file}");
        }
        if !group.name.is_empty() {
            let file = format!("apis__{}.json", group.name);
            assert_eq!(discovery::group(group), shared::json(dir.join(&file)), "{file}");
        }
    }
}

/// `key,key=false` as switches.
fn switches(text: &str) -> Vec<(String, bool)> {
    let parts = text.split(',').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, "true"));
            (key.to_owned(), value == "true")
        })
        .collect()
}

#[test]
fn runtime_config_switches() {
    let serves = |config: &str, gates: &str, group: &str, version: &str| {
        let config = RuntimeConfig::new(&switches(config), &switches(gates)).unwrap();
        let kind = kinds::all().iter().find(|k| k.group == group && k.version == version).unwrap();
        config.serves(kind)
    };
    assert!(serves("", "", "apps", "v1"));
    assert!(!serves("", "", "resource.k8s.io", "v1beta1"));
    assert!(serves("api/beta", "", "resource.k8s.io", "v1beta1"));
    assert!(!serves("api/beta", "", "resource.k8s.io", "v1alpha3"));
    assert!(serves("resource.k8s.io/v1alpha3", "", "resource.k8s.io", "v1alpha3"));
    assert!(!serves("apps/v1=false", "", "apps", "v1"));
    assert!(serves("api/all=false,apps/v1", "", "apps", "v1"));
    assert!(!serves("api/all=false,apps/v1", "", "batch", "v1"));
    // A gate that is closed keeps what is switched on.
    let migration = "storagemigration.k8s.io";
    assert!(!serves("api/all", "", migration, "v1beta1"));
    assert!(serves("api/all", "StorageVersionMigrator", migration, "v1beta1"));
    assert!(serves("api/all", "AllBeta", migration, "v1beta1"));
    assert!(!serves("api/all", "AllBeta,StorageVersionMigrator=false", migration, "v1beta1"));
    assert!(!serves("", "AllBeta", migration, "v1beta1"));
    assert!(RuntimeConfig::new(&switches("nope"), &[]).is_err());
}
