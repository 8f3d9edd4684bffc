//! NodeRestriction: a kubelet writes its own node, lease and CSINode, and pods bound to itself; it
//! gets tokens only for those pods.
//!
//! Not here: what it may read (`authz::node`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use api::{ApiError, Map, Object, Resource, Value, resource};
use futures_util::future::BoxFuture;

use super::lookup::{Lookup, done, forbidden, is_mirror, maps, text};
use super::service_account::api_reference;
use crate::authz::Authz;
use crate::authz::node::node_of;
use crate::gate::{Admission, Attributes, Authorizer, Operation, Write};

/// The plugin.
pub struct NodeRestriction {
    /// Pods, nodes.
    pub look: Lookup,
    /// Audiences beyond those of the pod.
    pub authz: Arc<Authz>,
}

type Checked = Result<(), ApiError>;

/// Labels under kubernetes.io and k8s.io that a kubelet may set, besides those in its own
/// namespaces.
const OWN_LABELS: [&str; 14] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "node.kubernetes.io/windows-build",
    "storage.kubernetes.io/selinux-support",
    "kubelet.kubernetes.io/os",
];
const OWN_NAMESPACES: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

fn within(namespace: &str, domain: &str) -> bool {
    namespace.strip_suffix(domain).is_some_and(|head| head.is_empty() || head.ends_with('.'))
}

fn label_is_forbidden(label: &str) -> bool {
    let namespace = label.split_once('/').map_or("", |(namespace, _)| namespace);
    if within(namespace, "node-restriction.kubernetes.io") {
        return true;
    }
    let kubernetes = within(namespace, "kubernetes.io") || within(namespace, "k8s.io");
    let own = OWN_LABELS.contains(&label) || OWN_NAMESPACES.iter().any(|d| within(namespace, d));
    kubernetes && !own
}

/// The forbidden ones among the labels that differ.
fn forbidden_labels(new: &Object, old: Option<&Object>) -> Vec<String> {
    let new: BTreeMap<&str, &str> = new.labels().collect();
    let old: BTreeMap<&str, &str> = old.map(|o| o.labels().collect()).unwrap_or_default();
    let mut keys: Vec<&str> = new.keys().chain(old.keys()).copied().collect();
    keys.sort_unstable();
    keys.dedup();
    let changed = keys.into_iter().filter(|key| new.get(key) != old.get(key));
    changed.filter(|key| label_is_forbidden(key)).map(str::to_owned).collect()
}

impl NodeRestriction {
    fn check(&self, write: &Write<'_>) -> Checked {
        let Some(node) = node_of(write.user) else { return Ok(()) };
        if node.is_empty() {
            let why = format!("could not determine node from user {:?}", write.user.name);
            return Err(forbidden(write, &why));
        }
        let refuse = |why: String| Err(forbidden(write, &why));
        match (&*write.resource.group, &*write.resource.plural, write.subresource) {
            ("", "pods", "") => self.pod(write, node),
            ("", "pods", "status") => pod_status(write, node),
            ("", "pods", "eviction") => self.eviction(write, node),
            ("", "pods", other) => refuse(format!(
                "unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"
            )),
            ("", "nodes", _) => node_object(write, node),
            ("", "persistentvolumeclaims", "status") => claim_status(write, node),
            ("", "persistentvolumeclaims", _) => refuse("may only update PVC status".into()),
            ("", "serviceaccounts", "token") => self.token(write, node),
            ("coordination.k8s.io", "leases", _) => lease(write, node),
            ("storage.k8s.io", "csinodes", _) => named_as_node(
                write,
                node,
                "can only access CSINode with the same name as the requesting node",
            ),
            ("resource.k8s.io", "resourceslices", _) => slice(write, node),
            ("certificates.k8s.io", "certificatesigningrequests", "") => request(write, node),
            _ => Ok(()),
        }
    }

    fn runs_here(&self, write: &Write<'_>, pod: &str, node: &str, what: &str) -> Checked {
        let Some(entry) = self.look.entry(&resource::PODS, write.namespace, pod) else {
            return Err(ApiError::not_found("", "pods", pod));
        };
        if entry.card.field("spec.nodeName") == Some(node) {
            return Ok(());
        }
        Err(forbidden(write, what))
    }

    fn pod(&self, write: &Write<'_>, node: &str) -> Checked {
        match write.operation {
            Operation::Create => self.mirror_pod(write, node),
            Operation::Delete => {
                let why =
                    format!("node {node:?} can only delete pods with spec.nodeName set to itself");
                self.runs_here(write, write.name, node, &why)
            }
            other => {
                let why = format!(
                    "unexpected operation {:?}, node {node:?} can only create and delete mirror pods",
                    other.as_str()
                );
                Err(forbidden(write, &why))
            }
        }
    }

