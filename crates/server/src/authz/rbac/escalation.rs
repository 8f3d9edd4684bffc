//! The guard against privilege escalation: nobody puts rights into a role, or binds a role, that go
//! beyond their own, unless the verbs `escalate` and `bind` let them.
//!
//! It stands behind the mutating plugins, where upstream's registry has it.

use std::borrow::Cow;
use std::sync::Arc;

use api::{ApiError, Object, Resource, Value};
use futures_util::future::BoxFuture;
use serde::Deserialize;

use super::{MASTERS, Rule, print_list, rule};
use crate::authz::Authz;
use crate::gate::{Admission, Attributes, Authorizer, Operation, UserInfo, Write};

const GROUP: &str = "rbac.authorization.k8s.io";

/// The guard.
pub struct Escalation(pub Arc<Authz>);

impl Escalation {
    /// Whether the user holds all of `wanted` in the namespace; else the refusal's words.
    fn confirm(&self, user: &UserInfo, namespace: &str, wanted: &[Rule]) -> Result<(), String> {
        let (mut owned, mut errors) = self.0.rbac.rules_of(user, namespace);
        let mut missing = rule::missing(&owned, wanted);
        if !missing.is_empty() && self.0.catch_up() {
            (owned, errors) = self.0.rbac.rules_of(user, namespace);
            missing = rule::missing(&owned, wanted);
        }
        if missing.is_empty() {
            return Ok(());
        }
        let mut text = format!(
            "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            user.name,
            print_list(&user.groups),
            missing.join("\n")
        );
        if !errors.is_empty() {
            text.push_str(&format!("; resolution errors: [{}]", errors.join(" ")));
        }
        Err(text)
    }

    fn may(&self, write: &Write<'_>, verb: &str, resource: &str, name: &str) -> bool {
        let attributes = Attributes {
            user: Cow::Borrowed(write.user),
            verb,
            resource_request: true,
            group: GROUP,
            version: "*",
            resource,
            namespace: write.namespace,
            name,
            ..Attributes::default()
        };
        self.0.authorize(&attributes).allowed()
    }

    fn check(&self, write: &Write<'_>) -> Result<(), ApiError> {
        let Some(object) = &write.object else { return Ok(()) };
        if write.user.in_group(MASTERS) || write.old.is_some_and(|old| only_gc_fields(old, object))
        {
            return Ok(());
        }
        let plural = &*write.resource.plural;
        let refuse = |why: String| ApiError::forbidden(GROUP, plural, object.name(), &why);
        if plural.ends_with("bindings") {
            let text = |path: &str| object.text(path).unwrap_or("").to_owned();
            let (kind, name) = (text("roleRef.kind"), text("roleRef.name"));
            let cluster = kind == "ClusterRole";
            let resource = if cluster { "clusterroles" } else { "roles" };
            if self.may(write, "bind", resource, &name) {
                return Ok(());
            }
            let role = || self.0.rbac.role(write.namespace, cluster, &name);
            let found = role().or_else(|why| if self.0.catch_up() { role() } else { Err(why) });
            let Ok(rules) = found else {
                return Err(ApiError::not_found(GROUP, resource, &name));
            };
            return self.confirm(write.user, write.namespace, &rules).map_err(refuse);
        }
        if self.may(write, "escalate", plural, object.name()) {
            return Ok(());
        }
        self.confirm(write.user, write.namespace, &rules_in(object)).map_err(refuse)?;
        let aggregation = |o: &Object| o.at("aggregationRule").cloned().unwrap_or(Value::Null);
        let now = aggregation(object);
        if plural == "clusterroles" && !now.is_null() && write.old.map(aggregation) != Some(now) {
            let everything = [
                Rule::of_resources(&["*"], &["*"], &["*"]),
                Rule {
                    verbs: [Box::from("*")].into(),
                    non_resource_urls: [Box::from("*")].into(),
                    ..Rule::default()
                },
            ];
            let why = "must have cluster-admin privileges to use the aggregationRule";
            self.confirm(write.user, write.namespace, &everything)
                .map_err(|_| refuse(why.into()))?;
        }
        Ok(())
    }
}

fn rules_in(object: &Object) -> Vec<Rule> {
    let rules = object.at("rules").unwrap_or(&Value::Null);
    Option::<Vec<Rule>>::deserialize(rules).ok().flatten().unwrap_or_default()
}

/// Whether a write changes nothing but what garbage collection needs to change.
fn only_gc_fields(old: &Object, new: &Object) -> bool {
    let stripped = |object: &Object| {
        let mut object = object.clone();
        for field in
            ["ownerReferences", "finalizers", "managedFields", "selfLink", "resourceVersion"]
        {
            object.set_meta(field, Value::Null);
        }
        object
    };
    stripped(old) == stripped(new)
}

impl Admission for Escalation {
    fn name(&self) -> &'static str {
        "RBACEscalation"
    }

    fn handles(&self, resource: &Resource, subresource: &str, operation: Operation) -> bool {
        resource.group == GROUP
            && subresource.is_empty()
            && matches!(operation, Operation::Create | Operation::Update)
    }

    fn admit<'a>(&'a self, write: &'a mut Write<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        Box::pin(std::future::ready(self.check(write)))
    }
}
