//! One row a kind: how its name is checked, and where its rules are.

use super::at::{At, Faults};
use super::meta::NameRule;
use super::{
    admission, autoscaling, batch, beta, config, devices, flow, job_status, migration, network,
    node, persistent, pod, pod_status, pod_update, policy, rbac, registration, scheduling, service,
    slices, storage, trust, workloads,
};
use crate::names::{dns_label, dns_subdomain, path_segment};

type Create = fn(&At<'_>, &mut Faults);
type Update = fn(&At<'_>, &At<'_>, &mut Faults);

/// The rules of a kind.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    group: &'static str,
    kind: &'static str,
    pub name: NameRule,
    pub create: Create,
    pub update: Update,
    pub status: Update,
    /// How the kind's own rules look at the metadata of a changed object.
    pub looks: &'static [Look],
}

/// A look at `metadata`.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Look {
    /// As at a new object's.
    Whole,
    /// What may have changed.
    Change,
}

const W: Look = Look::Whole;
const C: Look = Look::Change;

const NONE: Rules = Rules {
    group: "",
    kind: "",
    name: dns_subdomain,
    create: config::anything,
    update: |_, _, _| {},
    status: |_, _, _| {},
    looks: &[C],
};

impl Rules {
    /// The rules of a kind; of no kind in particular where there is no row.
    pub fn of(group: &str, kind: &str) -> Rules {
        ROWS.iter().find(|r| r.kind == kind && r.group == group).copied().unwrap_or(NONE)
    }

    /// Whether finalizers without a domain are refused: some groups and kinds, and custom resources,
    /// take any.
    pub fn standard_finalizers(&self) -> bool {
        const GROUPS: [&str; 3] = [ADMISSION, "apiextensions.k8s.io", "apiregistration.k8s.io"];
        const KINDS: [&str; 3] = ["Lease", "PodDisruptionBudget", "RuntimeClass"];
        let core_event = self.group.is_empty() && self.kind == "Event";
        let any = core_event || GROUPS.contains(&self.group) || KINDS.contains(&self.kind);
        !self.kind.is_empty() && !any
    }

    /// How `generateName` is checked: as a name, but for kinds whose names are checked apart.
    pub fn prefix(&self) -> NameRule {
        match self.kind {
            "ReplicationController" | "DeviceClass" => any_name,
            _ => self.name,
        }
    }

    const fn name(mut self, rule: NameRule) -> Self {
        self.name = rule;
        self
    }

    const fn update(mut self, update: Update) -> Self {
        self.update = update;
        self
    }

    const fn looks(mut self, looks: &'static [Look]) -> Self {
        self.looks = looks;
        self
    }

    const fn status(mut self, status: Update) -> Self {
        self.status = status;
        self
    }
}

/// The name depends on more than itself.
fn any_name(_: &str) -> crate::names::Faults {
    Vec::new()
}

const fn row(group: &'static str, kind: &'static str, create: Create) -> Rules {
    Rules { group, kind, create, ..NONE }
}

const APPS: &str = "apps";
const BATCH: &str = "batch";
const NETWORK: &str = "networking.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";
const FLOW: &str = "flowcontrol.apiserver.k8s.io";
const RESOURCE: &str = "resource.k8s.io";
const STORAGE: &str = "storage.k8s.io";

