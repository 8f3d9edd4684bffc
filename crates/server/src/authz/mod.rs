//! Authorization: superusers, then nodes, then roles. The first that allows decides.
//!
//! Not here: who the user is (`authn`), what a write may contain (`admission`).

mod feed;
pub mod node;
pub mod rbac;

use std::sync::Arc;

use api::{ApiError, resource};
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::gate::{Attributes, Authorizer, Decision, Rules, UserInfo};
use feed::Feed;
use node::Nodes;
use rbac::{Index, MASTERS, Rule};

/// The API server's authorizer.
pub struct Authz {
    /// Roles and bindings.
    pub rbac: Index,
    /// Nodes and what their pods refer to.
    pub nodes: Nodes,
    feed: Feed,
}

impl Authz {
    /// Reads roles, bindings and pods from the store, and follows them until shut down. When this
    /// returns, the indexes hold what the store held.
    pub fn start(store: &Store, shutdown: &CancellationToken) -> Arc<Self> {
        let authz = Arc::new(Self {
            rbac: Index::default(),
            nodes: Nodes::new(store.resource(&resource::PODS.qualified())),
            feed: Feed::new(store),
        });
        feed::start(&authz, store, shutdown);
        authz
    }
}

impl Authz {
    /// Applies what the indexes have not seen yet; whether there was anything. Asked before a
    /// refusal stands.
    pub fn catch_up(&self) -> bool {
        self.feed.drain(self)
    }

    fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        let first = match self.nodes.authorize(attributes) {
            Decision::NoOpinion(reason) => reason,
            decided => return decided,
        };
        match self.rbac.authorize(attributes) {
            Decision::NoOpinion(second) => {
                let reasons: Vec<String> =
                    [first, second].into_iter().filter(|r| !r.is_empty()).collect();
                Decision::NoOpinion(reasons.join("\n"))
            }
            decided => decided,
        }
    }
}

impl Authorizer for Authz {
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.in_group(MASTERS) {
            return Decision::Allow(String::new());
        }
        let decision = self.decide(attributes);
        if !decision.allowed() && self.catch_up() {
            return self.decide(attributes);
        }
        decision
    }

    fn rules(&self, user: &UserInfo, namespace: &str) -> Rules {
        let mut rules = Rules::default();
        let mut add = |rule: &Rule| {
            let value = rule.to_value();
            if rule.non_resource_urls.is_empty() {
                rules.resource.push(value);
            } else {
                rules.non_resource.push(value);
            }
        };
        if user.in_group(MASTERS) {
            add(&Rule::of_resources(&["*"], &["*"], &["*"]));
            add(&Rule {
                verbs: [Box::from("*")].into(),
                non_resource_urls: [Box::from("*")].into(),
                ..Rule::default()
            });
        }
        let (held, mut errors) = self.rbac.rules_of(user, namespace);
        held.iter().for_each(add);
        if node::node_of(user).is_some() {
            errors.insert(0, "node authorizer does not support user rule resolution".into());
            rules.incomplete = true;
        }
        rules.error = match errors.as_slice() {
            [] => String::new(),
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        rules
    }
}

/// The 403 for a request that no authorizer allowed.
pub fn forbidden(a: &Attributes<'_>, reason: &str) -> ApiError {
    let mut why = format!("User {:?} cannot {} ", a.user.name, a.verb);
    if a.resource_request {
        let slash = if a.subresource.is_empty() { "" } else { "/" };
        let what = format!("{}{slash}{}", a.resource, a.subresource);
        why.push_str(&format!("resource {what:?} in API group {:?}", a.group));
        if a.namespace.is_empty() {
            why.push_str(" at the cluster scope");
        } else {
            why.push_str(&format!(" in the namespace {:?}", a.namespace));
        }
    } else {
        why.push_str(&format!("path {:?}", a.path));
    }
    if !reason.is_empty() {
        why.push_str(": ");
        why.push_str(reason);
    }
    if a.resource_request {
        return ApiError::forbidden(a.group, a.resource, a.name, &why);
    }
    let mut error = ApiError::new(api::Reason::Forbidden, format!("forbidden: {why}"));
    error.generic = true;
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_read_as_upstream() {
        let user = UserInfo::new("alice", &[]);
        let mut a = Attributes {
            user: std::borrow::Cow::Borrowed(&user),
            verb: "get",
            resource_request: true,
            resource: "pods",
            subresource: "log",
            namespace: "x",
            name: "p",
            ..Attributes::default()
        };
        assert_eq!(
            forbidden(&a, "").message,
            "pods \"p\" is forbidden: User \"alice\" cannot get resource \"pods/log\" in API group \"\" in the namespace \"x\""
        );
        a = Attributes { path: "/metrics", resource_request: false, ..a };
        assert_eq!(
            forbidden(&a, "").message,
            "forbidden: User \"alice\" cannot get path \"/metrics\""
        );
    }
}
