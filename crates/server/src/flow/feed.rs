//! Keeps flow control in step with its objects in the watch cache, and says in a flow schema's status
//! whether its level exists.
//!
//! Not here: what the objects mean.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::{Object, Resource};
use serde_json::json;
use store::ResourceCache;

use super::Config;
use crate::server::{Server, Target};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const SCHEMAS: Resource = Resource::cluster(GROUP, "v1", "flowschemas", "FlowSchema");
const LEVELS: Resource =
    Resource::cluster(GROUP, "v1", "prioritylevelconfigurations", "PriorityLevelConfiguration");

/// Reads the objects, then follows them until the server ends.
pub async fn start(server: Arc<Server>) {
    let caches = [SCHEMAS, LEVELS].map(|r| server.store.resource(&r.qualified()));
    let [(_, mut schemas), (_, mut levels)] =
        [&caches[0], &caches[1]].map(|c| c.list_and_watch(None));
    loop {
        let objects = read(&caches);
        server.flow.configure(Config::read(objects.iter()));
        dangling(&server, &objects).await;
        tokio::select! {
            () = server.shutdown.cancelled() => return,
            woken = schemas.next_batch() => {
                if woken.is_err() {
                    schemas = caches[0].list_and_watch(None).1;
                }
            }
            woken = levels.next_batch() => {
                if woken.is_err() {
                    levels = caches[1].list_and_watch(None).1;
                }
            }
        }
    }
}

fn read(caches: &[Arc<ResourceCache>; 2]) -> Vec<Object> {
    let all = caches.iter().flat_map(|cache| {
        let (snapshot, _) = cache.list_and_watch(None);
        snapshot.iter().filter_map(|entry| entry.object().ok()).collect::<Vec<_>>()
    });
    all.collect()
}

/// Writes the condition of schemas whose level came or went.
async fn dangling(server: &Arc<Server>, objects: &[Object]) {
    let of = |kind: &'static str| objects.iter().filter(move |o| o.kind() == kind);
    let levels: BTreeSet<&str> = of("PriorityLevelConfiguration").map(Object::name).collect();
    for schema in of("FlowSchema") {
        let level = schema.text("spec.priorityLevelConfiguration.name").unwrap_or("");
        let found = levels.contains(level);
        let (status, reason) = if found { ("False", "Found") } else { ("True", "NotFound") };
        let said = schema.at("status.conditions").and_then(api::Value::as_array);
        let same = |c: &&api::Value| c["type"] == "Dangling" && c["status"] == status;
        if said.into_iter().flatten().any(|c| same(&c)) {
            continue;
        }
        let what = if found { "and it exists" } else { "but there is no such object" };
        let condition = json!({
            "type": "Dangling", "status": status, "reason": reason,
            "lastTransitionTime": server.clock.time(),
            "message": format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} {what}"),
        });
        let mut new = schema.clone();
        let list = new.map_mut("status").entry("conditions").or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.retain(|c| c["type"] != "Dangling");
            list.push(condition);
        }
        let Some(kind) = server.served.find(GROUP, "v1", "flowschemas") else { return };
        let target = Target::new(server, kind, "", schema.name());
        let revision = schema.resource_version().parse().unwrap_or(0);
        let expect = store::Expect::Revision(revision);
        // Who was faster is seen at the next turn.
        if let Err(error) = crate::registry::write::put(server, &target, &new, expect).await {
            tracing::debug!(%error, name = schema.name(), "a flow schema's status was not written");
        }
    }
}
