//! Where built-in versions stand among all others: of groups and of versions, the higher first.
//!
//! Not here: whether they are served, the order of versions that are alike.

/// Group, its priority, versions with theirs.
#[rustfmt::skip]
const PRIORITIES: [(&str, u32, &[(&str, u32)]); 22] = [
    ("", 18000, &[("v1", 1)]),
    ("apps", 17800, &[("v1", 15)]),
    ("events.k8s.io", 17750, &[("v1", 15)]),
    ("authentication.k8s.io", 17700, &[("v1", 15)]),
    ("authorization.k8s.io", 17600, &[("v1", 15)]),
    ("autoscaling", 17500, &[("v1", 15), ("v2", 30)]),
    ("batch", 17400, &[("v1", 15)]),
    ("certificates.k8s.io", 17300, &[("v1", 15), ("v1beta1", 9), ("v1alpha1", 1)]),
    ("networking.k8s.io", 17200, &[("v1", 15), ("v1beta1", 9)]),
    ("policy", 17100, &[("v1", 15)]),
    ("rbac.authorization.k8s.io", 17000, &[("v1", 15)]),
    ("storage.k8s.io", 16800, &[("v1", 15), ("v1beta1", 9)]),
    ("admissionregistration.k8s.io", 16700, &[("v1", 15), ("v1beta1", 12), ("v1alpha1", 9)]),
    ("apiextensions.k8s.io", 16700, &[("v1", 15)]),
    ("scheduling.k8s.io", 16600, &[("v1", 15), ("v1alpha2", 2)]),
    ("coordination.k8s.io", 16500, &[("v1", 15), ("v1beta1", 13), ("v1alpha2", 12)]),
    ("node.k8s.io", 16300, &[("v1", 15)]),
    ("discovery.k8s.io", 16200, &[("v1", 15)]),
    ("resource.k8s.io", 16200, &[("v1", 21), ("v1beta2", 15), ("v1beta1", 9), ("v1alpha3", 1)]),
    ("flowcontrol.apiserver.k8s.io", 16100, &[("v1", 21)]),
    ("internal.apiserver.k8s.io", 16000, &[("v1alpha1", 9)]),
    ("storagemigration.k8s.io", 15800, &[("v1beta1", 9)]),
];

/// The priorities that versions of custom resources get.
pub const CUSTOM: (u32, u32) = (1000, 100);

/// The priorities of a built-in version's group and of itself; `None` for the aggregator's own group,
/// which has no object of its own.
pub fn of(group: &str, version: &str) -> Option<(u32, u32)> {
    let (_, of_group, versions) = PRIORITIES.iter().find(|(name, ..)| *name == group)?;
    let (_, of_version) = versions.iter().find(|(name, _)| *name == version)?;
    Some((*of_group, *of_version))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_built_in_version_but_our_own_has_a_place() {
        for kind in api::kinds::all() {
            let own = kind.group == "apiregistration.k8s.io";
            let found = super::of(kind.group, kind.version);
            assert_eq!(found.is_none(), own, "{}", kind.api_version());
        }
    }

    #[test]
    fn the_order_of_discovery_is_that_of_priorities() {
        let mut last = u32::MAX;
        for kind in api::kinds::all() {
            let Some((group, _)) = super::of(kind.group, kind.version) else { continue };
            assert!(group <= last, "{}", kind.api_version());
            last = group;
        }
    }
}
