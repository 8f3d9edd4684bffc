//! One RBAC rule, kept in the form in which requests are matched against it.
//!
//! Not here: whose rules apply (`index`).

use api::{Map, Value};
use serde::Deserialize;

use crate::gate::Attributes;

/// `rbac.authorization.k8s.io/v1` PolicyRule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// What may be done.
    #[serde(deserialize_with = "list")]
    pub verbs: Box<[Box<str>]>,
    /// In which groups.
    #[serde(deserialize_with = "list")]
    pub api_groups: Box<[Box<str>]>,
    /// To which resources, `*`, `*/sub` and `resource/sub` included.
    #[serde(deserialize_with = "list")]
    pub resources: Box<[Box<str>]>,
    /// To which objects only; empty: all.
    #[serde(deserialize_with = "list")]
    pub resource_names: Box<[Box<str>]>,
    /// To which paths; a trailing `*` matches any rest.
    #[serde(rename = "nonResourceURLs", deserialize_with = "list")]
    pub non_resource_urls: Box<[Box<str>]>,
}

/// A list that may also be null.
fn list<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Box<[Box<str>]>, D::Error> {
    Ok(Option::<Box<[Box<str>]>>::deserialize(from)?.unwrap_or_default())
}

fn has(list: &[Box<str>], wanted: &str) -> bool {
    list.iter().any(|item| &**item == wanted)
}

fn has_or_all(list: &[Box<str>], wanted: &str) -> bool {
    list.iter().any(|item| &**item == "*" || &**item == wanted)
}

impl Rule {
    /// A rule of plain lists.
    pub fn of_resources(verbs: &[&str], groups: &[&str], resources: &[&str]) -> Self {
        let boxed = |l: &[&str]| l.iter().map(|s| Box::from(*s)).collect();
        Self {
            verbs: boxed(verbs),
            api_groups: boxed(groups),
            resources: boxed(resources),
            ..Self::default()
        }
    }

    /// Whether the rule allows a request.
    pub fn allows(&self, a: &Attributes<'_>) -> bool {
        if !has_or_all(&self.verbs, a.verb) {
            return false;
        }
        if !a.resource_request {
            return self.non_resource_urls.iter().any(|url| path_matches(url, a.path));
        }
        has_or_all(&self.api_groups, a.group)
            && self.covers_resource(a.resource, a.subresource)
            && (self.resource_names.is_empty() || has(&self.resource_names, a.name))
    }

    fn covers_resource(&self, resource: &str, sub: &str) -> bool {
        self.resources.iter().any(|item| {
            let item = &**item;
            if item == "*" {
                return true;
            }
            match item.split_once('/') {
                None => sub.is_empty() && item == resource,
                Some((head, tail)) => {
                    !sub.is_empty() && tail == sub && (head == "*" || head == resource)
                }
            }
        })
    }

    /// Whether every request that `single` (one verb, group, resource, name or path) allows is
    /// allowed by this rule too.
    fn covers(&self, single: &Self) -> bool {
        let all = |own: &[Box<str>], wanted: &[Box<str>]| {
            has(own, "*") || wanted.iter().all(|w| has(own, w))
        };
        let resources = || {
            has(&self.resources, "*")
                || single.resources.iter().all(|wanted| {
                    has(&self.resources, wanted)
                        || wanted
                            .split_once('/')
                            .is_some_and(|(_, sub)| has(&self.resources, &format!("*/{sub}")))
                })
        };
        let names = || {
            self.resource_names.is_empty()
                || (!single.resource_names.is_empty()
                    && single.resource_names.iter().all(|n| has(&self.resource_names, n)))
        };
        let urls = || {
            single.non_resource_urls.iter().all(|wanted| {
                self.non_resource_urls.iter().any(|own| {
                    own == wanted
                        || own.strip_suffix('*').is_some_and(|prefix| wanted.starts_with(prefix))
                })
            })
        };
        all(&self.verbs, &single.verbs)
            && all(&self.api_groups, &single.api_groups)
            && resources()
            && names()
            && urls()
    }