    fn mirror_pod(&self, write: &Write<'_>, node: &str) -> Checked {
        let Some(pod) = &write.object else { return Ok(()) };
        let refuse = |why: String| Err(forbidden(write, &why));
        if !is_mirror(pod) {
            return refuse(format!(
                "pod does not have \"kubernetes.io/config.mirror\" annotation, node {node:?} can only create mirror pods"
            ));
        }
        if pod.text("spec.nodeName") != Some(node) {
            return refuse(format!(
                "node {node:?} can only create pods with spec.nodeName set to itself"
            ));
        }
        let owners: Vec<&Map<String, Value>> = pod.owner_references().collect();
        let [owner] = owners.as_slice() else {
            let how = if owners.is_empty() { "an" } else { "a single" };
            return refuse(format!(
                "node {node:?} can only create pods with {how} owner reference set to itself"
            ));
        };
        if text(owner, "apiVersion") != "v1"
            || text(owner, "kind") != "Node"
            || text(owner, "name") != node
        {
            return refuse(format!(
                "node {node:?} can only create pods with an owner reference set to itself"
            ));
        }
        if owner.get("controller") != Some(&Value::Bool(true)) {
            return refuse(format!(
                "node {node:?} can only create pods with a controller owner reference set to itself"
            ));
        }
        if owner.get("blockOwnerDeletion") == Some(&Value::Bool(true)) {
            return refuse(format!(
                "node {node:?} must not set blockOwnerDeletion on an owner reference"
            ));
        }
        let Some(held) = self.look.entry(&resource::NODES, "", node) else {
            return Err(ApiError::not_found("", "nodes", node));
        };
        let uid = text(owner, "uid");
        if uid != &*held.card.uid {
            return refuse(format!(
                "node {node} UID mismatch: expected {uid} got {}",
                held.card.uid
            ));
        }
        let spec = pod.at("spec").and_then(Value::as_object);
        let reference = spec.and_then(|spec| {
            if text(spec, "serviceAccountName").is_empty() {
                api_reference(spec)
            } else {
                Some("serviceaccounts")
            }
        });
        match reference {
            None => Ok(()),
            Some(what) => {
                refuse(format!("node {node:?} can not create pods that reference {what}"))
            }
        }
    }

    fn eviction(&self, write: &Write<'_>, node: &str) -> Checked {
        let body = write.object.as_ref().map_or("", Object::name);
        let pod = if write.name.is_empty() { body } else { write.name };
        let why = format!("node {node} can only evict pods with spec.nodeName set to itself");
        self.runs_here(write, pod, node, &why)
    }

    fn token(&self, write: &Write<'_>, node: &str) -> Checked {
        let Some(request) = &write.object else { return Ok(()) };
        let refuse = |why: &str| Err(forbidden(write, why));
        let bound = |key: &str| request.text(&format!("spec.boundObjectRef.{key}")).unwrap_or("");
        let (name, uid) = (bound("name"), bound("uid"));
        if bound("apiVersion") != "v1" || bound("kind") != "Pod" || name.is_empty() {
            return refuse("node requested token not bound to a pod");
        }
        if uid.is_empty() {
            return refuse("node requested token with a pod binding without a uid");
        }
        let Some(entry) = self.look.entry(&resource::PODS, write.namespace, name) else {
            return Err(ApiError::not_found("", "pods", name));
        };
        if uid != &*entry.card.uid {
            let why = format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
            );
            return refuse(&why);
        }
        if entry.card.field("spec.nodeName") != Some(node) {
            return refuse("node requested token bound to a pod scheduled on a different node");
        }
        let audiences: Vec<&str> = request
            .at("spec.audiences")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let audience = match audiences.as_slice() {
            [] => "",
            [one] => one,
            _ => return refuse("node may only request 0 or 1 audiences"),
        };
        let pod = entry.object().unwrap_or_default();
        if mentions(&pod, audience) || self.driver_wants(&pod, audience) {
            return Ok(());
        }
        let attributes = Attributes {
            user: Cow::Borrowed(write.user),
            verb: "request-serviceaccounts-token-audience",
            resource_request: true,
            version: "v1",
            resource: audience,
            namespace: write.namespace,
            name: write.name,
            ..Attributes::default()
        };
        if self.authz.authorize(&attributes).allowed() {
            return Ok(());
        }
        refuse(&format!(
            "audience {audience:?} not found in pod spec volume, {} is not authorized to request tokens for this audience",
            write.user.name
        ))
    }

    /// Whether a CSI driver that the pod uses asks for tokens of an audience.
    fn driver_wants(&self, pod: &Object, audience: &str) -> bool {
        const DRIVERS: Resource =
            Resource::cluster("storage.k8s.io", "v1", "csidrivers", "CSIDriver");
        let driver_of_claim = |claim: &str| -> Option<String> {
            let claim =
                self.look.object(&resource::PERSISTENT_VOLUME_CLAIMS, pod.namespace(), claim)?;
            let volume = claim.text("spec.volumeName")?;
            let volume = self.look.object(&resource::PERSISTENT_VOLUMES, "", volume)?;
            volume.text("spec.csi.driver").map(str::to_owned)
        };
        maps(pod.at("spec.volumes")).any(|volume| {
            let of = |kind: &str, key: &str| volume.get(kind)?.get(key)?.as_str();
            let driver = if let Some(claim) = of("persistentVolumeClaim", "claimName") {
                driver_of_claim(claim)
            } else if volume.contains_key("ephemeral") {
                driver_of_claim(&format!("{}-{}", pod.name(), text(volume, "name")))
            } else {
                of("csi", "driver").map(str::to_owned)
            };
            let driver = driver.and_then(|d| self.look.object(&DRIVERS, "", &d));
            driver.is_some_and(|driver| {
                maps(driver.at("spec.tokenRequests")).any(|r| text(r, "audience") == audience)
            })
        })
    }
}