#[rustfmt::skip]
static ROWS: &[Rules] = &[
    row("", "ConfigMap", config::config_map).looks(&[C, W]).update(config::config_map_update),
    row("", "Endpoints", service::endpoints).looks(&[C, W]).update(service::endpoints_update),
    row("", "Event", registration::core_event).looks(&[]).name(path_segment).update(|new, _, f| registration::core_event(new, f)),
    row("", "LimitRange", config::limit_range).looks(&[W]).update(|new, _, f| config::limit_range(new, f)),
    row("", "Namespace", config::namespace).looks(&[W, C]).name(dns_label).status(config::namespace_status),
    row("", "Node", node::node).looks(&[W, C]).update(node::node_update).status(node::node_status),
    row("", "PersistentVolume", persistent::volume).looks(&[W, W]).update(persistent::volume_update),
    row("", "PersistentVolumeClaim", persistent::claim).looks(&[C, W]).update(persistent::claim_update).status(persistent::claim_status),
    row("", "Pod", |at, f| { pod::create(at, f); pod::create_only(at, f); }).looks(&[C, W]).update(pod_update::update).status(pod_status::status),
    row("", "PodTemplate", workloads::pod_template).update(|new, _, f| workloads::pod_template(new, f)),
    row("", "ReplicationController", workloads::replication_controller)
        .update(|new, _, f| workloads::replication_controller(new, f)).status(workloads::replica_set_status),
    row("", "ResourceQuota", config::quota).update(config::quota_update).status(config::quota_status),
    row("", "Secret", config::secret).looks(&[C, W]).update(config::secret_update),
    row("", "Service", service::create).name(dns_label).update(service::update).status(service::status),
    row("", "ServiceAccount", config::anything).looks(&[C, W]),
    row(ADMISSION, "MutatingAdmissionPolicy", admission::mutating_policy).looks(&[W]).update(admission::mutating_policy_update),
    row(ADMISSION, "MutatingAdmissionPolicyBinding", admission::mutating_binding).looks(&[W])
        .update(|new, _, f| admission::mutating_binding(new, f)),
    row(ADMISSION, "MutatingWebhookConfiguration", admission::webhooks).looks(&[W]).update(admission::webhooks_update),
    row(ADMISSION, "ValidatingAdmissionPolicy", admission::validating_policy).looks(&[W])
        .update(admission::validating_policy_update).status(admission::validating_policy_status),
    row(ADMISSION, "ValidatingAdmissionPolicyBinding", admission::validating_binding).looks(&[W])
        .update(|new, _, f| admission::validating_binding(new, f)),
    row(ADMISSION, "ValidatingWebhookConfiguration", admission::webhooks).looks(&[W]).update(admission::webhooks_update),
    row("apiextensions.k8s.io", "CustomResourceDefinition", config::definition).update(config::definition_update)
        .status(config::definition_status),
    row("apiregistration.k8s.io", "APIService", registration::api_service).looks(&[C, W]).name(path_segment)
        .update(|new, _, f| registration::api_service(new, f)),
    row(APPS, "ControllerRevision", workloads::controller_revision).looks(&[C, W]).update(workloads::controller_revision_update),
    row(APPS, "DaemonSet", workloads::daemon_set).update(workloads::daemon_set_update).status(workloads::daemon_set_status),
    row(APPS, "Deployment", workloads::deployment).update(workloads::deployment_update).status(workloads::deployment_status),
    row(APPS, "ReplicaSet", workloads::replica_set).update(workloads::replica_set_update).status(workloads::replica_set_status),
    row(APPS, "StatefulSet", workloads::stateful_set).looks(&[W, C]).name(dns_label)
        .update(workloads::stateful_set_update).status(workloads::stateful_set_status),
    row("autoscaling", "HorizontalPodAutoscaler", autoscaling::autoscaler)
        .update(autoscaling::autoscaler_update).status(autoscaling::autoscaler_status),
    row(BATCH, "CronJob", batch::cron_job).update(batch::cron_job_update),
    row(BATCH, "Job", batch::job).looks(&[W, C]).update(batch::job_update).status(job_status::job_status),
    row("certificates.k8s.io", "CertificateSigningRequest", registration::signing_request).looks(&[W, C]).name(any_name)
        .update(registration::signing_request_update).status(registration::signing_request_status),
    row("certificates.k8s.io", "ClusterTrustBundle", trust::bundle).looks(&[W, C]).name(any_name).update(trust::bundle_update),
    row("certificates.k8s.io", "PodCertificateRequest", trust::request)
        .update(trust::request_update).status(trust::request_status),
    row("coordination.k8s.io", "Lease", policy::lease).update(|new, _, f| policy::lease(new, f)),
    row("coordination.k8s.io", "LeaseCandidate", beta::lease_candidate).update(beta::lease_candidate_update),
    row("discovery.k8s.io", "EndpointSlice", service::slice).looks(&[W]).update(service::slice_update),
    row("events.k8s.io", "Event", registration::new_event).update(registration::new_event_update),
    row(FLOW, "FlowSchema", flow::flow_schema).looks(&[W]).update(|new, _, f| flow::flow_schema(new, f)).status(flow::flow_status),
    row(FLOW, "PriorityLevelConfiguration", flow::priority_level).looks(&[W])
        .update(|new, _, f| flow::priority_level(new, f)).status(flow::flow_status),
    row(NETWORK, "IPAddress", network::ip_address).looks(&[W, C]).name(network::ip_name).update(network::ip_address_update),
    row(NETWORK, "Ingress", network::ingress).looks(&[C, W]).update(network::ingress_update).status(network::ingress_status),
    row(NETWORK, "IngressClass", network::ingress_class).looks(&[C, W]).update(network::ingress_class_update),
    row(NETWORK, "NetworkPolicy", network::policy).update(|new, _, f| network::policy(new, f)),
    row(NETWORK, "ServiceCIDR", network::service_cidr).update(network::service_cidr_update),
    row("node.k8s.io", "RuntimeClass", policy::runtime_class).looks(&[W, C]).update(policy::runtime_class_update),
    row("policy", "PodDisruptionBudget", policy::budget).looks(&[]).name(any_name).update(|new, _, f| policy::budget(new, f)).status(policy::budget_status),
    row(RBAC, "ClusterRole", rbac::cluster_role).looks(&[W, C]).name(path_segment).update(|new, _, f| rbac::cluster_role(new, f)),
    row(RBAC, "ClusterRoleBinding", rbac::cluster_role_binding).looks(&[W, C]).name(path_segment).update(rbac::cluster_role_binding_update),
    row(RBAC, "Role", rbac::role).looks(&[W, C]).name(path_segment).update(|new, _, f| rbac::role(new, f)),
    row(RBAC, "RoleBinding", rbac::role_binding).looks(&[W, C]).name(path_segment).update(rbac::role_binding_update),
    row(RESOURCE, "DeviceClass", devices::class).looks(&[W, C]).update(|new, _, f| devices::class(new, f)),
    row(RESOURCE, "DeviceTaintRule", beta::device_taint_rule)
        .update(beta::device_taint_rule_update).status(beta::device_taint_rule_status),
    row(RESOURCE, "ResourceClaim", devices::claim).looks(&[W, C]).update(devices::claim_update).status(devices::claim_status),
    row(RESOURCE, "ResourceClaimTemplate", devices::claim_template).looks(&[W, C]).update(devices::claim_template_update),
    row(RESOURCE, "ResourceSlice", slices::slice).update(slices::slice_update),
    row("scheduling.k8s.io", "PriorityClass", policy::priority_class).update(policy::priority_class_update),
    row("internal.apiserver.k8s.io", "StorageVersion", migration::storage_version).looks(&[])
        .name(migration::storage_version_name).status(migration::storage_version_status),
    row("scheduling.k8s.io", "PodGroup", scheduling::pod_group)
        .update(scheduling::pod_group_update).status(scheduling::pod_group_status),
    row("scheduling.k8s.io", "Workload", scheduling::workload).update(scheduling::workload_update),
    row("storagemigration.k8s.io", "StorageVersionMigration", migration::migration).looks(&[W, C])
        .update(migration::migration_update).status(migration::migration_status),
    row(RESOURCE, "ResourcePoolStatusRequest", beta::pool_status_request)
        .update(beta::pool_status_request_update).status(beta::pool_status_request_status),
    row(STORAGE, "CSIDriver", storage::driver).update(storage::driver_update),
    row(STORAGE, "CSINode", storage::csi_node).looks(&[W]).update(storage::csi_node_update),
    row(STORAGE, "CSIStorageCapacity", storage::capacity).looks(&[W, C]).update(storage::capacity_update),
    row(STORAGE, "StorageClass", storage::class).looks(&[W, C]).update(storage::class_update),
    row(STORAGE, "VolumeAttachment", storage::attachment).looks(&[W]).update(storage::attachment_update),
    row(STORAGE, "VolumeAttributesClass", storage::attributes_class).looks(&[C, W]).update(storage::attributes_class_update),
];
