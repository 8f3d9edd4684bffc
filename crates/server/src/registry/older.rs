//! Kinds of versions that are no longer served: a body that says it is of one of them is known, and
//! refused in other words than one of which nobody has heard.
//!
//! Not here: the versions that are served (`api::kinds`).

/// Group and version, and the kinds they had.
const OLDER: &[(&str, &str)] = &[
    ("admission.k8s.io/v1", "AdmissionReview"),
    ("admission.k8s.io/v1beta1", "AdmissionReview"),
    ("apps/v1beta1", "ControllerRevision Deployment DeploymentRollback Scale StatefulSet"),
    ("apps/v1beta2", "ControllerRevision DaemonSet Deployment ReplicaSet Scale StatefulSet"),
    ("authentication.k8s.io/v1alpha1", "SelfSubjectReview"),
    ("authentication.k8s.io/v1beta1", "SelfSubjectReview TokenReview"),
    (
        "authorization.k8s.io/v1beta1",
        "LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview",
    ),
    ("batch/v1beta1", "CronJob"),
    ("discovery.k8s.io/v1beta1", "EndpointSlice"),
    ("events.k8s.io/v1beta1", "Event"),
    (
        "extensions/v1beta1",
        "DaemonSet Deployment DeploymentRollback Ingress NetworkPolicy ReplicaSet Scale",
    ),
    ("flowcontrol.apiserver.k8s.io/v1beta1", "FlowSchema PriorityLevelConfiguration"),
    ("flowcontrol.apiserver.k8s.io/v1beta2", "FlowSchema PriorityLevelConfiguration"),
    ("flowcontrol.apiserver.k8s.io/v1beta3", "FlowSchema PriorityLevelConfiguration"),
    ("imagepolicy.k8s.io/v1alpha1", "ImageReview"),
    ("node.k8s.io/v1alpha1", "RuntimeClass"),
    ("node.k8s.io/v1beta1", "RuntimeClass"),
    ("policy/v1beta1", "Eviction PodDisruptionBudget"),
    ("rbac.authorization.k8s.io/v1alpha1", "ClusterRole ClusterRoleBinding Role RoleBinding"),
    ("rbac.authorization.k8s.io/v1beta1", "ClusterRole ClusterRoleBinding Role RoleBinding"),
    ("scheduling.k8s.io/v1beta1", "PriorityClass"),
    ("storage.k8s.io/v1alpha1", "CSIStorageCapacity VolumeAttachment VolumeAttributesClass"),
];

/// Whether a kind was served in a version that is not any more.
pub fn knows(api_version: &str, kind: &str) -> bool {
    OLDER
        .iter()
        .find(|(version, _)| *version == api_version)
        .is_some_and(|(_, kinds)| kinds.split(' ').any(|k| k == kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_words_of_a_known_version() {
        assert!(knows("batch/v1beta1", "CronJob"));
        assert!(!knows("batch/v1beta1", "Cron"));
        assert!(!knows("batch/v1", "CronJob"), "served, so not older");
    }
}
