//! What is printed of each kind: its columns, each with how its cell is read.
//!
//! A description is a text (some are older than the served versions: upstream prints those of the
//! beta that a kind once was), or `@type/field` for what the field's own documentation says. Not here:
//! cells that need more than a path (`format`, `network`, `pod`,
//! `hpa`).

use jiff::Timestamp;

use super::cells::Cell;
use super::{Column, Row, format, hpa, network, pod};
use crate::object::Object;

/// A kind's columns.
pub struct Printer {
    group: &'static str,
    kind: &'static str,
    /// Makes the row at once, where its cells depend on each other.
    pub whole: Option<fn(&Object, Timestamp) -> Row>,
    /// A cell beyond the last column, which upstream writes too.
    pub surplus: Option<Cell>,
    pub columns: &'static [Entry],
}

/// A column and its cell.
pub struct Entry {
    name: &'static str,
    kind: &'static str,
    format: &'static str,
    priority: u8,
    description: &'static str,
    pub cell: Cell,
}

impl Entry {
    /// Only in wide output.
    const fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }

    pub fn column(&self) -> Column {
        Column {
            name: self.name,
            kind: self.kind,
            format: self.format,
            priority: self.priority,
            description: super::describe(self.description),
        }
    }
}

impl Printer {
    /// Whether the kind has no columns of its own.
    pub fn is_fallback(&self) -> bool {
        self.kind.is_empty()
    }
}

const fn column(
    name: &'static str,
    kind: &'static str,
    format: &'static str,
    cell: Cell,
    description: &'static str,
) -> Entry {
    Entry { name, kind, format, priority: 0, description, cell }
}

const fn text(name: &'static str, cell: Cell, description: &'static str) -> Entry {
    column(name, "string", "", cell, description)
}

const fn named(name: &'static str, cell: Cell, description: &'static str) -> Entry {
    column(name, "string", "name", cell, description)
}

const fn integer(name: &'static str, cell: Cell, description: &'static str) -> Entry {
    column(name, "integer", "", cell, description)
}

const fn boolean(name: &'static str, cell: Cell, description: &'static str) -> Entry {
    column(name, "boolean", "", cell, description)
}

const NAME: Entry = named("Name", Cell::Name, "@M/name");
const AGE: Entry = text("Age", Cell::Age, "@M/creationTimestamp");

/// What is printed of kinds without columns of their own.
static FALLBACK: Printer = Printer {
    group: "",
    kind: "",
    whole: None,
    surplus: None,
    columns: &[NAME, column("Created At", "date", "", Cell::Created, "@M/creationTimestamp")],
};

/// The printer of a kind.
pub fn of(group: &str, kind: &str) -> &'static Printer {
    // Events are the same in both of their groups.
    let group = if kind == "Event" { "" } else { group };
    PRINTERS.iter().find(|p| p.kind == kind && p.group == group).unwrap_or(&FALLBACK)
}

/// What all columns say of themselves.
pub fn descriptions() -> impl Iterator<Item = &'static str> {
    std::iter::once(&FALLBACK).chain(PRINTERS).flat_map(|p| p.columns).map(|c| c.description)
}

