//! What controllers do to the cluster, as data: planned purely, carried out here.
//!
//! Not here: why.

use api::{Entry, Object, Resource, Value};
use client::{
    Client, DeleteOptions, Error, EventType, ObjectRef, Patch, Precondition, Propagation, Recorder,
};
use futures_util::StreamExt;
use futures_util::stream;
use serde::{Deserialize, Serialize, Serializer};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Create an object. One that is there already is fine.
    Create {
        /// Its resource.
        #[serde(serialize_with = "qualified")]
        resource: Resource,
        /// Empty where the resource is cluster-scoped.
        #[serde(skip_serializing_if = "String::is_empty")]
        namespace: String,
        /// The object.
        object: Value,
    },
    /// Change fields of an object: a JSON merge patch.
    Patch {
        /// Its resource.
        #[serde(serialize_with = "qualified")]
        resource: Resource,
        /// Empty where the resource is cluster-scoped.
        #[serde(skip_serializing_if = "String::is_empty")]
        namespace: String,
        /// Its name.
        name: String,
        /// A subresource (`status`).
        #[serde(skip_serializing_if = "Option::is_none")]
        sub: Option<&'static str>,
        /// What changes.
        patch: Value,
    },
    /// Delete an object.
    Delete {
        /// Its resource.
        #[serde(serialize_with = "qualified")]
        resource: Resource,
        /// Empty where the resource is cluster-scoped.
        #[serde(skip_serializing_if = "String::is_empty")]
        namespace: String,
        /// Its name.
        name: String,
        /// Only while it is still this one.
        #[serde(skip_serializing_if = "String::is_empty")]
        uid: String,
        /// Instead of its own grace period.
        #[serde(skip_serializing_if = "Option::is_none")]
        grace: Option<i64>,
        /// Instead of the kind's own.
        #[serde(skip_serializing_if = "Option::is_none")]
        propagation: Option<Propagation>,
    },
    /// Tell people.
    Event {
        /// About which object.
        #[serde(serialize_with = "reference")]
        about: ObjectRef,
        /// Whether it asks for attention.
        #[serde(skip_serializing_if = "is_false")]
        warning: bool,
        /// In one word.
        reason: &'static str,
        /// In a sentence.
        note: String,
    },
}

fn qualified<S: Serializer>(resource: &Resource, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&resource.qualified())
}

fn reference<S: Serializer>(about: &ObjectRef, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(&format_args!("{} {}", about.kind, about.name))
}

fn is_false(b: &bool) -> bool {
    !b
}

impl Action {
    /// A patch of an object's status.
    pub fn status(resource: &Resource, namespace: &str, name: &str, status: Value) -> Self {
        Self::Patch {
            resource: resource.clone(),
            namespace: namespace.into(),
            name: name.into(),
            sub: Some("status"),
            patch: serde_json::json!({ "status": status }),
        }
    }

    /// A patch of an object itself.
    pub fn patch(resource: &Resource, namespace: &str, name: &str, patch: Value) -> Self {
        Self::Patch {
            resource: resource.clone(),
            namespace: namespace.into(),
            name: name.into(),
            sub: None,
            patch,
        }
    }

    /// Deletes an object as its kind does by default.
    pub fn delete(resource: &Resource, namespace: &str, name: &str, uid: &str) -> Self {
        Self::Delete {
            resource: resource.clone(),
            namespace: namespace.into(),
            name: name.into(),
            uid: uid.into(),
            grace: None,
            propagation: None,
        }
    }

    /// Deletes the object of an entry.
    pub fn delete_entry(resource: &Resource, entry: &Entry) -> Self {
        Self::delete(resource, &entry.card.namespace, &entry.card.name, &entry.card.uid)
    }

    /// A normal event.
    pub fn event(about: &ObjectRef, reason: &'static str, note: impl Into<String>) -> Self {
        Self::Event { about: about.clone(), warning: false, reason, note: note.into() }
    }

    /// An event that asks for attention.
    pub fn warn(about: &ObjectRef, reason: &'static str, note: impl Into<String>) -> Self {
        Self::Event { about: about.clone(), warning: true, reason, note: note.into() }
    }
}

