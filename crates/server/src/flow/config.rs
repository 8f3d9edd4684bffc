//! Flow schemas and priority levels, read from their objects, and which of them a request belongs to.
//!
//! Not here: seats and queues.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use api::{Object, Value};
use serde::Deserialize;

use super::meter::Meter;
use crate::gate::UserInfo;
use crate::request::RequestInfo;

/// What there is.
#[derive(Default)]
pub struct Config {
    /// By precedence.
    schemas: Vec<Schema>,
    pub(super) levels: Vec<LevelSpec>,
}

/// A priority level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelSpec {
    pub name: Arc<str>,
    pub uid: Arc<str>,
    pub exempt: bool,
    pub shares: u32,
    /// Percent of the seats that others may use while they are free.
    pub lendable: u32,
    /// Percent of the seats that it may use of others'; none: any.
    pub borrows: Option<u32>,
    /// Number of queues, of those that one flow is spread over, and their length; none: no waiting.
    pub queues: Option<(usize, usize, usize)>,
}

struct Schema {
    name: Arc<str>,
    uid: Arc<str>,
    level: Arc<str>,
    level_uid: Arc<str>,
    exempt: bool,
    precedence: i64,
    by: By,
    rules: Vec<Rule>,
    meter: Option<Arc<Meter>>,
}

/// What tells one flow of a schema from another.
#[derive(Clone, Copy, PartialEq)]
enum By {
    Nothing,
    User,
    Namespace,
}