    /// The rule taken apart into rules of one verb, group, resource and name (or path) each.
    fn singles(&self) -> Vec<Self> {
        let one = |s: &str| -> Box<[Box<str>]> { [Box::from(s)].into() };
        let mut singles = Vec::new();
        for group in &self.api_groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    let base = Self {
                        verbs: one(verb),
                        api_groups: one(group),
                        resources: one(resource),
                        ..Self::default()
                    };
                    if self.resource_names.is_empty() {
                        singles.push(base);
                        continue;
                    }
                    singles.extend(
                        self.resource_names
                            .iter()
                            .map(|name| Self { resource_names: one(name), ..base.clone() }),
                    );
                }
            }
        }
        for url in &self.non_resource_urls {
            for verb in &self.verbs {
                singles.push(Self {
                    verbs: one(verb),
                    non_resource_urls: one(url),
                    ..Self::default()
                });
            }
        }
        singles
    }

    /// As upstream prints it in refusals: `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`.
    pub fn print(&self) -> String {
        let parts = [
            ("NonResourceURLs", &self.non_resource_urls),
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let shown: Vec<String> = parts
            .iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(name, list)| format!("{name}:{}", print_list(list)))
            .collect();
        format!("{{{}}}", shown.join(", "))
    }

    /// As in a SubjectRulesReview.
    pub fn to_value(&self) -> Value {
        let mut map = Map::new();
        let parts = [
            ("verbs", &self.verbs),
            ("apiGroups", &self.api_groups),
            ("resources", &self.resources),
            ("resourceNames", &self.resource_names),
            ("nonResourceURLs", &self.non_resource_urls),
        ];
        for (name, list) in parts {
            if !list.is_empty() {
                map.insert(name.into(), list.iter().map(|s| Value::from(&**s)).collect());
            }
        }
        map.into()
    }
}

/// `["a" "b"]`, as Go prints a list of strings quoted.
pub fn print_list<S: AsRef<str>>(list: &[S]) -> String {
    let quoted: Vec<String> = list.iter().map(|s| format!("{:?}", s.as_ref())).collect();
    format!("[{}]", quoted.join(" "))
}

fn path_matches(pattern: &str, path: &str) -> bool {
    pattern == path
        || pattern == "*"
        || pattern
            .strip_suffix('*')
            .is_some_and(|head| path.starts_with(head.trim_end_matches('*')))
}

/// What of `wanted` no rule of `owned` covers, verbs of the same resource merged: as upstream lists
/// it, sorted and printed.
pub fn missing(owned: &[Rule], wanted: &[Rule]) -> Vec<String> {
    let mut merged: Vec<Rule> = Vec::new();
    for single in wanted.iter().flat_map(Rule::singles) {
        if owned.iter().any(|own| own.covers(&single)) {
            continue;
        }
        let same = merged.iter_mut().find(|m| {
            m.non_resource_urls.is_empty()
                && single.non_resource_urls.is_empty()
                && m.api_groups == single.api_groups
                && m.resources == single.resources
                && m.resource_names == single.resource_names
        });
        match same {
            Some(rule) => {
                rule.verbs = rule.verbs.iter().chain(&single.verbs).cloned().collect();
            }
            None => merged.push(single),
        }
    }
    let mut lines: Vec<String> = merged.iter().map(Rule::print).collect();
    lines.sort();
    lines.dedup();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask<'a>(
        verb: &'a str,
        resource: &'a str,
        subresource: &'a str,
        name: &'a str,
    ) -> Attributes<'a> {
        Attributes {
            verb,
            resource,
            subresource,
            name,
            resource_request: true,
            ..Attributes::default()
        }
    }

    #[test]
    fn matching() {
        let table: &[(&[&str], &str, &str, bool)] = &[
            (&["pods"], "pods", "", true),
            (&["pods"], "pods", "log", false),
            (&["pods/log"], "pods", "log", true),
            (&["pods/log"], "pods", "", false),
            (&["*/scale"], "deployments", "scale", true),
            (&["*/scale"], "deployments", "", false),
            (&["*"], "deployments", "scale", true),
        ];
        for (resources, resource, sub, allowed) in table {
            let rule = Rule::of_resources(&["get"], &[""], resources);
            assert_eq!(
                rule.allows(&ask("get", resource, sub, "")),
                *allowed,
                "{resources:?} {sub}"
            );
        }
        let named = Rule {
            resource_names: [Box::from("x")].into(),
            ..Rule::of_resources(&["get", "list"], &[""], &["pods"])
        };
        assert!(named.allows(&ask("get", "pods", "", "x")));
        assert!(!named.allows(&ask("list", "pods", "", "")));
    }

    #[test]
    fn paths() {
        for (pattern, path, matches) in [
            ("/healthz", "/healthz", true),
            ("/healthz", "/healthz/x", false),
            ("/healthz/*", "/healthz/x", true),
            ("/api*", "/apis/apps", true),
            ("*", "/anything", true),
        ] {
            assert_eq!(path_matches(pattern, path), matches, "{pattern} {path}");
        }
    }

    #[test]
    fn missing_rights_are_merged_and_sorted() {
        let owned = [Rule::of_resources(&["get", "list"], &[""], &["configmaps"])];
        let wanted =
            [Rule::of_resources(&["get", "list"], &["", "apps"], &["configmaps", "nodes"])];
        assert_eq!(
            missing(&owned, &wanted),
            [
                "{APIGroups:[\"\"], Resources:[\"nodes\"], Verbs:[\"get\" \"list\"]}",
                "{APIGroups:[\"apps\"], Resources:[\"configmaps\"], Verbs:[\"get\" \"list\"]}",
                "{APIGroups:[\"apps\"], Resources:[\"nodes\"], Verbs:[\"get\" \"list\"]}",
            ]
        );
    }
}
