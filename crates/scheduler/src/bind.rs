//! Acting on decisions: the binding, preemption, the events and the `PodScheduled` condition.
//!
//! Not here: deciding.

use std::sync::Arc;

use api::clock::Clock;
use api::resource::PODS;
use client::{Client, DeleteOptions, EventType, ObjectRef, Patch, Recorder};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::pod::Pod;
use crate::preempt::Plan;

/// Writes what the scheduler decides.
#[derive(Clone)]
pub struct Binder {
    client: Client,
    recorder: Recorder,
    clock: Clock,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WithConditions {
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    conditions: Vec<Condition>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
    message: String,
}

impl Binder {
    /// A binder that speaks through `client`.
    pub fn new(client: Client, recorder: Recorder, clock: Clock) -> Self {
        Self { client, recorder, clock }
    }

    /// Binds the pod to the node and says so in an event.
    pub async fn bind(&self, pod: &Pod, node: &str) -> Result<(), client::Error> {
        let card = &pod.entry.card;
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": card.name, "namespace": card.namespace, "uid": card.uid},
            "target": {"kind": "Node", "name": node},
        });
        self.client
            .create_sub::<IgnoredAny>(&PODS, &card.namespace, &card.name, "binding", &binding)
            .await?;
        let note = format!("Successfully assigned {}/{} to {node}", card.namespace, card.name);
        self.event(pod, EventType::Normal, "Scheduled", &note);
        Ok(())
    }

    fn event(&self, pod: &Pod, kind: EventType, reason: &str, note: &str) {
        self.recorder.event(&ObjectRef::of_entry(&PODS, &pod.entry), kind, reason, note);
    }

    /// Ends the pods that stand in a pod's way and notes the node it is meant for.
    pub async fn make_room(&self, pod: &Arc<Pod>, plan: &Plan) {
        let meant = &pod.entry.card;
        let patch = json!({
            "metadata": {"uid": meant.uid}, "status": {"nominatedNodeName": plan.node},
        });
        let written = self
            .client
            .patch::<IgnoredAny>(
                &PODS,
                &meant.namespace,
                &meant.name,
                Some("status"),
                Patch::Strategic,
                &patch,
            )
            .await;
        if let Err(error) = written {
            tracing::warn!(pod = %format_args!("{}/{}", meant.namespace, meant.name), %error, "cannot nominate a node");
            return;
        }
        for victim in plan.victims.iter().filter(|v| !v.entry.card.deleting) {
            if let Err(error) = self.preempt(victim, pod, &plan.node).await
                && !error.is_not_found()
            {
                let card = &victim.entry.card;
                tracing::warn!(pod = %format_args!("{}/{}", card.namespace, card.name), %error, "cannot preempt");
            }
        }
    }

    async fn preempt(&self, victim: &Pod, by: &Pod, node: &str) -> Result<(), client::Error> {
        let card = &victim.entry.card;
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
            "message": format!("{}: preempting to accommodate a higher priority pod", by.scheduler_name),
            "lastTransitionTime": self.clock.time(),
        });
        let patch = json!({"metadata": {"uid": card.uid}, "status": {"conditions": [condition]}});
        self.client
            .patch::<IgnoredAny>(
                &PODS,
                &card.namespace,
                &card.name,
                Some("status"),
                Patch::Strategic,
                &patch,
            )
            .await?;
        let options = DeleteOptions::uid(&*card.uid);
        self.client.delete(&PODS, &card.namespace, &card.name, &options).await?;
        let note = format!("Preempted by pod {} on node {node}", by.entry.card.uid);
        self.event(victim, EventType::Normal, "Preempted", &note);
        Ok(())
    }

    /// Reports that no node takes the pod: an event, and the condition where it changes.
    pub async fn report_unschedulable(&self, pod: &Arc<Pod>, reason: &str, message: &str) {
        self.event(pod, EventType::Warning, "FailedScheduling", message);
        let card = &pod.entry.card;
        let known = pod.entry.decode::<WithConditions>().unwrap_or_default().status.conditions;
        let old = known.iter().find(|c| c.kind == "PodScheduled");
        if old.is_some_and(|c| c.status == "False" && c.reason == reason && c.message == message) {
            return;
        }
        let mut condition = json!({
            "type": "PodScheduled", "status": "False", "reason": reason, "message": message,
            "lastProbeTime": Value::Null,
        });
        if old.is_none_or(|c| c.status != "False") {
            condition["lastTransitionTime"] = self.clock.time().into();
        }
        let patch = json!({
            "metadata": {"uid": card.uid},
            "status": {"conditions": [condition]},
        });
        let written = self
            .client
            .patch::<IgnoredAny>(
                &PODS,
                &card.namespace,
                &card.name,
                Some("status"),
                Patch::Strategic,
                &patch,
            )
            .await;
        if let Err(error) = written
            && !error.is_not_found()
        {
            tracing::warn!(pod = %format_args!("{}/{}", card.namespace, card.name), %error, "cannot write the PodScheduled condition");
        }
    }
}
