//! Between versions of a custom resource by its definition's webhook, before the registry needs the
//! outcome: what is read or about to be written is converted at once, in one question, and kept with
//! the target.
//!
//! Nothing happens here for definitions without a webhook, or within one version. Not here: sending
//! the question (`admission::webhook`), conversion without a webhook (`objects`).

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api::crd::Conversion;
use api::{ApiError, Entry, Object, Reason, Value};
use serde_json::json;

use super::Custom;
use crate::admission::webhook::Caller;
use crate::server::{Server, Target};

/// How long a webhook may take, as upstream.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Objects converted for a target.
#[derive(Debug, Default)]
pub struct Prepared {
    /// In the request's version, by uid and revision.
    read: HashMap<(String, u64), Object>,
    /// What is about to be written, in the stored version.
    stored: Option<Object>,
}

impl Prepared {
    /// An object that was read.
    pub fn read(&self, uid: &str, revision: u64) -> Option<&Object> {
        self.read.get(&(uid.to_owned(), revision))
    }

    /// The object that is written.
    pub fn stored(&self) -> Option<&Object> {
        self.stored.as_ref()
    }
}

/// The target's definition, where a webhook converts.
fn webhook(target: &Target) -> Option<(&Custom, &Value)> {
    let custom = target.custom.as_ref()?;
    match &custom.definition().conversion {
        Conversion::Webhook(webhook) => Some((custom, webhook)),
        Conversion::None => None,
    }
}

/// Whether what is read may have to be converted by a webhook.
pub fn is_needed(target: &Target) -> bool {
    webhook(target).is_some()
}

/// The target with entries converted to the request's version.
pub async fn for_reading<'t>(
    server: &Server,
    target: &'t Target,
    entries: &[Arc<Entry>],
) -> Result<Cow<'t, Target>, ApiError> {
    let Some((custom, webhook)) = webhook(target) else { return Ok(Cow::Borrowed(target)) };
    let wanted = target.kind.group_version();
    let mut keys = Vec::new();
    let mut objects = Vec::new();
    for entry in entries {
        let object = custom.as_stored(entry)?;
        if object.api_version() != wanted {
            keys.push((object.uid().to_owned(), entry.revision));
            objects.push(object);
        }
    }
    let ready = |(uid, revision): &(String, u64)| {
        target.prepared.as_ref().is_some_and(|p| p.read(uid, *revision).is_some())
    };
    if keys.iter().all(ready) {
        return Ok(Cow::Borrowed(target));
    }
    let converted = ask_of(server, custom, webhook, wanted, objects).await?;
    let mut target = target.clone();
    let read = keys.into_iter().zip(converted).collect();
    target.prepared = Some(Arc::new(Prepared { read, stored: None }));
    Ok(Cow::Owned(target))
}

/// The target with an object of the request's version converted to the stored one.
pub async fn for_writing<'t>(
    server: &Server,
    target: &'t Target,
    object: &Object,
) -> Result<Cow<'t, Target>, ApiError> {
    let Some((custom, webhook)) = webhook(target) else { return Ok(Cow::Borrowed(target)) };
    let wanted = target.stored.group_version();
    if object.api_version() == wanted {
        return Ok(Cow::Borrowed(target));
    }
    let mut converted = ask_of(server, custom, webhook, wanted, vec![object.clone()]).await?;
    let mut target = target.clone();
    target.prepared = Some(Arc::new(Prepared { stored: converted.pop(), ..Prepared::default() }));
    Ok(Cow::Owned(target))
}

async fn ask_of(
    server: &Server,
    custom: &Custom,
    webhook: &Value,
    wanted: &str,
    objects: Vec<Object>,
) -> Result<Vec<Object>, ApiError> {
    ask(&server.customs.webhooks, &custom.definition().kind, webhook, wanted, objects).await
}

/// Asks a definition's webhook for objects of a kind in a version.
pub async fn ask(
    caller: &Caller,
    kind: &str,
    webhook: &Value,
    wanted: &str,
    objects: Vec<Object>,
) -> Result<Vec<Object>, ApiError> {
    let from = objects.first().map_or("", Object::api_version).to_owned();
    let failed = |why: &str| {
        let message = format!("conversion webhook for {from}, Kind={kind} failed: {why}");
        ApiError::new(Reason::Unknown, message)
    };
    let versions = webhook["conversionReviewVersions"].as_array();
    let spoken = versions.into_iter().flatten().filter_map(Value::as_str);
    let version = spoken.into_iter().find(|v| matches!(*v, "v1" | "v1beta1")).unwrap_or("v1");
    let uid = caller.rng.uuid();
    let question = json!({
        "kind": "ConversionReview", "apiVersion": format!("apiextensions.k8s.io/{version}"),
        "request": {
            "uid": uid, "desiredAPIVersion": wanted,
            "objects": objects.iter().map(|o| Value::Object(o.0.clone())).collect::<Vec<_>>(),
        },
    });
    let empty = api::Map::new();
    let client = webhook["clientConfig"].as_object().unwrap_or(&empty);
    let asked = caller.send(client, TIMEOUT, &question).await;
    let body = asked.map_err(|why| failed(&why.to_string()))?;
    let answer: Value = serde_json::from_slice(&body).map_err(|e| failed(&e.to_string()))?;
    converted(&answer, &uid, &objects, wanted).map_err(|why| failed(&why))
}

