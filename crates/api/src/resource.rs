//! Names of resources: group, version, plural, kind, scope, and the URL paths they make.
//!
//! Not here: the table of all kinds with their verbs and subresources.

use std::borrow::Cow;

type Text = Cow<'static, str>;

/// A resource as a client addresses it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    /// Empty for the core group.
    pub group: Text,
    /// As in `v1`.
    pub version: Text,
    /// As in `pods`.
    pub plural: Text,
    /// As in `Pod`.
    pub kind: Text,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
}

impl Resource {
    /// A namespaced resource, for constants.
    pub const fn namespaced(
        group: &'static str,
        version: &'static str,
        plural: &'static str,
        kind: &'static str,
    ) -> Self {
        Self::scoped(group, version, plural, kind, true)
    }

    /// A cluster-scoped resource, for constants.
    pub const fn cluster(
        group: &'static str,
        version: &'static str,
        plural: &'static str,
        kind: &'static str,
    ) -> Self {
        Self::scoped(group, version, plural, kind, false)
    }

    const fn scoped(
        group: &'static str,
        version: &'static str,
        plural: &'static str,
        kind: &'static str,
        namespaced: bool,
    ) -> Self {
        Self {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
            plural: Cow::Borrowed(plural),
            kind: Cow::Borrowed(kind),
            namespaced,
        }
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `pods` or `deployments.apps`: the storage name, and how errors name the resource.
    pub fn qualified(&self) -> String {
        qualified(&self.group, &self.plural)
    }

    /// The URL path of the collection, an object, or a subresource. A namespaced resource with no
    /// namespace is the collection over all namespaces. Namespace, name and subresource are
    /// expected to be valid path segments (names of objects are).
    pub fn path(&self, namespace: Option<&str>, name: Option<&str>, sub: Option<&str>) -> String {
        let mut path = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if let (true, Some(namespace)) = (self.namespaced, namespace.filter(|n| !n.is_empty())) {
            path.push_str("/namespaces/");
            path.push_str(namespace);
        }
        path.push('/');
        path.push_str(&self.plural);
        for part in [name, sub].into_iter().flatten() {
            path.push('/');
            path.push_str(part);
        }
        path
    }
}

/// `plural` or `plural.group`.
pub fn qualified(group: &str, plural: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}

macro_rules! resources {
    ($($(#[$doc:meta])* $name:ident = $scope:ident($group:literal, $version:literal, $plural:literal, $kind:literal);)*) => {
        $(#[doc = concat!("`", $plural, "` of `", $group, "/", $version, "`.")]
        pub const $name: Resource = Resource::$scope($group, $version, $plural, $kind);)*
    };
}

resources! {
    PODS = namespaced("", "v1", "pods", "Pod");
    SERVICES = namespaced("", "v1", "services", "Service");
    ENDPOINTS = namespaced("", "v1", "endpoints", "Endpoints");
    CONFIG_MAPS = namespaced("", "v1", "configmaps", "ConfigMap");
    SECRETS = namespaced("", "v1", "secrets", "Secret");
    SERVICE_ACCOUNTS = namespaced("", "v1", "serviceaccounts", "ServiceAccount");
    EVENTS = namespaced("", "v1", "events", "Event");
    REPLICATION_CONTROLLERS = namespaced("", "v1", "replicationcontrollers", "ReplicationController");
    RESOURCE_QUOTAS = namespaced("", "v1", "resourcequotas", "ResourceQuota");
    LIMIT_RANGES = namespaced("", "v1", "limitranges", "LimitRange");
    PERSISTENT_VOLUME_CLAIMS = namespaced("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim");
    PERSISTENT_VOLUMES = cluster("", "v1", "persistentvolumes", "PersistentVolume");
    NODES = cluster("", "v1", "nodes", "Node");
    NAMESPACES = cluster("", "v1", "namespaces", "Namespace");
    DEPLOYMENTS = namespaced("apps", "v1", "deployments", "Deployment");
    REPLICA_SETS = namespaced("apps", "v1", "replicasets", "ReplicaSet");
    STATEFUL_SETS = namespaced("apps", "v1", "statefulsets", "StatefulSet");
    DAEMON_SETS = namespaced("apps", "v1", "daemonsets", "DaemonSet");
    CONTROLLER_REVISIONS = namespaced("apps", "v1", "controllerrevisions", "ControllerRevision");
    JOBS = namespaced("batch", "v1", "jobs", "Job");
    CRON_JOBS = namespaced("batch", "v1", "cronjobs", "CronJob");
    LEASES = namespaced("coordination.k8s.io", "v1", "leases", "Lease");
    ENDPOINT_SLICES = namespaced("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice");
    POD_DISRUPTION_BUDGETS = namespaced("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget");
    PRIORITY_CLASSES = cluster("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass");
    STORAGE_CLASSES = cluster("storage.k8s.io", "v1", "storageclasses", "StorageClass");
    VOLUME_ATTRIBUTES_CLASSES = cluster("storage.k8s.io", "v1", "volumeattributesclasses", "VolumeAttributesClass");
    CSI_NODES = cluster("storage.k8s.io", "v1", "csinodes", "CSINode");
    RUNTIME_CLASSES = cluster("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass");
    ROLES = namespaced("rbac.authorization.k8s.io", "v1", "roles", "Role");
    ROLE_BINDINGS = namespaced("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding");
    CLUSTER_ROLES = cluster("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole");
    CLUSTER_ROLE_BINDINGS = cluster("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding");
    CERTIFICATE_SIGNING_REQUESTS = cluster("certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest");
    SERVICE_CIDRS = cluster("networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR");
    IP_ADDRESSES = cluster("networking.k8s.io", "v1", "ipaddresses", "IPAddress");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!(
            PODS.path(Some("a"), Some("b"), Some("status")),
            "/api/v1/namespaces/a/pods/b/status"
        );
        assert_eq!(DEPLOYMENTS.path(None, None, None), "/apis/apps/v1/deployments");
        assert_eq!(NODES.path(Some("ignored"), Some("n"), None), "/api/v1/nodes/n");
        assert_eq!(DEPLOYMENTS.qualified(), "deployments.apps");
    }
}
