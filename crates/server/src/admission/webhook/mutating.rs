//! MutatingAdmissionWebhook: webhooks that may change what is written, one after the other.

use std::sync::Arc;

use api::{ApiError, Object, Resource, Value as Json, kinds};
use futures_util::future::BoxFuture;
use store::Store;

use super::super::lookup::Lookup;
use super::super::versions::{converted, is_whole};
use super::{Caller, Failure, Hook, Shared, call_failed};
use crate::authz::Authz;
use crate::gate::{Admission, Operation, Write};
use crate::metrics::waited;

const NAME: &str = "MutatingAdmissionWebhook";

/// The plugin.
pub struct MutatingAdmissionWebhook(Shared);

impl MutatingAdmissionWebhook {
    /// Configurations live in `store`.
    pub fn new(store: &Store, look: &Lookup, authz: &Arc<Authz>, caller: &Arc<Caller>) -> Self {
        Self(Shared::new(store, "mutatingwebhookconfigurations", "admit", look, authz, caller))
    }

    async fn run(&self, write: &mut Write<'_>) -> Result<(), ApiError> {
        let hooks = self.0.hooks();
        write.again.begin(NAME, write.object.as_ref());
        for (_, hook) in &hooks.list {
            let Some(matched) = self.0.applies(hook, write).await? else { continue };
            if !write.again.may_call(NAME, &hook.key) {
                continue;
            }
            let began = tokio::time::Instant::now();
            let answer = self.0.ask(hook, write, &matched).await;
            waited(began.elapsed());
            let answer = match answer {
                Ok(answer) => answer,
                Err(Failure::Call(_)) if hook.ignores_failure => continue,
                Err(Failure::Call(why)) => return Err(call_failed(hook, &why)),
                Err(Failure::Refused(error)) => return Err(error),
            };
            write.warnings.extend(answer.warnings);
            let changed = match &answer.patch {
                Some(patch) => self.apply(hook, write, &matched, patch).await?,
                None => false,
            };
            if changed {
                write.again.changed(NAME);
            }
            if hook.reinvoked {
                write.again.called(NAME, &hook.key);
            }
        }
        write.again.end(NAME, write.object.as_ref());
        Ok(())
    }

    /// Applies a webhook's patch; whether it changed anything.
    async fn apply(
        &self,
        hook: &Hook,
        write: &mut Write<'_>,
        matched: &Resource,
        patch: &Json,
    ) -> Result<bool, ApiError> {
        let Some(object) = &write.object else {
            return Err(ApiError::internal(format!(
                "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
                hook.name
            )));
        };
        let Shared { look, caller, .. } = &self.0;
        let whole = is_whole(write);
        let turned = match whole {
            true => converted(look, caller, object, write.resource, matched).await?,
            false => None,
        };
        let patched = api::patch::json_patch(turned.as_ref().unwrap_or(object), patch)
            .map_err(ApiError::internal)?;
        let patched = Object::from_value(patched)
            .ok_or_else(|| ApiError::internal("the patched object is no object"))?;
        let back = match whole {
            true => converted(look, caller, &patched, matched, write.resource).await?,
            false => None,
        };
        let mut patched = back.unwrap_or(patched);
        if let Some(kind) = kinds::of_object(patched.api_version(), patched.kind()) {
            if let Some(ty) = kind.schema() {
                patched =
                    api::codec::conform::decode(patched, ty).map_err(ApiError::internal)?.object;
            }
            api::default::apply(kind, &mut patched);
        }
        let changed = *object != patched;
        write.object = Some(patched);
        Ok(changed)
    }
}

impl Admission for MutatingAdmissionWebhook {
    fn name(&self) -> &'static str {
        NAME
    }

    fn handles(&self, resource: &Resource, subresource: &str, operation: Operation) -> bool {
        self.0.may_match(resource, subresource, operation)
    }

    fn admit<'a>(&'a self, write: &'a mut Write<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        Box::pin(self.run(write))
    }
}