/// The outcome of planning: what to do, and when to look again though nothing changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// In order.
    pub actions: Vec<Action>,
    /// Seconds until the next look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub again: Option<u64>,
}

impl Plan {
    /// Adds an action.
    pub fn push(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Asks to look again after some seconds; of several the soonest counts.
    pub fn look_again(&mut self, seconds: u64) {
        self.again = Some(self.again.map_or(seconds, |s| s.min(seconds)));
    }

    /// What the queue is told.
    pub fn requeue(&self) -> client::Requeue {
        match self.again {
            Some(seconds) => client::Requeue::After(std::time::Duration::from_secs(seconds)),
            None => client::Requeue::Done,
        }
    }
}

/// Why a reconciliation has to be repeated.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// A request failed.
    #[error("{0}")]
    Request(#[from] Error),
    /// An object could not be read.
    #[error("cannot read object: {0}")]
    Object(#[from] serde_json::Error),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// How many requests of one reconciliation are under way at once.
pub const AT_ONCE: usize = 32;

/// Carries out actions one after another; stops at the first that fails.
pub async fn perform(
    client: &Client,
    recorder: &Recorder,
    actions: Vec<Action>,
) -> Result<(), Failed> {
    for action in actions {
        perform_one(client, recorder, action).await?;
    }
    Ok(())
}

/// Carries out independent actions side by side; tries them all, and returns the first failure.
pub async fn perform_all(
    client: &Client,
    recorder: &Recorder,
    actions: Vec<Action>,
) -> Result<(), Failed> {
    let outcomes = stream::iter(actions)
        .map(|action| perform_one(client, recorder, action))
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    outcomes.into_iter().collect()
}

/// The answer to a write, as far as it matters.
#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    metadata: WrittenMeta,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WrittenMeta {
    resource_version: String,
}

impl Written {
    fn revision(&self) -> u64 {
        self.metadata.resource_version.parse().unwrap_or(0)
    }
}

/// Carries out one action. What is already as wanted (created, deleted) is success.
pub async fn perform_one(
    client: &Client,
    recorder: &Recorder,
    action: Action,
) -> Result<(), Failed> {
    match write(client, recorder, action).await {
        Ok(_) => Ok(()),
        Err(e) if e.is_already_exists() || e.is_namespace_terminating() => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Carries out one action and tells the revision it made, 0 where there is none. A create that finds
/// the name taken is an error here.
pub async fn write(client: &Client, recorder: &Recorder, action: Action) -> Result<u64, Error> {
    match action {
        Action::Create { resource, namespace, object } => {
            let written: Written = client.create(&resource, &namespace, &object).await?;
            Ok(written.revision())
        }
        Action::Patch { resource, namespace, name, sub, patch } => {
            let patched =
                client.patch::<Written>(&resource, &namespace, &name, sub, Patch::Merge, &patch);
            match patched.await {
                Ok(written) => Ok(written.revision()),
                Err(e) if e.is_not_found() => Ok(0),
                Err(e) => Err(e),
            }
        }
        Action::Delete { resource, namespace, name, uid, grace, propagation } => {
            let uid = (!uid.is_empty()).then_some(uid);
            let options = DeleteOptions {
                grace_period_seconds: grace,
                propagation,
                precondition: Precondition { uid, resource_version: None },
                dry_run: false,
            };
            match client.delete(&resource, &namespace, &name, &options).await {
                // Another object has taken the name: ours is gone.
                Err(e) if e.is_conflict() => Ok(0),
                deleted => crate::context::ignore_missing(deleted).map(|()| 0),
            }
        }
        Action::Event { about, warning, reason, note } => {
            let kind = if warning { EventType::Warning } else { EventType::Normal };
            recorder.event(&about, kind, reason, note);
            Ok(0)
        }
    }
}

/// A reference to an object whose type its resource says.
pub fn reference_to(resource: &Resource, object: &Object) -> ObjectRef {
    ObjectRef {
        kind: resource.kind.to_string(),
        api_version: resource.api_version(),
        ..ObjectRef::of(object)
    }
}
