//! Role-based access control: decisions, the rules a user holds, and the guard against giving away
//! rights that one does not hold.
//!
//! Not here: the default roles (`bootstrap`), aggregation of cluster roles (a controller).

mod escalation;
mod index;
mod rule;

pub use escalation::Escalation;
pub use index::{Found, Index};
pub use rule::{Rule, print_list};

use crate::gate::{Attributes, Decision, UserInfo};

/// The superusers' group: may everything, whatever the roles say.
pub const MASTERS: &str = "system:masters";

impl Index {
    /// The decision over one request.
    pub fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let mut allowed = None;
        let mut missing: Vec<String> = Vec::new();
        self.visit(&attributes.user, attributes.namespace, |source, found| {
            match found {
                Found::Rule(rule) if rule.allows(attributes) => {
                    allowed = Some(format!("RBAC: allowed by {source}"));
                }
                Found::Rule(_) => {}
                Found::Missing(why) if missing.contains(&why) => {}
                Found::Missing(why) => missing.push(why),
            }
            allowed.is_none()
        });
        match (allowed, missing.as_slice()) {
            (Some(reason), _) => Decision::Allow(reason),
            (None, []) => Decision::NoOpinion(String::new()),
            (None, [one]) => Decision::NoOpinion(format!("RBAC: {one}")),
            (None, many) => Decision::NoOpinion(format!("RBAC: [{}]", many.join(", "))),
        }
    }

    /// Every rule a user holds in a namespace, and what went wrong meanwhile.
    pub fn rules_of(&self, user: &UserInfo, namespace: &str) -> (Vec<Rule>, Vec<String>) {
        let (mut rules, mut errors) = (Vec::new(), Vec::new());
        self.visit(user, namespace, |_, found| {
            match found {
                Found::Rule(rule) => rules.push(rule.clone()),
                Found::Missing(why) => errors.push(why),
            }
            true
        });
        (rules, errors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{Card, Entry, Resource, resource};
    use serde_json::{Value, json};

    fn put(index: &Index, resource: &Resource, namespace: &str, name: &str, json: &Value) {
        let json = serde_json::to_vec(json).expect("JSON").into();
        let entry = Entry { revision: 1, json, card: Card::default() };
        index.put(resource, namespace, name, Some(&entry));
    }

    fn may(index: &Index, user: &UserInfo, verb: &str, namespace: &str) -> Decision {
        index.authorize(&Attributes {
            user: std::borrow::Cow::Borrowed(user),
            verb,
            resource: "pods",
            namespace,
            resource_request: true,
            ..Attributes::default()
        })
    }

    #[test]
    fn roles_bindings_and_their_end() {
        let index = Index::default();
        let role = json!({"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]});
        let binding = |kind: &str, name: &str| json!({"subjects": [{"kind": kind, "name": name}], "roleRef": {"kind": "ClusterRole", "name": "r"}});
        let user = UserInfo::new("bob", &["dev"]);
        let account = UserInfo::new("system:serviceaccount:a:sa", &[]);
        put(&index, &resource::ROLE_BINDINGS, "a", "b", &binding("Group", "dev"));
        assert_eq!(
            may(&index, &user, "get", "a"),
            Decision::NoOpinion(
                "RBAC: clusterrole.rbac.authorization.k8s.io \"r\" not found".into()
            )
        );
        put(&index, &resource::CLUSTER_ROLES, "", "r", &role);
        assert_eq!(
            may(&index, &user, "get", "a"),
            Decision::Allow(
                "RBAC: allowed by RoleBinding \"b/a\" of ClusterRole \"r\" to Group \"dev\"".into()
            )
        );
        assert!(!may(&index, &user, "list", "a").allowed());
        assert!(!may(&index, &user, "get", "b").allowed());
        assert!(!may(&index, &user, "get", "").allowed());
        // The same binding with another subject replaces the first.
        put(&index, &resource::ROLE_BINDINGS, "a", "b", &binding("ServiceAccount", "sa"));
        assert!(!may(&index, &user, "get", "a").allowed());
        assert!(may(&index, &account, "get", "a").allowed());
        put(&index, &resource::CLUSTER_ROLE_BINDINGS, "", "c", &binding("User", "bob"));
        assert!(may(&index, &user, "get", "").allowed());
        assert!(may(&index, &user, "get", "b").allowed());
        index.put(&resource::CLUSTER_ROLE_BINDINGS, "", "c", None);
        index.put(&resource::ROLE_BINDINGS, "a", "b", None);
        assert!(!may(&index, &user, "get", "b").allowed());
        assert!(!may(&index, &account, "get", "a").allowed());
    }
}
