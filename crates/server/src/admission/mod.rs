//! Admission: what a write may contain, and what is filled in. One plugin a file, named as upstream
//! names it; the order is upstream's.
//!
//! Not here: validation of fields (`api::validate`), or when plugins run (`registry`).

mod advice;
mod certificates;
mod custom;
mod default_class;
mod default_tolerations;
mod expression;
mod faults;
mod limit_ranger;
mod lookup;
mod matching;
mod metrics;
mod namespace_lifecycle;
mod node_restriction;
mod node_taint;
mod pod_security;
pub mod policy;
mod priority;
mod protection;
mod quota;
mod resize;
mod runtime_class;
mod service_account;
mod topology;
mod versions;
pub mod webhook;

use std::sync::Arc;

use api::clock::{Clock, Rng};
use store::Store;

use crate::authz::Authz;
use crate::authz::rbac::Escalation;
use crate::gate::Admission;
pub use faults::{add_expression_faults, admin_access_faults};
use lookup::Lookup;

/// The plugins in the order they run. Policies and webhooks stand between what fills in and the
/// quota, which must see the final object.
pub fn chain(
    store: &Store,
    authz: &Arc<Authz>,
    clock: &Clock,
    rng: &Rng,
) -> Vec<Arc<dyn Admission>> {
    let look = Lookup::new(store);
    let caller = Arc::new(webhook::Caller::new(store, rng.clone()));
    vec![
        Arc::new(advice::Advice),
        Arc::new(namespace_lifecycle::NamespaceLifecycle(look.clone())),
        Arc::new(limit_ranger::LimitRanger(look.clone())),
        Arc::new(service_account::ServiceAccount { look: look.clone(), rng: rng.clone() }),
        Arc::new(node_restriction::NodeRestriction { look: look.clone(), authz: authz.clone() }),
        Arc::new(node_taint::TaintNodesByCondition),
        Arc::new(pod_security::PodSecurity(look.clone())),
        Arc::new(priority::Priority(look.clone())),
        Arc::new(default_tolerations::DefaultTolerationSeconds),
        Arc::new(default_class::DefaultStorageClass(look.clone())),
        Arc::new(protection::StorageObjectInUseProtection),
        Arc::new(resize::PersistentVolumeClaimResize(look.clone())),
        Arc::new(runtime_class::RuntimeClass(look.clone())),
        Arc::new(certificates::CertificateApproval(authz.clone())),
        Arc::new(certificates::CertificateSigning(authz.clone())),
        Arc::new(certificates::CertificateSubjectRestriction),
        Arc::new(default_class::DefaultIngressClass(look.clone())),
        Arc::new(topology::PodTopologyLabels(look.clone())),
        Arc::new(Escalation(authz.clone())),
        Arc::new(policy::MutatingAdmissionPolicy::new(store, &look, authz, &caller)),
        Arc::new(webhook::MutatingAdmissionWebhook::new(store, &look, authz, &caller)),
        Arc::new(policy::ValidatingAdmissionPolicy::new(store, &look, authz, &caller)),
        Arc::new(webhook::ValidatingAdmissionWebhook::new(store, &look, authz, &caller)),
        Arc::new(quota::ResourceQuota::new(store, clock)),
    ]
}

#[cfg(test)]
mod tests;