/// Whether a projected volume of the pod holds a token of an audience.
fn mentions(pod: &Object, audience: &str) -> bool {
    maps(pod.at("spec.volumes")).any(|volume| {
        let sources = volume.get("projected").and_then(|p| p.get("sources"));
        maps(sources).any(|source| {
            let token = source.get("serviceAccountToken").and_then(Value::as_object);
            token.is_some_and(|t| text(t, "audience") == audience)
        })
    })
}

fn pod_status(write: &Write<'_>, node: &str) -> Checked {
    let refuse = |why: String| Err(forbidden(write, &why));
    if write.operation != Operation::Update {
        return refuse(format!("unexpected operation {:?}", write.operation.as_str()));
    }
    let (Some(old), Some(new)) = (write.old, &write.object) else { return Ok(()) };
    if old.text("spec.nodeName") != Some(node) {
        return refuse(format!(
            "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
        ));
    }
    if !old.labels().eq(new.labels()) {
        return refuse(format!("node {node:?} cannot update labels through pod status"));
    }
    let same = |path: &str| old.at(path) == new.at(path);
    if !same("status.resourceClaimStatuses") {
        return refuse(format!("node {node:?} cannot update resource claim statues"));
    }
    if !same("status.extendedResourceClaimStatus") {
        return refuse(format!("node {node:?} cannot update extended resource claim status"));
    }
    Ok(())
}

fn node_object(write: &Write<'_>, node: &str) -> Checked {
    let refuse = |why: String| Err(forbidden(write, &why));
    let named = write.object.as_ref().map_or("", Object::name);
    let requested = if write.name.is_empty() { named } else { write.name };
    if requested != node {
        return refuse(format!("node {node:?} is not allowed to modify node {requested:?}"));
    }
    let Some(new) = &write.object else { return Ok(()) };
    let source = new.at("spec.configSource").filter(|s| !s.is_null());
    if write.operation == Operation::Create {
        if source.is_some() {
            return refuse(format!(
                "node {node:?} is not allowed to create pods with a non-nil configSource"
            ));
        }
        let labels = forbidden_labels(new, None);
        if !labels.is_empty() {
            return refuse(format!(
                "node {node:?} is not allowed to set the following labels: {}",
                labels.join(", ")
            ));
        }
    }
    let Some(old) = write.old.filter(|_| write.operation == Operation::Update) else {
        return Ok(());
    };
    let listed = |o: &Object, path: &str| {
        o.at(path).and_then(Value::as_array).filter(|l| !l.is_empty()).cloned()
    };
    if source.is_some() && source != old.at("spec.configSource") {
        return refuse(format!(
            "node {node:?} is not allowed to update configSource to a new non-nil configSource"
        ));
    }
    if listed(new, "spec.taints") != listed(old, "spec.taints") {
        return refuse(format!("node {node:?} is not allowed to modify taints"));
    }
    if listed(new, "metadata.ownerReferences") != listed(old, "metadata.ownerReferences") {
        return refuse(format!("node {node:?} is not allowed to modify ownerReferences"));
    }
    let labels = forbidden_labels(new, Some(old));
    if !labels.is_empty() {
        return refuse(format!("is not allowed to modify labels: {}", labels.join(", ")));
    }
    Ok(())
}