/// What a webhook answered, checked: it may change all but what an object is.
fn converted(
    answer: &Value,
    uid: &str,
    objects: &[Object],
    wanted: &str,
) -> Result<Vec<Object>, String> {
    let response = &answer["response"];
    if response.is_null() {
        return Err("no response provided".to_owned());
    }
    if response["uid"] != uid {
        return Err(format!("expected response.uid={uid:?}, got {:?}", response["uid"]));
    }
    if response["result"]["status"] != "Success" {
        let message = response["result"]["message"].as_str().unwrap_or("unknown error");
        return Err(message.to_owned());
    }
    let list = response["convertedObjects"].as_array().cloned().unwrap_or_default();
    if list.len() != objects.len() {
        let (wanted, found) = (objects.len(), list.len());
        return Err(format!("returned {found} objects, expected {wanted}"));
    }
    let mut all = Vec::with_capacity(list.len());
    for (at, (value, before)) in list.into_iter().zip(objects).enumerate() {
        let mut object = Object::from_value(value)
            .ok_or_else(|| format!("invalid object at index {at}: not an object"))?;
        let invalid = |what: &str| format!("invalid converted object at index {at}: {what}");
        if object.api_version() != wanted {
            return Err(invalid(&format!("invalid apiVersion: expected {wanted}")));
        }
        if object.kind() != before.kind() {
            return Err(invalid(&format!("invalid kind: expected {}", before.kind())));
        }
        for field in ["name", "namespace", "uid"] {
            let of = |o: &Object| o.meta().and_then(|m| m.get(field)).cloned();
            if of(&object) != of(before) {
                return Err(invalid(&format!("metadata.{field} was changed")));
            }
        }
        keep_metadata(&mut object, before);
        all.push(object);
    }
    Ok(all)
}

/// Of the metadata, a webhook changes labels and annotations only.
fn keep_metadata(object: &mut Object, before: &Object) {
    let mut meta = before.meta().cloned().unwrap_or_default();
    for field in ["labels", "annotations"] {
        match object.meta().and_then(|m| m.get(field)).filter(|v| !v.is_null()) {
            Some(value) => meta.insert(field.to_owned(), value.clone()),
            None => meta.remove(field),
        };
    }
    object.0.insert("metadata".into(), meta.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Object {
        Object::from_value(value).unwrap()
    }

    #[test]
    fn answers_are_checked() {
        let before = object(json!({"apiVersion": "g/v1", "kind": "K",
            "metadata": {"name": "a", "generation": 3, "labels": {"x": "y"}}, "spec": {"n": 1}}));
        let answer = |object: Value| {
            json!({"response": {"uid": "u", "result": {"status": "Success"},
                "convertedObjects": [object]}})
        };
        let good = answer(json!({"apiVersion": "g/v2", "kind": "K",
            "metadata": {"name": "a", "generation": 9, "labels": {"x": "z"}}, "spec": {"m": 1}}));
        let found = converted(&good, "u", std::slice::from_ref(&before), "g/v2").unwrap();
        assert_eq!(
            found[0],
            object(json!({"apiVersion": "g/v2", "kind": "K",
                "metadata": {"name": "a", "generation": 3, "labels": {"x": "z"}}, "spec": {"m": 1}}))
        );
        for bad in [
            json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a"}}),
            json!({"apiVersion": "g/v2", "kind": "J", "metadata": {"name": "a"}}),
            json!({"apiVersion": "g/v2", "kind": "K", "metadata": {"name": "b"}}),
        ] {
            assert!(converted(&answer(bad), "u", std::slice::from_ref(&before), "g/v2").is_err());
        }
        let refused = json!({"response": {"uid": "u",
            "result": {"status": "Failed", "message": "no"}}});
        assert_eq!(converted(&refused, "u", &[before], "g/v2").unwrap_err(), "no");
    }
}
