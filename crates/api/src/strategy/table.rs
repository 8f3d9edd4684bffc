//! One row for each kind whose writes have rules.

use super::Generation::{On, OnContentAndLabels, Once};
use super::StatusMeta::{Kept, Labels, Owners};
use super::{Strategy, fields, pod};

const SPEC: super::Generation = On(&["spec"]);

const fn row(group: &'static str, kind: &'static str) -> Strategy {
    Strategy::new(group, kind)
}

const ADMISSION: &str = "admissionregistration.k8s.io";
const APPS: &str = "apps";
const BATCH: &str = "batch";
const CERTS: &str = "certificates.k8s.io";
const COORDINATION: &str = "coordination.k8s.io";
const FLOW: &str = "flowcontrol.apiserver.k8s.io";
const INTERNAL: &str = "internal.apiserver.k8s.io";
const NETWORK: &str = "networking.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";
const RESOURCE: &str = "resource.k8s.io";
const SCHEDULING: &str = "scheduling.k8s.io";
const STORAGE: &str = "storage.k8s.io";

/// All rows.
#[rustfmt::skip]
pub(super) static ROWS: &[Strategy] = &[
    row("", "Endpoints").create_on_update(),
    row("", "Event").create_on_update(),
    row("events.k8s.io", "Event").create_on_update(),
    row("", "LimitRange").create_on_update(),
    row("", "Namespace").status().on_create(fields::namespace_create).on_update(fields::namespace_update),
    row("", "Node").on_create(fields::node_create).on_update(fields::node_update).on_status(fields::node_status),
    row("", "PersistentVolume").status().on_create(fields::volume_create),
    row("", "PersistentVolumeClaim").status().on_create(fields::claim_create).on_update(fields::claim_update),
    row("", "Pod").status().generation(SPEC).status_meta(Owners).on_create(pod::create).on_status(pod::status_update),
    row("", "PodTemplate").generation(On(&["template"])),
    row("", "ReplicationController").status().generation(SPEC),
    row("", "ResourceQuota").status(),
    row("", "Secret").on_update(fields::secret_update),
    row("", "Service").status().create_on_update().on_create(fields::service_create).on_update(fields::service_update),
    row("", "ServiceAccount").on_create(fields::service_account).on_update(|new, _| fields::service_account(new)),
    row(ADMISSION, "MutatingAdmissionPolicy").generation(SPEC).conditional(),
    row(ADMISSION, "MutatingAdmissionPolicyBinding").generation(SPEC).conditional(),
    row(ADMISSION, "MutatingWebhookConfiguration").generation(On(&["webhooks"])).conditional(),
    row(ADMISSION, "ValidatingAdmissionPolicy").status().generation(SPEC).status_meta(Kept).conditional(),
    row(ADMISSION, "ValidatingAdmissionPolicyBinding").generation(SPEC).conditional(),
    row(ADMISSION, "ValidatingWebhookConfiguration").generation(On(&["webhooks"])).conditional(),
    row("apiextensions.k8s.io", "CustomResourceDefinition").status().generation(SPEC).conditional()
        .on_create(fields::definition_create).on_update(fields::definition_update),
    row("apiregistration.k8s.io", "APIService").status().status_meta(Kept).conditional(),
    row(APPS, "DaemonSet").status().generation(SPEC).on_create(fields::daemon_set_create).on_update(fields::daemon_set_update).on_status(fields::daemon_set_status),
    row(APPS, "Deployment").status().generation(On(&["spec", "metadata.annotations"])).status_meta(Labels),
    row(APPS, "ReplicaSet").status().generation(SPEC),
    row(APPS, "StatefulSet").status().generation(SPEC)
        .on_create(|new| fields::stateful_set(new, None)).on_update(|new, old| fields::stateful_set(new, Some(old))),
    row("autoscaling", "HorizontalPodAutoscaler").status().on_create(fields::autoscaler_create),
    row(BATCH, "CronJob").status().generation(SPEC),
    row(BATCH, "Job").status().generation(SPEC).on_create(fields::job_create),
    row(CERTS, "CertificateSigningRequest").status().on_create(fields::csr_create).on_update(fields::csr_update).on_status(fields::csr_status),
    row(CERTS, "ClusterTrustBundle").conditional(),
    row(CERTS, "PodCertificateRequest").status().status_meta(Kept).conditional(),
    row(COORDINATION, "Lease").create_on_update().conditional().on_create(fields::lease).on_update(|new, _| fields::lease(new)),
    row(COORDINATION, "LeaseCandidate").create_on_update().conditional(),
    row("discovery.k8s.io", "EndpointSlice").generation(OnContentAndLabels).on_create(fields::slice_create).on_update(fields::slice_update),
    row(FLOW, "FlowSchema").status().generation(SPEC).status_meta(Kept),
    row(FLOW, "PriorityLevelConfiguration").status().generation(SPEC).status_meta(Kept),
    row(INTERNAL, "StorageVersion").status().status_meta(Kept).conditional(),
    row(NETWORK, "Ingress").status().generation(SPEC),
    row(NETWORK, "IngressClass").generation(SPEC),
    row(NETWORK, "NetworkPolicy").generation(SPEC),
    row(NETWORK, "ServiceCIDR").status().status_meta(Kept),
    row("node.k8s.io", "RuntimeClass").create_on_update().conditional(),
    row("policy", "PodDisruptionBudget").status().generation(SPEC).conditional(),
    row(RBAC, "ClusterRole").create_on_update(),
    row(RBAC, "ClusterRoleBinding").create_on_update(),
    row(RBAC, "Role").create_on_update(),
    row(RBAC, "RoleBinding").create_on_update(),
    row(RESOURCE, "DeviceClass").generation(SPEC),
    row(RESOURCE, "DeviceTaintRule").status().generation(SPEC).status_meta(Kept),
    row(RESOURCE, "ResourceClaim").status().status_meta(Kept),
    row(RESOURCE, "ResourcePoolStatusRequest").status().status_meta(Kept).conditional(),
    row(RESOURCE, "ResourceSlice").generation(SPEC),
    row(SCHEDULING, "PodGroup").status().status_meta(Kept),
    row(SCHEDULING, "PriorityClass").generation(Once),
    row(STORAGE, "CSIDriver").generation(SPEC).conditional().on_create(fields::driver_create).on_update(fields::driver_update),
    row(STORAGE, "CSINode").conditional(),
    row(STORAGE, "CSIStorageCapacity").conditional(),
    row(STORAGE, "VolumeAttachment").status().status_meta(Kept).conditional(),
    row("storagemigration.k8s.io", "StorageVersionMigration").status().status_meta(Kept).conditional(),
];
