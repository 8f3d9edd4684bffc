//! Constant defaults: for each message (its API group's package and name) fields and their JSON.
//!
//! The defaults that the published schema states (`ContainerPort.protocol`) are in the schema table.

type Row = (&'static str, &'static [(&'static str, &'static str)]);

/// All rows.
#[rustfmt::skip]
pub(super) static CONSTANTS: &[Row] = &[
    ("admissionregistration/MatchResources", WEBHOOK_MATCH),
    ("admissionregistration/MutatingAdmissionPolicySpec", &[("failurePolicy", r#""Fail""#)]),
    ("admissionregistration/MutatingWebhook", WEBHOOK_MATCH),
    ("admissionregistration/MutatingWebhook", &[("failurePolicy", r#""Fail""#), ("timeoutSeconds", "10"), ("reinvocationPolicy", r#""Never""#)]),
    ("admissionregistration/NamedRuleWithOperations", &[("scope", r#""*""#)]),
    ("admissionregistration/RuleWithOperations", &[("scope", r#""*""#)]),
    ("admissionregistration/ServiceReference", &[("port", "443")]),
    ("admissionregistration/ValidatingAdmissionPolicySpec", &[("failurePolicy", r#""Fail""#)]),
    ("admissionregistration/ValidatingWebhook", WEBHOOK_MATCH),
    ("admissionregistration/ValidatingWebhook", &[("failurePolicy", r#""Fail""#), ("timeoutSeconds", "10")]),
    ("apiextensions/ServiceReference", &[("port", "443")]),
    ("apiextensions/CustomResourceDefinitionSpec", &[("conversion", r#"{"strategy":"None"}"#)]),
    ("apiregistration/ServiceReference", &[("port", "443")]),
    ("apps/DaemonSetSpec", &[("revisionHistoryLimit", "10")]),
    ("apps/DaemonSetUpdateStrategy", &[("type", r#""RollingUpdate""#)]),
    ("apps/DeploymentSpec", &[("replicas", "1"), ("revisionHistoryLimit", "10"), ("progressDeadlineSeconds", "600")]),
    ("apps/DeploymentStrategy", &[("type", r#""RollingUpdate""#)]),
    ("apps/ReplicaSetSpec", &[("replicas", "1")]),
    ("apps/StatefulSetSpec", &[
        ("podManagementPolicy", r#""OrderedReady""#), ("replicas", "1"), ("revisionHistoryLimit", "10"),
        ("persistentVolumeClaimRetentionPolicy", "{}"),
    ]),
    ("apps/StatefulSetPersistentVolumeClaimRetentionPolicy", &[("whenDeleted", r#""Retain""#), ("whenScaled", r#""Retain""#)]),
    ("autoscaling/HorizontalPodAutoscalerSpec", &[("minReplicas", "1")]),
    ("batch/CronJobSpec", &[
        ("concurrencyPolicy", r#""Allow""#), ("suspend", "false"),
        ("successfulJobsHistoryLimit", "3"), ("failedJobsHistoryLimit", "1"),
    ]),
    ("batch/PodFailurePolicyOnPodConditionsPattern", &[("status", r#""True""#)]),
    ("core/AzureDiskVolumeSource", &[("readOnly", "false")]),
    ("core/ConfigMapVolumeSource", MODE_644),
    ("core/Container", CONTAINER),
    ("core/DownwardAPIVolumeSource", MODE_644),
    ("core/EndpointPort", &[("protocol", r#""TCP""#)]),
    ("core/EphemeralContainer", CONTAINER),
    ("core/FileKeySelector", &[("optional", "false")]),
    ("core/GRPCAction", &[("service", r#""""#)]),
    ("core/HTTPGetAction", &[("path", r#""/""#), ("scheme", r#""HTTP""#)]),
    ("core/HostPathVolumeSource", &[("type", r#""""#)]),
    ("core/NamespaceStatus", &[("phase", r#""Active""#)]),
    ("core/ObjectFieldSelector", &[("apiVersion", r#""v1""#)]),
    ("core/PersistentVolumeClaimSpec", &[("volumeMode", r#""Filesystem""#)]),
    ("core/PersistentVolumeClaimStatus", &[("phase", r#""Pending""#)]),
    ("core/PersistentVolumeSpec", &[("persistentVolumeReclaimPolicy", r#""Retain""#), ("volumeMode", r#""Filesystem""#)]),
    ("core/PersistentVolumeStatus", &[("phase", r#""Pending""#)]),
    ("core/PodSpec", &[
        ("dnsPolicy", r#""ClusterFirst""#), ("restartPolicy", r#""Always""#), ("securityContext", "{}"),
        ("terminationGracePeriodSeconds", "30"), ("schedulerName", r#""default-scheduler""#),
    ]),
    ("core/Probe", &[("timeoutSeconds", "1"), ("periodSeconds", "10"), ("successThreshold", "1"), ("failureThreshold", "3")]),
    ("core/ProjectedVolumeSource", MODE_644),
    ("core/Secret", &[("type", r#""Opaque""#)]),
    ("core/SecretVolumeSource", MODE_644),
    ("core/ServiceAccountTokenProjection", &[("expirationSeconds", "3600")]),
    ("core/ServiceSpec", &[("sessionAffinity", r#""None""#), ("type", r#""ClusterIP""#)]),
    ("discovery/EndpointPort", &[("name", r#""""#), ("protocol", r#""TCP""#)]),
    ("flowcontrol/ExemptPriorityLevelConfiguration", &[("nominalConcurrencyShares", "0"), ("lendablePercent", "0")]),
    ("flowcontrol/FlowSchemaSpec", &[("matchingPrecedence", "1000")]),
    ("flowcontrol/LimitedPriorityLevelConfiguration", &[("nominalConcurrencyShares", "30"), ("lendablePercent", "0")]),
    ("flowcontrol/QueuingConfiguration", &[("handSize", "8"), ("queues", "64"), ("queueLengthLimit", "50")]),
    ("networking/IngressClassParametersReference", &[("scope", r#""Cluster""#)]),
    ("networking/NetworkPolicyPort", &[("protocol", r#""TCP""#)]),
    ("rbac/RoleRef", &[("apiGroup", r#""rbac.authorization.k8s.io""#)]),
    ("resource/DeviceSubRequest", &[("allocationMode", r#""ExactCount""#)]),
    ("resource/ExactDeviceRequest", &[("allocationMode", r#""ExactCount""#)]),
    ("resource/NodeAllocatableResourceMapping", &[("allocationMultiplier", r#""1""#)]),
    ("scheduling/PriorityClass", &[("preemptionPolicy", r#""PreemptLowerPriority""#)]),
    ("storage/CSIDriverSpec", &[
        ("attachRequired", "true"), ("podInfoOnMount", "false"), ("storageCapacity", "false"),
        ("fsGroupPolicy", r#""ReadWriteOnceWithFSType""#), ("volumeLifecycleModes", r#"["Persistent"]"#),
        ("requiresRepublish", "false"), ("seLinuxMount", "false"),
    ]),
    ("storage/StorageClass", &[("reclaimPolicy", r#""Delete""#), ("volumeBindingMode", r#""Immediate""#)]),
];

const MODE_644: &[(&str, &str)] = &[("defaultMode", "420")];
const CONTAINER: &[(&str, &str)] = &[
    ("terminationMessagePath", r#""/dev/termination-log""#),
    ("terminationMessagePolicy", r#""File""#),
];
const WEBHOOK_MATCH: &[(&str, &str)] =
    &[("matchPolicy", r#""Equivalent""#), ("namespaceSelector", "{}"), ("objectSelector", "{}")];
