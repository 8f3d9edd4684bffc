//! Creates and deletes pods: many at once, but few until the first have succeeded.
//!
//! Not here: how many (`plan`).

use bytes::Bytes;
use client::{Client, DeleteOptions, Error};
use futures_util::{StreamExt, stream};
use http::Method;
use serde::Deserialize;
use serde_json::json;

use api::Value;
use api::resource::PODS;

use super::plan::Replicas;
use super::{Controller, Set};
use crate::action::AT_ONCE;
use crate::context::{Name, ignore_missing};
use crate::meta::Meta;

/// Why a set could not have its pods.
pub struct Failure {
    pub reason: &'static str,
    pub error: Error,
}

/// The pod that a set makes.
fn pod_of(set: &Set, kind: &api::Resource) -> Value {
    let template = &set.spec.template;
    let mut metadata = json!({
        "generateName": format!("{}-", set.metadata.name),
        "namespace": set.metadata.namespace,
        "ownerReferences": [set.metadata.as_controller(kind)],
    });
    for field in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template["metadata"].get(field).filter(|v| !v.is_null()) {
            metadata[field] = value.clone();
        }
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

#[derive(Deserialize)]
struct Created {
    metadata: Meta,
}

async fn create(client: &Client, path: &str, body: Bytes) -> Result<Meta, Error> {
    let response = client.raw(Method::POST, path, body).await?;
    let body = response.into_body().bytes().await?;
    let created: Created =
        serde_json::from_slice(&body).map_err(|e| Error::decode("created pod", e))?;
    Ok(created.metadata)
}

impl Controller {
    /// Creates and deletes what the plan says.
    pub(super) async fn replicate(
        &self,
        key: &Name,
        set: &Set,
        plan: &Replicas,
    ) -> Result<(), Failure> {
        if plan.create > 0 {
            return self.create_pods(key, set, plan.create).await;
        }
        if !plan.delete.is_empty() {
            return self.delete_pods(key, set, plan).await;
        }
        Ok(())
    }

    async fn create_pods(&self, key: &Name, set: &Set, wanted: usize) -> Result<(), Failure> {
        let kind = self.flavour.resource();
        let about = set.metadata.reference(kind);
        let body = Bytes::from(pod_of(set, kind).to_string());
        let path = PODS.path(Some(&set.metadata.namespace), None, None);
        let (mut left, mut batch) = (wanted, 1);
        // One, two, four, …: a quota or a broken template costs one request, not hundreds.
        while left > 0 {
            let size = batch.min(left);
            let requests = (0..size).map(|_| create(&self.ctx.client, &path, body.clone()));
            let mut outcomes = stream::iter(requests).buffer_unordered(AT_ONCE * 2);
            let mut failed = None;
            while let Some(outcome) = outcomes.next().await {
                match outcome {
                    Ok(pod) => {
                        let revision = pod.resource_version.parse().unwrap_or(0);
                        self.expectations.wrote(key, &PODS, revision);
                        let note = format!("Created pod: {}", pod.name);
                        let kind = client::EventType::Normal;
                        self.recorder.event(&about, kind, "SuccessfulCreate", note);
                    }
                    Err(error) => failed = Some(error),
                }
            }
            if let Some(error) = failed {
                if error.is_namespace_terminating() {
                    return Ok(());
                }
                let note = format!("Error creating: {error}");
                self.recorder.event(&about, client::EventType::Warning, "FailedCreate", note);
                return Err(Failure { reason: "FailedCreate", error });
            }
            left -= size;
            batch *= 2;
        }
        Ok(())
    }

    async fn delete_pods(&self, key: &Name, set: &Set, plan: &Replicas) -> Result<(), Failure> {
        let about = set.metadata.reference(self.flavour.resource());
        let mut requests = Vec::with_capacity(plan.delete.len());
        for pod in plan.delete.iter().cloned() {
            requests.push(async move {
                let Meta { namespace, name, uid, .. } = &pod.metadata;
                let options = DeleteOptions::uid(uid.as_str());
                let deleted = self.ctx.client.delete(&PODS, namespace, name, &options).await;
                (name.clone(), uid.clone(), ignore_missing(deleted))
            });
        }
        let mut outcomes = stream::iter(requests).buffer_unordered(AT_ONCE * 2);
        let mut failed = None;
        while let Some((name, uid, outcome)) = outcomes.next().await {
            match outcome {
                Ok(()) => {
                    self.expectations.deleted(key, [(name.clone(), uid)]);
                    let note = format!("Deleted pod: {name}");
                    let kind = client::EventType::Normal;
                    self.recorder.event(&about, kind, "SuccessfulDelete", note);
                }
                Err(error) => {
                    let note = format!("Error deleting: {error}");
                    self.recorder.event(&about, client::EventType::Warning, "FailedDelete", note);
                    failed = Some(error);
                }
            }
        }
        match failed {
            Some(error) => Err(Failure { reason: "FailedDelete", error }),
            None => Ok(()),
        }
    }
}