#[rustfmt::skip]
static PRINTERS: &[Printer] = &[
    Printer { group: "", kind: "Pod", whole: Some(pod::row), surplus: None, columns: &[
        NAME,
        text("Ready", Cell::Name, "The aggregate readiness state of this pod for accepting traffic."),
        text("Status", Cell::Name, "The aggregate status of the containers in this pod."),
        text("Restarts", Cell::Name, "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted."),
        AGE,
        text("IP", Cell::Name, "@core.v1.PodStatus/podIP").wide(),
        text("Node", Cell::Name, "@core.v1.PodSpec/nodeName").wide(),
        text("Nominated Node", Cell::Name, "@core.v1.PodStatus/nominatedNodeName").wide(),
        text("Readiness Gates", Cell::Name, "@core.v1.PodSpec/readinessGates").wide(),
    ] },
    Printer { group: "", kind: "PodTemplate", whole: None, surplus: None, columns: &[
        NAME,
        text("Containers", Cell::Names("template.spec.containers"), "Names of each container in the template."),
        text("Images", Cell::Images("template.spec.containers"), "Images referenced by each container in the template."),
        text("Pod Labels", Cell::Labels("template.metadata.labels"), "The labels for the pod template."),
    ] },
    Printer { group: "policy", kind: "PodDisruptionBudget", whole: None, surplus: None, columns: &[
        NAME,
        text("Min Available", Cell::Text("spec.minAvailable", "N/A"), "The minimum number of pods that must be available."),
        text("Max Unavailable", Cell::Text("spec.maxUnavailable", "N/A"), "The maximum number of pods that may be unavailable."),
        integer("Allowed Disruptions", Cell::Int("status.disruptionsAllowed"), "Calculated number of pods that may be disrupted at this time."),
        AGE,
    ] },
    Printer { group: "", kind: "ReplicationController", whole: None, surplus: None, columns: &[
        NAME,
        integer("Desired", Cell::Int("spec.replicas"), "@core.v1.ReplicationControllerSpec/replicas"),
        integer("Current", Cell::Int("status.replicas"), "@core.v1.ReplicationControllerStatus/replicas"),
        integer("Ready", Cell::Int("status.readyReplicas"), "@core.v1.ReplicationControllerStatus/readyReplicas"),
        AGE,
        text("Containers", Cell::Names("spec.template.spec.containers"), "Names of each container in the template.").wide(),
        text("Images", Cell::Images("spec.template.spec.containers"), "Images referenced by each container in the template.").wide(),
        text("Selector", Cell::Labels("spec.selector"), "@core.v1.ReplicationControllerSpec/selector").wide(),
    ] },
    Printer { group: "apps", kind: "ReplicaSet", whole: None, surplus: None, columns: &[
        NAME,
        integer("Desired", Cell::Int("spec.replicas"), "@apps.v1.ReplicaSetSpec/replicas"),
        integer("Current", Cell::Int("status.replicas"), "@apps.v1.ReplicaSetStatus/replicas"),
        integer("Ready", Cell::Int("status.readyReplicas"), "@apps.v1.ReplicaSetStatus/readyReplicas"),
        AGE,
        text("Containers", Cell::Names("spec.template.spec.containers"), "Names of each container in the template.").wide(),
        text("Images", Cell::Images("spec.template.spec.containers"), "Images referenced by each container in the template.").wide(),
        text("Selector", Cell::Selector("spec.selector"), "@apps.v1.ReplicaSetSpec/selector").wide(),
    ] },
    Printer { group: "apps", kind: "DaemonSet", whole: None, surplus: None, columns: &[
        NAME,
        integer("Desired", Cell::Int("status.desiredNumberScheduled"), "@apps.v1.DaemonSetStatus/desiredNumberScheduled"),
        integer("Current", Cell::Int("status.currentNumberScheduled"), "@apps.v1.DaemonSetStatus/currentNumberScheduled"),
        integer("Ready", Cell::Int("status.numberReady"), "@apps.v1.DaemonSetStatus/numberReady"),
        integer("Up-to-date", Cell::Int("status.updatedNumberScheduled"), "@apps.v1.DaemonSetStatus/updatedNumberScheduled"),
        integer("Available", Cell::Int("status.numberAvailable"), "@apps.v1.DaemonSetStatus/numberAvailable"),
        text("Node Selector", Cell::Labels("spec.template.spec.nodeSelector"), "@core.v1.PodSpec/nodeSelector"),
        AGE,
        text("Containers", Cell::Names("spec.template.spec.containers"), "Names of each container in the template.").wide(),
        text("Images", Cell::Images("spec.template.spec.containers"), "Images referenced by each container in the template.").wide(),
        text("Selector", Cell::Selector("spec.selector"), "@apps.v1.DaemonSetSpec/selector").wide(),
    ] },
    Printer { group: "batch", kind: "Job", whole: None, surplus: None, columns: &[
        NAME,
        text("Status", Cell::Of(format::job_status), "Status of the job."),
        text("Completions", Cell::Of(format::job_completions), "@batch.v1.JobStatus/succeeded"),
        text("Duration", Cell::At(format::job_duration), "Time required to complete the job."),
        AGE,
        text("Containers", Cell::Names("spec.template.spec.containers"), "Names of each container in the template.").wide(),
        text("Images", Cell::Images("spec.template.spec.containers"), "Images referenced by each container in the template.").wide(),
        text("Selector", Cell::Selector("spec.selector"), "@batch.v1.JobSpec/selector").wide(),
    ] },
    Printer { group: "batch", kind: "CronJob", whole: None, surplus: None, columns: &[
        NAME,
        text("Schedule", Cell::Text("spec.schedule", ""), "@batch.v1.CronJobSpec/schedule"),
        text("Timezone", Cell::Text("spec.timeZone", "<none>"), "@batch.v1.CronJobSpec/timeZone"),
        boolean("Suspend", Cell::Of(format::cron_job_suspend), "@batch.v1.CronJobSpec/suspend"),
        integer("Active", Cell::Count("status.active"), "@batch.v1.CronJobStatus/active"),
        text("Last Schedule", Cell::Since("status.lastScheduleTime", "<none>"), "@batch.v1.CronJobStatus/lastScheduleTime"),
        AGE,
        text("Containers", Cell::Names("spec.jobTemplate.spec.template.spec.containers"), "Names of each container in the template.").wide(),
        text("Images", Cell::Images("spec.jobTemplate.spec.template.spec.containers"), "Images referenced by each container in the template.").wide(),
        text("Selector", Cell::Selector("spec.jobTemplate.spec.selector"), "@batch.v1.JobSpec/selector").wide(),
    ] },
    Printer { group: "", kind: "Service", whole: None, surplus: None, columns: &[
        NAME,
        text("Type", Cell::Text("spec.type", ""), "@core.v1.ServiceSpec/type"),
        text("Cluster-IP", Cell::Text("spec.clusterIPs.0", "<none>"), "@core.v1.ServiceSpec/clusterIP"),
        text("External-IP", Cell::Of(network::service_external), "@core.v1.ServiceSpec/externalIPs"),
        text("Port(s)", Cell::Of(network::service_ports), "@core.v1.ServiceSpec/ports"),
        AGE,
        text("Selector", Cell::Labels("spec.selector"), "@core.v1.ServiceSpec/selector").wide(),
    ] },
    Printer { group: "networking.k8s.io", kind: "Ingress", whole: None, surplus: None, columns: &[
        NAME,
        text("Class", Cell::Text("spec.ingressClassName", "<none>"), "The name of the IngressClass resource that should be used for additional configuration"),
        text("Hosts", Cell::Of(network::ingress_hosts), "Hosts that incoming requests are matched against before the ingress rule"),
        text("Address", Cell::Of(network::ingress_address), "Address is a list containing ingress points for the load-balancer"),
        text("Ports", Cell::Of(network::ingress_ports), "Ports of TLS configurations that open"),
        AGE,
    ] },
    Printer { group: "networking.k8s.io", kind: "IngressClass", whole: None, surplus: None, columns: &[
        named("Name", Cell::Of(network::ingress_class_name), "@M/name"),
        text("Controller", Cell::Text("spec.controller", ""), "Controller that is responsible for handling this class"),
        text("Parameters", Cell::Of(network::ingress_class_parameters), "A reference to a resource with additional parameters"),
        AGE,
    ] },
    Printer { group: "apps", kind: "StatefulSet", whole: None, surplus: None, columns: &[
        NAME,
        text("Ready", Cell::Of(format::ready_of_desired), "Number of the pod with ready state"),
        AGE,
        text("Containers", Cell::Names("spec.template.spec.containers"), "Names of each container in the template.").wide(),
        text("Images", Cell::Images("spec.template.spec.containers"), "Images referenced by each container in the template.").wide(),
    ] },
    Printer { group: "", kind: "Endpoints", whole: None, surplus: None, columns: &[
        NAME,
        text("Endpoints", Cell::Of(network::endpoints), "@core.v1.Endpoints/subsets"),
        AGE,
    ] },
    Printer { group: "", kind: "Node", whole: None, surplus: None, columns: &[
        NAME,
        text("Status", Cell::Of(format::node_status), "The status of the node"),
        text("Roles", Cell::Of(format::node_roles), "The roles of the node"),
        AGE,
        text("Version", Cell::Text("status.nodeInfo.kubeletVersion", ""), "@core.v1.NodeSystemInfo/kubeletVersion"),
        text("Internal-IP", Cell::Of(format::node_internal), "@core.v1.NodeStatus/addresses").wide(),
        text("External-IP", Cell::Of(format::node_external), "@core.v1.NodeStatus/addresses").wide(),
        text("OS-Image", Cell::Text("status.nodeInfo.osImage", "<unknown>"), "@core.v1.NodeSystemInfo/osImage").wide(),
        text("Kernel-Version", Cell::Of(format::node_kernel), "@core.v1.NodeSystemInfo/kernelVersion").wide(),
        text("Container-Runtime", Cell::Text("status.nodeInfo.containerRuntimeVersion", "<unknown>"), "@core.v1.NodeSystemInfo/containerRuntimeVersion").wide(),
    ] },
    Printer { group: "", kind: "Event", whole: None, surplus: None, columns: &[
        text("Last Seen", Cell::At(format::event_last), "@core.v1.Event/lastTimestamp"),
        text("Type", Cell::Text("type", ""), "@core.v1.Event/type"),
        text("Reason", Cell::Text("reason", ""), "@core.v1.Event/reason"),
        text("Object", Cell::Of(format::event_object), "@core.v1.Event/involvedObject"),
        text("Subobject", Cell::Text("involvedObject.fieldPath", ""), "@core.v1.ObjectReference/fieldPath").wide(),
        text("Source", Cell::Of(format::event_source), "@core.v1.Event/source").wide(),
        text("Message", Cell::Of(format::event_message), "@core.v1.Event/message"),
        text("First Seen", Cell::At(format::event_first), "@core.v1.Event/firstTimestamp").wide(),
        text("Count", Cell::Of(format::event_count), "@core.v1.Event/count").wide(),
        named("Name", Cell::Name, "@M/name").wide(),
    ] },
    Printer { group: "", kind: "Namespace", whole: None, surplus: None, columns: &[
        NAME,
        text("Status", Cell::Text("status.phase", ""), "The status of the namespace"),
        AGE,
    ] },
    Printer { group: "", kind: "Secret", whole: None, surplus: None, columns: &[
        NAME,
        text("Type", Cell::Text("type", ""), "@core.v1.Secret/type"),
        text("Data", Cell::Count("data"), "@core.v1.Secret/data"),
        AGE,
    ] },
    Printer { group: "", kind: "ServiceAccount", whole: None, surplus: None, columns: &[
        NAME,
        AGE,
    ] },
    Printer { group: "", kind: "PersistentVolume", whole: None, surplus: None, columns: &[
        NAME,
        text("Capacity", Cell::Text("spec.capacity.storage", "0"), "@core.v1.PersistentVolumeSpec/capacity"),
        text("Access Modes", Cell::Of(format::pv_modes), "@core.v1.PersistentVolumeSpec/accessModes"),
        text("Reclaim Policy", Cell::Text("spec.persistentVolumeReclaimPolicy", ""), "@core.v1.PersistentVolumeSpec/persistentVolumeReclaimPolicy"),
        text("Status", Cell::Of(format::volume_phase), "@core.v1.PersistentVolumeStatus/phase"),
        text("Claim", Cell::Of(format::pv_claim), "@core.v1.PersistentVolumeSpec/claimRef"),
        text("StorageClass", Cell::Of(format::volume_class), "StorageClass of the pv"),
        text("VolumeAttributesClass", Cell::Text("spec.volumeAttributesClassName", "<unset>"), "VolumeAttributesClass of the pv"),
        text("Reason", Cell::Text("status.reason", ""), "@core.v1.PersistentVolumeStatus/reason"),
        AGE,
        text("VolumeMode", Cell::Text("spec.volumeMode", "<unset>"), "@core.v1.PersistentVolumeSpec/volumeMode").wide(),
    ] },
    Printer { group: "", kind: "PersistentVolumeClaim", whole: None, surplus: None, columns: &[
        NAME,
        text("Status", Cell::Of(format::volume_phase), "@core.v1.PersistentVolumeClaimStatus/phase"),
        text("Volume", Cell::Text("spec.volumeName", ""), "@core.v1.PersistentVolumeClaimSpec/volumeName"),
        text("Capacity", Cell::Of(format::pvc_capacity), "@core.v1.PersistentVolumeClaimStatus/capacity"),
        text("Access Modes", Cell::Of(format::pvc_modes), "@core.v1.PersistentVolumeClaimStatus/accessModes"),
        text("StorageClass", Cell::Of(format::volume_class), "StorageClass of the pvc"),
        text("VolumeAttributesClass", Cell::Text("spec.volumeAttributesClassName", "<unset>"), "VolumeAttributesClass of the pvc"),
        AGE,
        text("VolumeMode", Cell::Text("spec.volumeMode", "<unset>"), "@core.v1.PersistentVolumeClaimSpec/volumeMode").wide(),
    ] },
    Printer { group: "", kind: "ComponentStatus", whole: None, surplus: None, columns: &[
        NAME,
        text("Status", Cell::Of(format::component_status), "Status of the component conditions"),
        text("Message", Cell::Of(format::component_message), "Message of the component conditions"),
        text("Error", Cell::Of(format::component_error), "Error of the component conditions"),
    ] },
    Printer { group: "apps", kind: "Deployment", whole: None, surplus: None, columns: &[
        NAME,
        text("Ready", Cell::Of(format::ready_of_desired), "Number of the pod with ready state"),
        text("Up-to-date", Cell::Int("status.updatedReplicas"), "@apps.v1.DeploymentStatus/updatedReplicas"),
        text("Available", Cell::Int("status.availableReplicas"), "@apps.v1.DeploymentStatus/availableReplicas"),
        AGE,
        text("Containers", Cell::Names("spec.template.spec.containers"), "Names of each container in the template.").wide(),
        text("Images", Cell::Images("spec.template.spec.containers"), "Images referenced by each container in the template.").wide(),
        text("Selector", Cell::Of(format::bare_selector), "@apps.v1.DeploymentSpec/selector").wide(),
    ] },
    Printer { group: "autoscaling", kind: "HorizontalPodAutoscaler", whole: None, surplus: None, columns: &[
        NAME,
        text("Reference", Cell::KindName("spec.scaleTargetRef"), "@autoscaling.v2.HorizontalPodAutoscalerSpec/scaleTargetRef"),
        text("Targets", Cell::Of(hpa::targets), "@autoscaling.v2.HorizontalPodAutoscalerSpec/metrics"),
        text("MinPods", Cell::Text("spec.minReplicas", "<unset>"), "@autoscaling.v2.HorizontalPodAutoscalerSpec/minReplicas"),
        text("MaxPods", Cell::Int("spec.maxReplicas"), "@autoscaling.v2.HorizontalPodAutoscalerSpec/maxReplicas"),
        text("Replicas", Cell::Int("status.currentReplicas"), "@autoscaling.v2.HorizontalPodAutoscalerStatus/currentReplicas"),
        AGE,
    ] },
    Printer { group: "", kind: "ConfigMap", whole: None, surplus: None, columns: &[
        NAME,
        text("Data", Cell::Of(format::config_map_data), "@core.v1.ConfigMap/data"),
        AGE,
    ] },
    Printer { group: "networking.k8s.io", kind: "NetworkPolicy", whole: None, surplus: None, columns: &[
        NAME,
        text("Pod-Selector", Cell::Selector("spec.podSelector"), "@networking.v1.NetworkPolicySpec/podSelector"),
        AGE,
    ] },
    Printer { group: "rbac.authorization.k8s.io", kind: "RoleBinding", whole: None, surplus: None, columns: &[
        NAME,
        text("Role", Cell::KindName("roleRef"), "RoleRef can reference a Role in the current namespace or a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error."),
        AGE,
        text("Users", Cell::Of(format::users), "Users in the roleBinding").wide(),
        text("Groups", Cell::Of(format::groups), "Groups in the roleBinding").wide(),
        text("ServiceAccounts", Cell::Of(format::service_accounts), "ServiceAccounts in the roleBinding").wide(),
    ] },
    Printer { group: "rbac.authorization.k8s.io", kind: "ClusterRoleBinding", whole: None, surplus: None, columns: &[
        NAME,
        text("Role", Cell::KindName("roleRef"), "RoleRef can only reference a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error."),
        AGE,
        text("Users", Cell::Of(format::users), "Users in the clusterRoleBinding").wide(),
        text("Groups", Cell::Of(format::groups), "Groups in the clusterRoleBinding").wide(),
        text("ServiceAccounts", Cell::Of(format::service_accounts), "ServiceAccounts in the clusterRoleBinding").wide(),
    ] },
    Printer { group: "certificates.k8s.io", kind: "CertificateSigningRequest", whole: None, surplus: None, columns: &[
        NAME,
        AGE,
        text("SignerName", Cell::Text("spec.signerName", "<none>"), "Requested signer for the request. It is a qualified name in the form: `scope-hostname.io/name`. If empty, it will be defaulted:\n 1. If it's a kubelet client certificate, it is assigned\n    \"kubernetes.io/kube-apiserver-client-kubelet\".\n 2. If it's a kubelet serving certificate, it is assigned\n    \"kubernetes.io/kubelet-serving\".\n 3. Otherwise, it is assigned \"kubernetes.io/legacy-unknown\".\nDistribution of trust for signers happens out of band. You can select on this field using `spec.signerName`."),
        text("Requestor", Cell::Text("spec.username", ""), "Base64-encoded PKCS#10 CSR data"),
        text("RequestedDuration", Cell::Of(format::csr_duration), "@certificates.v1.CertificateSigningRequestSpec/expirationSeconds"),
        text("Condition", Cell::Of(format::csr_condition), "Conditions applied to the request, such as approval or denial."),
    ] },
    Printer { group: "certificates.k8s.io", kind: "ClusterTrustBundle", whole: None, surplus: None, columns: &[
        NAME,
        text("SignerName", Cell::Text("spec.signerName", "<none>"), "@certificates.v1beta1.ClusterTrustBundleSpec/signerName"),
    ] },
    Printer { group: "certificates.k8s.io", kind: "PodCertificateRequest", whole: None, surplus: None, columns: &[
        NAME,
        text("PodName", Cell::Text("spec.podName", ""), "@certificates.v1beta1.PodCertificateRequestSpec/podName"),
        text("ServiceAccountName", Cell::Text("spec.serviceAccountName", ""), "@certificates.v1beta1.PodCertificateRequestSpec/serviceAccountName"),
        text("NodeName", Cell::Text("spec.nodeName", ""), "@certificates.v1beta1.PodCertificateRequestSpec/nodeName"),
        text("SignerName", Cell::Text("spec.signerName", ""), "@certificates.v1beta1.PodCertificateRequestSpec/signerName"),
        text("State", Cell::Of(format::pod_certificate_state), "Is the request Pending, Issued, Denied, or Failed?"),
        text("UnverifiedUserAnnotations", Cell::Labels("spec.unverifiedUserAnnotations"), "@certificates.v1beta1.PodCertificateRequestSpec/unverifiedUserAnnotations").wide(),
    ] },
    Printer { group: "coordination.k8s.io", kind: "Lease", whole: None, surplus: None, columns: &[
        NAME,
        text("Holder", Cell::Text("spec.holderIdentity", ""), "@coordination.v1.LeaseSpec/holderIdentity"),
        AGE,
    ] },
    Printer { group: "coordination.k8s.io", kind: "LeaseCandidate", whole: None, surplus: None, columns: &[
        NAME,
        text("LeaseName", Cell::Text("spec.leaseName", ""), "@coordination.v1alpha2.LeaseCandidateSpec/leaseName"),
        text("BinaryVersion", Cell::Text("spec.binaryVersion", ""), ""),
        text("EmulationVersion", Cell::Text("spec.emulationVersion", ""), ""),
        AGE,
    ] },
    Printer { group: "storage.k8s.io", kind: "StorageClass", whole: None, surplus: None, columns: &[
        named("Name", Cell::Of(format::storage_class_name), "@M/name"),
        text("Provisioner", Cell::Text("provisioner", ""), "@storage.v1.StorageClass/provisioner"),
        text("ReclaimPolicy", Cell::Text("reclaimPolicy", "Delete"), "@storage.v1.StorageClass/reclaimPolicy"),
        text("VolumeBindingMode", Cell::Text("volumeBindingMode", "Immediate"), "@storage.v1.StorageClass/volumeBindingMode"),
        text("AllowVolumeExpansion", Cell::Flag("allowVolumeExpansion", false), "@storage.v1.StorageClass/allowVolumeExpansion"),
        AGE,
    ] },
    Printer { group: "storage.k8s.io", kind: "VolumeAttributesClass", whole: None, surplus: None, columns: &[
        NAME,
        text("DriverName", Cell::Text("driverName", ""), "@storage.v1.VolumeAttributesClass/driverName"),
        AGE,
    ] },
    Printer { group: "apps", kind: "ControllerRevision", whole: None, surplus: None, columns: &[
        NAME,
        text("Controller", Cell::Of(format::controller), "Controller of the object"),
        text("Revision", Cell::Int("revision"), "@apps.v1.ControllerRevision/revision"),
        AGE,
    ] },
    Printer { group: "", kind: "ResourceQuota", whole: None, surplus: None, columns: &[
        NAME,
        text("Request", Cell::Of(format::quota_requests), "Request represents a minimum amount of cpu/memory that a container may consume."),
        text("Limit", Cell::Of(format::quota_limits), "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node."),
        AGE,
    ] },
    Printer { group: "scheduling.k8s.io", kind: "PriorityClass", whole: None, surplus: None, columns: &[
        NAME,
        integer("Value", Cell::Int("value"), "@scheduling.v1.PriorityClass/value"),
        boolean("Global-Default", Cell::Flag("globalDefault", false), "@scheduling.v1.PriorityClass/globalDefault"),
        AGE,
        text("PreemptionPolicy", Cell::Text("preemptionPolicy", ""), "@scheduling.v1.PriorityClass/preemptionPolicy").wide(),
    ] },
    Printer { group: "node.k8s.io", kind: "RuntimeClass", whole: None, surplus: None, columns: &[
        NAME,
        text("Handler", Cell::Text("handler", ""), ""),
        AGE,
    ] },
    Printer { group: "storage.k8s.io", kind: "VolumeAttachment", whole: None, surplus: None, columns: &[
        NAME,
        named("Attacher", Cell::Text("spec.attacher", ""), "@storage.v1.VolumeAttachmentSpec/attacher"),
        text("PV", Cell::Text("spec.source.persistentVolumeName", ""), "@storage.v1.VolumeAttachmentSource/persistentVolumeName"),
        text("Node", Cell::Text("spec.nodeName", ""), "@storage.v1.VolumeAttachmentSpec/nodeName"),
        boolean("Attached", Cell::Flag("status.attached", false), "@storage.v1.VolumeAttachmentStatus/attached"),
        AGE,
    ] },
    Printer { group: "discovery.k8s.io", kind: "EndpointSlice", whole: None, surplus: None, columns: &[
        NAME,
        text("AddressType", Cell::Text("addressType", ""), "@discovery.v1.EndpointSlice/addressType"),
        text("Ports", Cell::Of(network::slice_ports), "@discovery.v1.EndpointSlice/ports"),
        text("Endpoints", Cell::Of(network::slice_endpoints), "@discovery.v1.EndpointSlice/endpoints"),
        AGE,
    ] },
    Printer { group: "storage.k8s.io", kind: "CSINode", whole: None, surplus: None, columns: &[
        NAME,
        integer("Drivers", Cell::Count("spec.drivers"), "Drivers indicates the number of CSI drivers registered on the node"),
        AGE,
    ] },
    Printer { group: "storage.k8s.io", kind: "CSIDriver", whole: None, surplus: None, columns: &[
        NAME,
        boolean("AttachRequired", Cell::Flag("spec.attachRequired", true), "@storage.v1.CSIDriverSpec/attachRequired"),
        boolean("PodInfoOnMount", Cell::Flag("spec.podInfoOnMount", false), "@storage.v1.CSIDriverSpec/podInfoOnMount"),
        boolean("StorageCapacity", Cell::Flag("spec.storageCapacity", false), "@storage.v1.CSIDriverSpec/storageCapacity"),
        text("TokenRequests", Cell::Of(format::token_audiences), "@storage.v1.CSIDriverSpec/tokenRequests"),
        boolean("RequiresRepublish", Cell::Flag("spec.requiresRepublish", false), "@storage.v1.CSIDriverSpec/requiresRepublish"),
        text("Modes", Cell::Join("spec.volumeLifecycleModes", "<none>"), "@storage.v1.CSIDriverSpec/volumeLifecycleModes"),
        AGE,
    ] },
    Printer { group: "admissionregistration.k8s.io", kind: "MutatingWebhookConfiguration", whole: None, surplus: None, columns: &[
        NAME,
        integer("Webhooks", Cell::Count("webhooks"), "Webhooks indicates the number of webhooks registered in this configuration"),
        AGE,
    ] },
    Printer { group: "admissionregistration.k8s.io", kind: "ValidatingWebhookConfiguration", whole: None, surplus: None, columns: &[
        NAME,
        integer("Webhooks", Cell::Count("webhooks"), "Webhooks indicates the number of webhooks registered in this configuration"),
        AGE,
    ] },
    Printer { group: "admissionregistration.k8s.io", kind: "ValidatingAdmissionPolicy", whole: None, surplus: None, columns: &[
        NAME,
        integer("Validations", Cell::Count("spec.validations"), "Validations indicates the number of validation rules defined in this configuration"),
        text("ParamKind", Cell::Of(format::param_kind), "ParamKind specifies the kind of resources used to parameterize this policy"),
        AGE,
    ] },
    Printer { group: "admissionregistration.k8s.io", kind: "ValidatingAdmissionPolicyBinding", whole: None, surplus: None, columns: &[
        NAME,
        text("PolicyName", Cell::Text("spec.policyName", ""), "PolicyName indicates the policy definition which the policy binding binded to"),
        text("ParamRef", Cell::Of(format::param_ref), "ParamRef indicates the param resource which sets the configuration param"),
        AGE,
    ] },
    Printer { group: "admissionregistration.k8s.io", kind: "MutatingAdmissionPolicy", whole: None, surplus: None, columns: &[
        NAME,
        integer("Mutations", Cell::Count("spec.mutations"), "Mutation indicates the number of mutations rules defined in this configuration"),
        text("ParamKind", Cell::Of(format::param_kind), "ParamKind specifies the kind of resources used to parameterize this policy"),
        AGE,
    ] },
    Printer { group: "admissionregistration.k8s.io", kind: "MutatingAdmissionPolicyBinding", whole: None, surplus: None, columns: &[
        NAME,
        text("PolicyName", Cell::Text("spec.policyName", ""), "PolicyName indicates the policy definition which the policy binding binded to"),
        text("ParamRef", Cell::Of(format::param_ref), "ParamRef indicates the param resource which sets the configuration param"),
        AGE,
    ] },
    Printer { group: "flowcontrol.apiserver.k8s.io", kind: "FlowSchema", whole: None, surplus: None, columns: &[
        NAME,
        text("PriorityLevel", Cell::Text("spec.priorityLevelConfiguration.name", ""), "@flowcontrol.v1.PriorityLevelConfigurationReference/name"),
        text("MatchingPrecedence", Cell::Int("spec.matchingPrecedence"), "@flowcontrol.v1.FlowSchemaSpec/matchingPrecedence"),
        text("DistinguisherMethod", Cell::Text("spec.distinguisherMethod.type", "<none>"), "@flowcontrol.v1.FlowSchemaSpec/distinguisherMethod"),
        AGE,
        text("MissingPL", Cell::Of(format::flow_schema_dangling), "references a broken or non-existent PriorityLevelConfiguration"),
    ] },
    Printer { group: "flowcontrol.apiserver.k8s.io", kind: "PriorityLevelConfiguration", whole: None, surplus: None, columns: &[
        NAME,
        text("Type", Cell::Text("spec.type", ""), "@flowcontrol.v1.PriorityLevelConfigurationSpec/type"),
        text("NominalConcurrencyShares", Cell::Of(|o| format::limited(o, "spec.limited.nominalConcurrencyShares")), "@flowcontrol.v1.LimitedPriorityLevelConfiguration/nominalConcurrencyShares"),
        text("Queues", Cell::Of(|o| format::limited(o, "spec.limited.limitResponse.queuing.queues")), "@flowcontrol.v1.QueuingConfiguration/queues"),
        text("HandSize", Cell::Of(|o| format::limited(o, "spec.limited.limitResponse.queuing.handSize")), "@flowcontrol.v1.QueuingConfiguration/handSize"),
        text("QueueLengthLimit", Cell::Of(|o| format::limited(o, "spec.limited.limitResponse.queuing.queueLengthLimit")), "@flowcontrol.v1.QueuingConfiguration/queueLengthLimit"),
        AGE,
    ] },
    Printer { group: "internal.apiserver.k8s.io", kind: "StorageVersion", whole: None, surplus: None, columns: &[
        NAME,
        text("CommonEncodingVersion", Cell::Text("status.commonEncodingVersion", "<unset>"), "@apiserverinternal.v1alpha1.StorageVersionStatus/commonEncodingVersion"),
        text("StorageVersions", Cell::Of(format::storage_versions), "@apiserverinternal.v1alpha1.StorageVersionStatus/storageVersions"),
        AGE,
    ] },
    Printer { group: "autoscaling", kind: "Scale", whole: None, surplus: None, columns: &[
        text("Name", Cell::Name, "@M/name"),
        integer("Desired", Cell::Int("spec.replicas"), "@autoscaling.v1.ScaleSpec/replicas"),
        integer("Available", Cell::Int("status.replicas"), "@autoscaling.v1.ScaleStatus/replicas"),
        AGE,
    ] },
    Printer { group: "resource.k8s.io", kind: "DeviceClass", whole: None, surplus: None, columns: &[
        NAME,
        AGE,
    ] },
    Printer { group: "resource.k8s.io", kind: "ResourceClaim", whole: None, surplus: None, columns: &[
        NAME,
        text("State", Cell::Of(format::claim_state), "A summary of the current state (allocated, pending, reserved, etc.)."),
        AGE,
    ] },
    Printer { group: "resource.k8s.io", kind: "ResourceClaimTemplate", whole: None, surplus: None, columns: &[
        NAME,
        AGE,
    ] },
    Printer { group: "resource.k8s.io", kind: "ResourceSlice", whole: None, surplus: None, columns: &[
        NAME,
        text("Node", Cell::Text("spec.nodeName", ""), "@resource.v1.ResourceSliceSpec/nodeName"),
        text("Driver", Cell::Text("spec.driver", ""), "@resource.v1.ResourceSliceSpec/driver"),
        text("Pool", Cell::Text("spec.pool.name", ""), "@resource.v1.ResourcePool/name"),
        AGE,
    ] },
    Printer { group: "resource.k8s.io", kind: "DeviceTaintRule", whole: None, surplus: None, columns: &[
        NAME,
        text("Key", Cell::Text("spec.taint.key", ""), "@resource.v1.DeviceTaint/key"),
        text("Value", Cell::Text("spec.taint.value", ""), "@resource.v1.DeviceTaint/value"),
        text("Effect", Cell::Text("spec.taint.effect", ""), "@resource.v1.DeviceTaint/effect"),
        text("TimeAdded", Cell::Since("spec.taint.timeAdded", ""), "@resource.v1.DeviceTaint/timeAdded"),
        AGE,
    ] },
    Printer { group: "networking.k8s.io", kind: "ServiceCIDR", whole: None, surplus: None, columns: &[
        NAME,
        text("CIDRs", Cell::Join("spec.cidrs", ""), "@networking.v1.ServiceCIDRSpec/cidrs"),
        AGE,
    ] },
    Printer { group: "networking.k8s.io", kind: "IPAddress", whole: None, surplus: Some(Cell::Age), columns: &[
        NAME,
        text("ParentRef", Cell::Of(network::parent_ref), "@networking.v1.IPAddressSpec/parentRef"),
    ] },
    Printer { group: "storagemigration.k8s.io", kind: "StorageVersionMigration", whole: None, surplus: None, columns: &[
        text("Name", Cell::Name, "@M/name"),
        text("Resource", Cell::Of(format::migration_resource), "GroupResource to migrate"),
        text("Status", Cell::Of(format::migration_status), "Status of the migration"),
    ] },
    Printer { group: "scheduling.k8s.io", kind: "Workload", whole: None, surplus: None, columns: &[
        NAME,
        AGE,
    ] },
    Printer { group: "scheduling.k8s.io", kind: "PodGroup", whole: None, surplus: None, columns: &[
        NAME,
        text("Policy", Cell::Of(format::pod_group_policy), "@scheduling.v1alpha2.PodGroupSpec/schedulingPolicy"),
        text("Workload", Cell::Text("spec.podGroupTemplateRef.workload.workloadName", "<none>"), "Name of the referenced Workload object"),
        text("Status", Cell::Of(format::pod_group_status), "Status of the PodGroup"),
        AGE,
    ] },
    Printer { group: "apiregistration.k8s.io", kind: "APIService", whole: None, surplus: None, columns: &[
        NAME,
        text("Service", Cell::Of(format::api_service_backend), "The reference to the service that hosts this API endpoint."),
        text("Available", Cell::Of(format::api_service_available), "Whether this service is available."),
        AGE,
    ] },
];
