//! What kubelets may do: their own node, lease and CSINode, the pods bound to it, and what these
//! pods refer to. NodeRestriction (admission) narrows the writes further.

mod graph;

pub use graph::{Graph, Thing};

use std::sync::{Arc, LazyLock};

use store::ResourceCache;

use super::rbac::Rule;
use crate::gate::{Attributes, Decision, UserInfo};

/// The node authorizer.
pub struct Nodes {
    /// Relations between nodes and objects.
    pub graph: Graph,
    pods: Arc<ResourceCache>,
}

/// The name of the node that a user is, empty where it does not say; `None` for other users.
pub fn node_of(user: &UserInfo) -> Option<&str> {
    let name = user.name.strip_prefix("system:node:")?;
    user.in_group("system:nodes").then_some(name)
}

/// What every node may, whoever it is: the rules of the role `system:node`.
static COMMON: LazyLock<Vec<Rule>> = LazyLock::new(|| crate::bootstrap::role_rules("system:node"));

fn no(reason: impl Into<String>) -> Decision {
    Decision::NoOpinion(reason.into())
}

fn yes() -> Decision {
    Decision::Allow(String::new())
}

impl Nodes {
    /// Pods are looked up in `pods`.
    pub fn new(pods: Arc<ResourceCache>) -> Self {
        Self { graph: Graph::default(), pods }
    }

    /// The decision over one request.
    pub fn authorize(&self, a: &Attributes<'_>) -> Decision {
        let Some(node) = node_of(&a.user) else { return no("") };
        if node.is_empty() {
            return no(format!("unknown node for user {:?}", a.user.name));
        }
        if a.resource_request {
            match (a.group, a.resource) {
                ("", "secrets") => return self.read(node, Thing::Secret, a),
                ("", "configmaps") => return self.read(node, Thing::ConfigMap, a),
                ("", "persistentvolumeclaims") if a.subresource == "status" => {
                    if !matches!(a.verb, "update" | "patch") {
                        return no("can only get/update/patch this type");
                    }
                    return self.relation(node, Thing::Claim, a);
                }
                ("", "persistentvolumeclaims") => return self.get(node, Thing::Claim, a),
                ("", "persistentvolumes") => return self.get(node, Thing::Volume, a),
                ("resource.k8s.io", "resourceclaims") => {
                    return self.get(node, Thing::ResourceClaim, a);
                }
                ("storage.k8s.io", "volumeattachments") => {
                    return self.get(node, Thing::Attachment, a);
                }
                ("", "serviceaccounts") => return self.service_account(node, a),
                ("coordination.k8s.io", "leases") => return lease(node, a),
                ("storage.k8s.io", "csinodes") => return csi_node(node, a),
                ("resource.k8s.io", "resourceslices") => return self.slice(node, a),
                ("", "nodes") => return own_node(node, a),
                ("", "pods") => return self.pod(node, a),
                ("certificates.k8s.io", "podcertificaterequests") => {
                    return self.certificate_request(node, a);
                }
                _ => {}
            }
        }
        if COMMON.iter().any(|rule| rule.allows(a)) { yes() } else { no("") }
    }

    fn relation(&self, node: &str, thing: Thing, a: &Attributes<'_>) -> Decision {
        if a.name.is_empty() {
            return no("No Object name found");
        }
        let namespace = if thing == Thing::Volume { "" } else { a.namespace };
        self.decided(node, self.graph.related(node, thing, namespace, a.name))
    }

    fn decided(&self, node: &str, related: bool) -> Decision {
        if related {
            yes()
        } else {
            no(format!("no relationship found between node '{node}' and this object"))
        }
    }

    fn get(&self, node: &str, thing: Thing, a: &Attributes<'_>) -> Decision {
        if a.verb != "get" {
            return no("can only get individual resources of this type");
        }
        if !a.subresource.is_empty() {
            return no("cannot get subresource");
        }
        self.relation(node, thing, a)
    }

    fn read(&self, node: &str, thing: Thing, a: &Attributes<'_>) -> Decision {
        if !matches!(a.verb, "get" | "list" | "watch") {
            return no("can only read resources of this type");
        }
        if !a.subresource.is_empty() {
            return no("cannot read subresource");
        }
        if a.namespace.is_empty() {
            return no("can only read namespaced object of this type");
        }
        self.relation(node, thing, a)
    }