/// Where a request belongs.
pub struct Class<'a, 'r> {
    pub schema: &'a Arc<str>,
    pub level: &'a Arc<str>,
    pub level_uid: &'a Arc<str>,
    pub exempt: bool,
    /// The flow, as a number.
    pub flow: u64,
    /// What tells it from others of the schema.
    pub distinguisher: &'r str,
    /// The schema's name.
    pub name: &'a Arc<str>,
    /// Where its requests are counted.
    pub meter: Option<&'a Arc<Meter>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    subjects: Vec<Subject>,
    resource_rules: Vec<ResourceRule>,
    non_resource_rules: Vec<NonResourceRule>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Subject {
    kind: String,
    user: Named,
    group: Named,
    service_account: Named,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Named {
    namespace: String,
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ResourceRule {
    verbs: Vec<String>,
    api_groups: Vec<String>,
    resources: Vec<String>,
    cluster_scope: bool,
    namespaces: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct NonResourceRule {
    verbs: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    urls: Vec<String>,
}

fn has(list: &[String], text: &str) -> bool {
    list.iter().any(|item| item == "*" || item == text)
}

impl Subject {
    fn is(&self, user: &UserInfo) -> bool {
        match self.kind.as_str() {
            "User" => self.user.name == "*" || self.user.name == user.name,
            "Group" => self.group.name == "*" || user.in_group(&self.group.name),
            "ServiceAccount" => {
                let name = user.name.strip_prefix("system:serviceaccount:");
                name.and_then(|name| name.split_once(':')).is_some_and(|(namespace, name)| {
                    namespace == self.service_account.namespace
                        && ["*", name].contains(&self.service_account.name.as_str())
                })
            }
            _ => false,
        }
    }
}

impl ResourceRule {
    fn covers(&self, info: &RequestInfo) -> bool {
        let place = match info.namespace.as_str() {
            // A namespace itself is of the whole cluster.
            _ if info.resource == "namespaces" => self.cluster_scope,
            "" => self.cluster_scope,
            namespace => has(&self.namespaces, namespace),
        };
        let resource = || match info.subresource.as_str() {
            "" => has(&self.resources, &info.resource),
            sub => self.resources.iter().any(|item| {
                item == "*"
                    || item.split_once('/').is_some_and(|(resource, part)| {
                        part == sub && (resource == info.resource || resource == "*")
                    })
            }),
        };
        has(&self.verbs, info.verb) && has(&self.api_groups, &info.group) && place && resource()
    }
}

impl NonResourceRule {
    fn covers(&self, info: &RequestInfo) -> bool {
        let path = |url: &String| match url.strip_suffix('*') {
            Some(prefix) => info.path.starts_with(prefix),
            None => *url == info.path,
        };
        has(&self.verbs, info.verb) && self.urls.iter().any(path)
    }
}

impl Rule {
    fn covers(&self, user: &UserInfo, info: &RequestInfo) -> bool {
        self.subjects.iter().any(|subject| subject.is(user))
            && if info.is_resource {
                self.resource_rules.iter().any(|rule| rule.covers(info))
            } else {
                self.non_resource_rules.iter().any(|rule| rule.covers(info))
            }
    }
}

impl Config {
    /// The configuration that some objects make; schemas whose level is missing do not count.
    pub fn read<'a>(objects: impl Iterator<Item = &'a Object>) -> Self {
        let mut levels: HashMap<Arc<str>, LevelSpec> = HashMap::new();
        let mut schemas = Vec::new();
        for object in objects {
            match object.kind() {
                "PriorityLevelConfiguration" => {
                    let level = level(object);
                    levels.insert(level.name.clone(), level);
                }
                "FlowSchema" => schemas.extend(schema(object)),
                _ => {}
            }
        }
        schemas.retain_mut(|schema| {
            let Some(level) = levels.get(&schema.level) else { return false };
            (schema.level_uid, schema.exempt) = (level.uid.clone(), level.exempt);
            schema.meter = Meter::of(&schema.level, &schema.name);
            true
        });
        schemas.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
        let mut levels: Vec<LevelSpec> = levels.into_values().collect();
        levels.sort_by(|a, b| a.name.cmp(&b.name));
        Self { schemas, levels }
    }

    /// Where a request belongs; nowhere only while there is no configuration.
    pub fn classify<'r>(&self, user: &'r UserInfo, info: &'r RequestInfo) -> Option<Class<'_, 'r>> {
        let covers = |schema: &&Schema| schema.rules.iter().any(|rule| rule.covers(user, info));
        let schema = self
            .schemas
            .iter()
            .find(covers)
            .or_else(|| self.schemas.iter().find(|schema| &*schema.name == "catch-all"))?;
        let mut flow = DefaultHasher::new();
        schema.name.hash(&mut flow);
        let distinguisher = match schema.by {
            By::Nothing => "",
            By::User => &user.name,
            By::Namespace => &info.namespace,
        };
        distinguisher.hash(&mut flow);
        Some(Class {
            schema: &schema.uid,
            level: &schema.level,
            level_uid: &schema.level_uid,
            exempt: schema.exempt,
            flow: flow.finish(),
            distinguisher,
            name: &schema.name,
            meter: schema.meter.as_ref(),
        })
    }

    /// The meters, each with its level and its schema.
    pub(super) fn meters(&self) -> impl Iterator<Item = (&str, &str, &Meter)> {
        let metered = self.schemas.iter().filter_map(|s| Some((s, s.meter.as_deref()?)));
        metered.map(|(s, meter)| (&*s.level, &*s.name, meter))
    }
}

fn number(object: &Object, path: &str, default: u32) -> u32 {
    object.int(path).and_then(|n| u32::try_from(n).ok()).unwrap_or(default)
}

fn level(object: &Object) -> LevelSpec {
    let exempt = object.text("spec.type") == Some("Exempt");
    let part = |field: &str| {
        let part = if exempt { "exempt" } else { "limited" };
        format!("spec.{part}.{field}")
    };
    let size = |field: &str, default: u32| {
        let path = format!("spec.limited.limitResponse.queuing.{field}");
        number(object, &path, default).max(1) as usize
    };
    let queues = object.text("spec.limited.limitResponse.type") == Some("Queue");
    LevelSpec {
        name: object.name().into(),
        uid: object.uid().into(),
        exempt,
        shares: number(object, &part("nominalConcurrencyShares"), if exempt { 0 } else { 30 }),
        lendable: number(object, &part("lendablePercent"), 0).min(100),
        borrows: object.int(&part("borrowingLimitPercent")).and_then(|n| u32::try_from(n).ok()),
        queues: queues
            .then(|| (size("queues", 64), size("handSize", 8), size("queueLengthLimit", 50))),
    }
}

fn schema(object: &Object) -> Option<Schema> {
    let rules = object.at("spec.rules").cloned().unwrap_or(Value::Array(Vec::new()));
    let by = match object.text("spec.distinguisherMethod.type") {
        Some("ByUser") => By::User,
        Some("ByNamespace") => By::Namespace,
        _ => By::Nothing,
    };
    let none: Arc<str> = "".into();
    Some(Schema {
        name: object.name().into(),
        uid: object.uid().into(),
        level: object.text("spec.priorityLevelConfiguration.name")?.into(),
        level_uid: none,
        exempt: false,
        precedence: object.int("spec.matchingPrecedence").unwrap_or(1000),
        by,
        rules: serde_json::from_value(rules).ok()?,
        meter: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class_of(user: &UserInfo, info: &RequestInfo) -> String {
        let config = Config::read(crate::bootstrap::flow_objects().iter());
        let class = config.classify(user, info).expect("a class");
        class.level.to_string()
    }

    #[test]
    fn the_default_schemas() {
        let resource = |group: &str, resource: &str, namespace: &str| RequestInfo {
            is_resource: true,
            verb: "update",
            group: group.into(),
            resource: resource.into(),
            namespace: namespace.into(),
            ..RequestInfo::default()
        };
        let user = |name: &str, groups: &[&str]| {
            let all: Vec<&str> = groups.iter().copied().chain(["system:authenticated"]).collect();
            UserInfo::new(name, &all)
        };
        let lease = resource("coordination.k8s.io", "leases", "kube-system");
        let node = user("system:node:n", &["system:nodes"]);
        let mut status = resource("", "nodes", "");
        status.subresource = "status".into();
        let probe = RequestInfo { path: "/readyz".into(), verb: "get", ..RequestInfo::default() };
        let account = |home: &str| {
            let name = format!("system:serviceaccount:{home}:a");
            user(&name, &["system:serviceaccounts"])
        };
        for (who, what, level) in [
            (user("root", &["system:masters"]), &lease, "exempt"),
            (UserInfo::anonymous(), &probe, "exempt"),
            (user("system:kube-scheduler", &[]), &lease, "leader-election"),
            (user("system:kube-scheduler", &[]), &resource("", "pods", "a"), "workload-high"),
            (node.clone(), &status, "node-high"),
            (node, &resource("", "pods", "a"), "system"),
            (account("kube-system"), &resource("", "pods", "a"), "workload-high"),
            (account("a"), &resource("", "pods", "a"), "workload-low"),
            (user("bob", &[]), &resource("", "pods", "a"), "global-default"),
            (UserInfo::new("nobody", &[]), &resource("", "pods", "a"), "catch-all"),
        ] {
            assert_eq!(class_of(&who, what), level, "{} {}", who.name, what.resource);
        }
    }

    #[test]
    fn flows_are_told_apart() {
        let config = Config::read(crate::bootstrap::flow_objects().iter());
        let info = RequestInfo {
            is_resource: true,
            verb: "get",
            resource: "pods".into(),
            namespace: "a".into(),
            ..RequestInfo::default()
        };
        let flow = |name: &str| {
            let user = UserInfo::new(name, &["system:authenticated"]);
            config.classify(&user, &info).expect("a class").flow
        };
        assert_eq!(flow("bob"), flow("bob"));
        assert_ne!(flow("bob"), flow("eve"));
    }
}
