//! Who holds which rules: roles by name, bindings by namespace and subject. Kept by events, so that
//! a decision parses nothing.
//!
//! Not here: where the events come from (`authz::feed`).

use std::collections::HashMap;
use std::sync::Arc;

use api::{Entry, Resource, resource};
use parking_lot::RwLock;
use serde::Deserialize;

use super::rule::Rule;
use crate::gate::UserInfo;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Subject {
    kind: String,
    name: String,
    namespace: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RoleRef {
    kind: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RoleView {
    rules: Option<Vec<Rule>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BindingView {
    subjects: Option<Vec<Subject>>,
    role_ref: RoleRef,
}

/// A binding, as decisions need it.
#[derive(Debug)]
pub struct Binding {
    /// Empty: cluster-wide.
    namespace: Arc<str>,
    name: Arc<str>,
    /// Whether the role is a ClusterRole.
    cluster_role: bool,
    role: Box<str>,
    subjects: Box<[(Who, Box<str>)]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Who {
    User,
    Group,
}

/// Bindings of one namespace (or of the cluster) by subject. Service accounts are users here.
#[derive(Default)]
struct Holders {
    users: HashMap<Box<str>, Vec<Arc<Binding>>>,
    groups: HashMap<Box<str>, Vec<Arc<Binding>>>,
}

impl Holders {
    fn side(&mut self, who: Who) -> &mut HashMap<Box<str>, Vec<Arc<Binding>>> {
        match who {
            Who::User => &mut self.users,
            Who::Group => &mut self.groups,
        }
    }

    fn add(&mut self, binding: &Arc<Binding>) {
        for (who, name) in &binding.subjects {
            self.side(*who).entry(name.clone()).or_default().push(binding.clone());
        }
    }

    fn remove(&mut self, binding: &Arc<Binding>) {
        for (who, name) in &binding.subjects {
            let side = self.side(*who);
            if let Some(list) = side.get_mut(name) {
                list.retain(|b| !Arc::ptr_eq(b, binding));
                if list.is_empty() {
                    side.remove(name);
                }
            }
        }
    }
}

/// The rules of one namespace's roles (or of the cluster's), by name.
type Roles = HashMap<Box<str>, Arc<[Rule]>>;

#[derive(Default)]
struct State {
    roles: HashMap<Box<str>, Roles>,
    bindings: HashMap<(Box<str>, Box<str>), Arc<Binding>>,
    holders: HashMap<Box<str>, Holders>,
}

/// The index.
#[derive(Default)]
pub struct Index(RwLock<State>);

/// Why a rule applies, as upstream words it.
pub struct Source<'a> {
    binding: &'a Binding,
    who: Who,
    name: &'a str,
}

impl std::fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let b = self.binding;
        if b.namespace.is_empty() {
            write!(f, "ClusterRoleBinding {:?}", b.name)?;
        } else {
            write!(f, "RoleBinding {:?}", format!("{}/{}", b.name, b.namespace))?;
        }
        let role = if b.cluster_role { "ClusterRole" } else { "Role" };
        write!(f, " of {role} {:?} to ", b.role)?;
        let account = self.name.strip_prefix("system:serviceaccount:");
        match (self.who, account.and_then(|rest| rest.split_once(':'))) {
            (Who::Group, _) => write!(f, "Group {:?}", self.name),
            (Who::User, Some((namespace, account))) => {
                write!(f, "ServiceAccount {:?}", format!("{account}/{namespace}"))
            }
            (Who::User, None) => write!(f, "User {:?}", self.name),
        }
    }
}

/// One step of a visit: a rule, or a role that a binding names and that is not there.
pub enum Found<'a> {
    /// A rule that applies.
    Rule(&'a Rule),
    /// As upstream words it.
    Missing(String),
}

impl Index {
    /// Forgets everything.
    pub fn clear(&self) {
        *self.0.write() = State::default();
    }

    /// A role or binding was written (`entry`) or deleted.
    pub fn put(&self, resource: &Resource, namespace: &str, name: &str, entry: Option<&Entry>) {
        let mut state = self.0.write();
        if *resource == resource::ROLES || *resource == resource::CLUSTER_ROLES {
            match entry {
                Some(entry) => {
                    let view: RoleView = entry.decode().unwrap_or_default();
                    state
                        .roles
                        .entry(namespace.into())
                        .or_default()
                        .insert(name.into(), view.rules.unwrap_or_default().into());
                }
                None => {
                    if let Some(roles) = state.roles.get_mut(namespace) {
                        roles.remove(name);
                        if roles.is_empty() {
                            state.roles.remove(namespace);
                        }
                    }
                }
            }
            return;
        }
        let key = (Box::from(namespace), Box::from(name));
        if let Some(old) = state.bindings.remove(&key)
            && let Some(holders) = state.holders.get_mut(namespace)
        {
            holders.remove(&old);
            if holders.users.is_empty() && holders.groups.is_empty() {
                state.holders.remove(namespace);
            }
        }
        let Some(entry) = entry else { return };
        let view: BindingView = entry.decode().unwrap_or_default();
        let binding = Arc::new(Binding {
            namespace: namespace.into(),
            name: name.into(),
            cluster_role: view.role_ref.kind == "ClusterRole",
            role: view.role_ref.name.into(),
            subjects: view
                .subjects
                .unwrap_or_default()
                .into_iter()
                .filter_map(|s| normal(s, namespace))
                .collect(),
        });
        state.holders.entry(namespace.into()).or_default().add(&binding);
        state.bindings.insert(key, binding);
    }

    /// Shows every rule that a user holds in a namespace (empty: cluster-wide rules only) until
    /// `visit` returns false.
    pub fn visit(
        &self,
        user: &UserInfo,
        namespace: &str,
        mut visit: impl FnMut(&Source<'_>, Found<'_>) -> bool,
    ) {
        let state = self.0.read();
        let scopes = if namespace.is_empty() { &[""][..] } else { &["", namespace] };
        for holders in scopes.iter().filter_map(|scope| state.holders.get(*scope)) {
            let of_user = holders.users.get(&*user.name).map(|list| (Who::User, &*user.name, list));
            let of_groups = user.groups.iter().filter_map(|group| {
                holders.groups.get(&**group).map(|list| (Who::Group, &**group, list))
            });
            for (who, name, bindings) in of_user.into_iter().chain(of_groups) {
                for binding in bindings {
                    if !state.show(&Source { binding, who, name }, &mut visit) {
                        return;
                    }
                }
            }
        }
    }

    /// The rules of the role that a binding in `namespace` names; an error as upstream words it.
    pub fn role(&self, namespace: &str, cluster: bool, name: &str) -> Result<Arc<[Rule]>, String> {
        self.0.read().role(namespace, cluster, name)
    }
}

impl State {
    fn role(&self, namespace: &str, cluster: bool, name: &str) -> Result<Arc<[Rule]>, String> {
        let scope = if cluster { "" } else { namespace };
        self.roles.get(scope).and_then(|roles| roles.get(name)).cloned().ok_or_else(|| {
            let what = if cluster { "clusterrole" } else { "role" };
            format!("{what}.rbac.authorization.k8s.io {name:?} not found")
        })
    }

    fn show(
        &self,
        source: &Source<'_>,
        visit: &mut impl FnMut(&Source<'_>, Found<'_>) -> bool,
    ) -> bool {
        let binding = source.binding;
        match self.role(&binding.namespace, binding.cluster_role, &binding.role) {
            Ok(rules) => rules.iter().all(|rule| visit(source, Found::Rule(rule))),
            Err(why) => visit(source, Found::Missing(why)),
        }
    }
}

/// A subject as a user or group name; service accounts are the users that they authenticate as.
fn normal(subject: Subject, namespace: &str) -> Option<(Who, Box<str>)> {
    match subject.kind.as_str() {
        "User" => Some((Who::User, subject.name.into())),
        "Group" => Some((Who::Group, subject.name.into())),
        "ServiceAccount" => {
            let home = if subject.namespace.is_empty() { namespace } else { &subject.namespace };
            let user = format!("system:serviceaccount:{home}:{}", subject.name);
            (!home.is_empty()).then(|| (Who::User, user.into()))
        }
        _ => None,
    }
}
