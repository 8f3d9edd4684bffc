//! Admission: what a write may contain, and what is filled in.

use std::sync::Arc;

use api::clock::{Clock, Rng};
use store::Store;

use crate::authz::Authz;
use crate::authz::rbac::Escalation;
use crate::gate::Admission;

/// The plugins in the order they run.
pub fn chain(
    _store: &Store,
    authz: &Arc<Authz>,
    _clock: &Clock,
    _rng: &Rng,
) -> Vec<Arc<dyn Admission>> {
    vec![Arc::new(Escalation(authz.clone()))]
}
