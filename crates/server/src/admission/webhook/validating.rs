//! ValidatingAdmissionWebhook: webhooks that may refuse what is written, all at once.

use std::sync::Arc;

use api::{ApiError, Resource};
use futures_util::future::{BoxFuture, join_all};
use store::Store;

use super::super::lookup::Lookup;
use super::{Caller, Failure, Shared, call_failed};
use crate::authz::Authz;
use crate::gate::{Admission, Operation, Write};
use crate::metrics::waited;

/// The plugin.
pub struct ValidatingAdmissionWebhook(Shared);

impl ValidatingAdmissionWebhook {
    /// Configurations live in `store`.
    pub fn new(store: &Store, look: &Lookup, authz: &Arc<Authz>, caller: &Arc<Caller>) -> Self {
        let plural = "validatingwebhookconfigurations";
        Self(Shared::new(store, plural, "validating", look, authz, caller))
    }

    async fn run(&self, write: &Write<'_>) -> Result<(), ApiError> {
        let hooks = self.0.hooks();
        let mut relevant = Vec::new();
        for (_, hook) in &hooks.list {
            if let Some(matched) = self.0.applies(hook, write).await? {
                relevant.push((hook, matched));
            }
        }
        let asked = relevant.iter().map(|(hook, matched)| self.0.ask(hook, write, matched));
        let began = tokio::time::Instant::now();
        let answers = join_all(asked).await;
        waited(began.elapsed());
        for ((hook, _), answer) in relevant.iter().zip(answers) {
            match answer {
                Ok(answer) => write.noted.lock().extend(answer.warnings),
                Err(Failure::Call(_)) if hook.ignores_failure => {}
                Err(Failure::Call(why)) => return Err(call_failed(hook, &why)),
                Err(Failure::Refused(error)) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Admission for ValidatingAdmissionWebhook {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionWebhook"
    }

    fn handles(&self, resource: &Resource, subresource: &str, operation: Operation) -> bool {
        self.0.may_match(resource, subresource, operation)
    }

    fn validate<'a>(&'a self, write: &'a Write<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        Box::pin(self.run(write))
    }
}