fn claim_status(write: &Write<'_>, node: &str) -> Checked {
    let (Some(old), Some(new)) = (write.old, &write.object) else { return Ok(()) };
    let rest = |object: &Object| {
        let mut object = object.clone();
        object.set_meta("resourceVersion", Value::Null);
        object.set_meta("managedFields", Value::Null);
        let status = object.map_mut("status");
        for key in ["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"] {
            status.remove(key);
        }
        object
    };
    if rest(old) == rest(new) {
        return Ok(());
    }
    let why = format!(
        "node {node:?} is not allowed to update fields other than status.quantity and status.conditions"
    );
    Err(forbidden(write, &why))
}

fn lease(write: &Write<'_>, node: &str) -> Checked {
    if write.namespace != "kube-node-lease" {
        let why = "can only access leases in the \"kube-node-lease\" system namespace";
        return Err(forbidden(write, why));
    }
    named_as_node(
        write,
        node,
        "can only access node lease with the same name as the requesting node",
    )
}

fn named_as_node(write: &Write<'_>, node: &str, why: &str) -> Checked {
    let name = match (&write.object, write.operation) {
        (Some(object), Operation::Create) => object.name(),
        _ => write.name,
    };
    if name == node { Ok(()) } else { Err(forbidden(write, why)) }
}

fn slice(write: &Write<'_>, node: &str) -> Checked {
    let object = write.object.as_ref().filter(|_| write.operation == Operation::Create);
    match object {
        Some(slice) if slice.text("spec.nodeName") != Some(node) => Err(forbidden(
            write,
            "can only create ResourceSlice with the same NodeName as the requesting node",
        )),
        _ => Ok(()),
    }
}

/// A kubelet asks for certificates of its own identity only.
fn request(write: &Write<'_>, node: &str) -> Checked {
    use base64::Engine as _;
    use x509_parser::prelude::{FromDer, X509CertificationRequest};
    const SIGNERS: [&str; 2] =
        ["kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving"];
    let Some(object) = write.object.as_ref().filter(|_| write.operation == Operation::Create)
    else {
        return Ok(());
    };
    if !object.text("spec.signerName").is_some_and(|s| SIGNERS.contains(&s)) {
        return Ok(());
    }
    let decode = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).ok();
    let read = || {
        let pem = String::from_utf8(decode(object.text("spec.request")?)?).ok()?;
        let body: String = pem.lines().filter(|l| !l.starts_with("-----")).collect();
        let der = decode(body.trim())?;
        let (_, request) = X509CertificationRequest::from_der(&der).ok()?;
        let subject = &request.certification_request_info.subject;
        subject.iter_common_name().next()?.as_str().ok().map(str::to_owned)
    };
    let Some(name) = read() else {
        return Err(forbidden(
            write,
            "unable to parse csr: PEM block type must be CERTIFICATE REQUEST",
        ));
    };
    if name == format!("system:node:{node}") {
        return Ok(());
    }
    let why = format!("can only create a node CSR with CN=system:node:{node}, got {name}");
    Err(forbidden(write, &why))
}

impl Admission for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn handles(&self, resource: &Resource, _: &str, operation: Operation) -> bool {
        const WATCHED: [&str; 8] = [
            "pods",
            "nodes",
            "persistentvolumeclaims",
            "serviceaccounts",
            "leases",
            "csinodes",
            "resourceslices",
            "certificatesigningrequests",
        ];
        operation != Operation::Connect && WATCHED.contains(&&*resource.plural)
    }

    fn admit<'a>(&'a self, write: &'a mut Write<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        done(self.check(write))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_the_system_are_not_the_kubelets() {
        for (label, forbidden) in [
            ("kubernetes.io/hostname", false),
            ("node.kubernetes.io/anything", false),
            ("kubelet.kubernetes.io/x", false),
            ("example.com/role", false),
            ("role", false),
            ("node-role.kubernetes.io/control-plane", true),
            ("node-restriction.kubernetes.io/x", true),
            ("a.node-restriction.kubernetes.io/x", true),
            ("x.k8s.io/y", true),
            ("notkubernetes.io/x", false),
        ] {
            assert_eq!(label_is_forbidden(label), forbidden, "{label}");
        }
    }
}