    fn service_account(&self, node: &str, a: &Attributes<'_>) -> Decision {
        if a.verb == "get" && a.subresource.is_empty() {
            return self.read(node, Thing::ServiceAccount, a);
        }
        if a.verb != "create" || a.name.is_empty() {
            return no("can only create tokens for individual service accounts");
        }
        if a.subresource != "token" {
            return no("can only create token subresource of serviceaccount");
        }
        self.relation(node, Thing::ServiceAccount, a)
    }

    fn slice(&self, node: &str, a: &Attributes<'_>) -> Decision {
        if !a.subresource.is_empty() {
            return no("cannot authorize ResourceSlice subresources");
        }
        match a.verb {
            "create" => yes(),
            "get" | "update" | "patch" | "delete" => self.relation(node, Thing::Slice, a),
            "watch" | "list" | "deletecollection" if selects(a, "spec.nodeName", node) => yes(),
            "watch" | "list" | "deletecollection" => no(
                "can only list/watch/deletecollection resourceslices with nodeName field selector",
            ),
            _ => no(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection",
            ),
        }
    }

    fn certificate_request(&self, node: &str, a: &Attributes<'_>) -> Decision {
        if !a.subresource.is_empty() {
            return no("nodes may not access the status subresource of PodCertificateRequests");
        }
        match a.verb {
            "create" => yes(),
            "get" => self.relation(node, Thing::CertificateRequest, a),
            "list" | "watch" if selects(a, "spec.nodeName", node) => yes(),
            "list" | "watch" => {
                no("can only list/watch podcertificaterequests with nodeName field selector")
            }
            other => no(format!("nodes may not {other} podcertificaterequests")),
        }
    }

    fn pod(&self, node: &str, a: &Attributes<'_>) -> Decision {
        let bound_here = || {
            let pod = self.pods.get(a.namespace, a.name);
            pod.is_some_and(|p| p.card.field("spec.nodeName") == Some(node))
        };
        match (a.subresource, a.verb) {
            ("", "get") => self.decided(node, bound_here()),
            ("", "list" | "watch") if selects(a, "spec.nodeName", node) => yes(),
            ("", "list" | "watch") if !a.name.is_empty() => self.decided(node, bound_here()),
            ("", "list" | "watch") => {
                no("can only list/watch pods with spec.nodeName field selector")
            }
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => {
                yes()
            }
            _ => no(""),
        }
    }
}

fn lease(node: &str, a: &Attributes<'_>) -> Decision {
    if !matches!(a.verb, "get" | "create" | "update" | "patch" | "delete") {
        return no("can only get, create, update, patch, or delete a node lease");
    }
    if a.namespace != "kube-node-lease" {
        return no("can only access leases in the \"kube-node-lease\" system namespace");
    }
    if a.verb != "create" && a.name != node {
        return no("can only access node lease with the same name as the requesting node");
    }
    yes()
}

fn csi_node(node: &str, a: &Attributes<'_>) -> Decision {
    if !matches!(a.verb, "get" | "create" | "update" | "patch" | "delete") {
        return no("can only get, create, update, patch, or delete a CSINode");
    }
    if !a.subresource.is_empty() {
        return no("cannot authorize CSINode subresources");
    }
    if a.verb != "create" && a.name != node {
        return no("can only access CSINode with the same name as the requesting node");
    }
    yes()
}

fn own_node(node: &str, a: &Attributes<'_>) -> Decision {
    match (a.subresource, a.verb) {
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => yes(),
        ("", "get" | "list" | "watch") if a.name == node => yes(),
        ("", "get" | "list" | "watch") if a.name.is_empty() => {
            no(format!("node '{node}' cannot read all nodes, only its own Node object"))
        }
        ("", "get" | "list" | "watch") => {
            no(format!("node '{node}' cannot read '{}', only its own Node object", a.name))
        }
        _ => no(""),
    }
}

/// Whether a field selector demands `field=value`.
fn selects(a: &Attributes<'_>, field: &str, value: &str) -> bool {
    a.field_selector.split(',').any(|term| {
        let Some((key, rest)) = term.split_once('=') else { return false };
        key == field && rest.strip_prefix('=').unwrap_or(rest) == value
    })
}
