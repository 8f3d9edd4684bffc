//! A real client library, kube-rs, against the API server: discovery, objects, patches, apply with
//! conflicts, chunked lists, watches, streaming lists, and a reflector that lives through a restart.
//!
//! Not here: kubectl (`kubectl`) or the Python client (`python`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use isopod_tests::Isopod;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams,
    Preconditions, PropagationPolicy, WatchEvent, WatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::discovery::{Discovery, Scope};
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Client, Config, ResourceExt as _};
use serde_json::json;

/// Nothing here takes long; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

async fn client(isopod: &Isopod) -> Client {
    let kubeconfig = Kubeconfig::read_from(isopod.kubeconfig()).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Client::try_from(config.expect("a configuration")).expect("a client")
}

fn map(name: &str, data: &[(&str, &str)]) -> ConfigMap {
    let data: BTreeMap<String, String> =
        data.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() },
        data: Some(data),
        ..ConfigMap::default()
    }
}

#[track_caller]
fn status(error: &kube::Error) -> (u16, &str) {
    match error {
        kube::Error::Api(status) => (status.code, &status.reason),
        other => panic!("no answer of the API: {other}"),
    }
}

#[tokio::test]
async fn objects_are_written_read_and_deleted() {
    let isopod = Isopod::api_server(&[]);
    let client = client(&isopod).await;
    assert_eq!(client.apiserver_version().await.expect("a version").major, "1");
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let post = PostParams::default();
    let made = maps.create(&post, &map("one", &[("a", "1")])).await.expect("created");
    let twice = maps.create(&post, &map("one", &[])).await.expect_err("there already");
    assert_eq!(status(&twice), (409, "AlreadyExists"));
    // An update on an old version is refused.
    let mut newer = made.clone();
    newer.data = Some(BTreeMap::from([("a".into(), "2".into())]));
    let newer = maps.replace("one", &post, &newer).await.expect("replaced");
    assert_ne!(newer.resource_version(), made.resource_version());
    let late = maps.replace("one", &post, &made).await.expect_err("old");
    assert_eq!(status(&late), (409, "Conflict"));
    // Patches, and a dry run that changes nothing.
    let merge = json!({"data": {"b": "3"}});
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    let dry = maps.patch("one", &dry, &Patch::Merge(&merge)).await.expect("tried");
    assert_eq!(dry.data.as_ref().map(BTreeMap::len), Some(2));
    assert_eq!(maps.get("one").await.expect("there").data.map(|d| d.len()), Some(1));
    let plain = PatchParams::default();
    maps.patch("one", &plain, &Patch::Strategic(&merge)).await.expect("patched");
    let metadata = maps.get_metadata("one").await.expect("metadata alone");
    assert_eq!(metadata.name_any(), "one");
    // Deletion with a precondition.
    let wrong = Preconditions { uid: Some("nobody".into()), ..Preconditions::default() };
    let wrong = DeleteParams { preconditions: Some(wrong), ..DeleteParams::default() };
    let refused = maps.delete("one", &wrong).await.expect_err("another's uid");
    assert_eq!(status(&refused), (409, "Conflict"));
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    };
    maps.delete("one", &params).await.expect("deleted");
    assert!(maps.get_opt("one").await.expect("answered").is_none());
}

#[tokio::test]
async fn every_listable_kind_is_discovered_and_listed() {
    let isopod = Isopod::api_server(&[]);
    let client = client(&isopod).await;
    for aggregated in [false, true] {
        let discovery = Discovery::new(client.clone());
        let discovery =
            if aggregated { discovery.run_aggregated().await } else { discovery.run().await };
        let discovery = discovery.expect("discovered");
        let mut listed = 0;
        for group in discovery.groups() {
            for (resource, capabilities) in group.recommended_resources() {
                // What cannot be watched, componentstatuses, is not stored and has no version.
                if !capabilities.supports_operation("watch") {
                    continue;
                }
                let api: Api<DynamicObject> = match capabilities.scope {
                    Scope::Cluster | Scope::Namespaced => Api::all_with(client.clone(), &resource),
                };
                let list = api.list(&ListParams::default()).await;
                let list = list.unwrap_or_else(|e| panic!("{}: {e}", resource.plural));
                assert!(list.metadata.resource_version.is_some(), "{}", resource.plural);
                listed += 1;
            }
        }
        assert!(listed > 50, "only {listed} kinds");
    }
}

#[tokio::test]
async fn apply_owns_fields() {
    let isopod = Isopod::api_server(&[]);
    let deployments: Api<Deployment> = Api::default_namespaced(client(&isopod).await);
    let desired = |image: &str, replicas: i32| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "web", "image": image}]}}}})
    };
    let ours = PatchParams::apply("ours");
    deployments.patch("web", &ours, &Patch::Apply(desired("a", 2))).await.expect("applied");
    let theirs = PatchParams::apply("theirs");
    let conflict = deployments.patch("web", &theirs, &Patch::Apply(desired("b", 2))).await;
    let conflict = conflict.expect_err("ours owns the image");
    assert_eq!(status(&conflict), (409, "Conflict"));
    assert!(conflict.to_string().contains(r#"conflict with "ours""#), "{conflict}");
    let forced = deployments.patch("web", &theirs.force(), &Patch::Apply(desired("b", 2))).await;
    let forced = forced.expect("forced");
    let managers: Vec<_> =
        forced.managed_fields().iter().filter_map(|f| f.manager.as_deref()).collect();
    assert_eq!(managers, ["ours", "theirs"]);
    // The scale subresource is another writer.
    let scaled = deployments
        .patch_scale(
            "web",
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": {"replicas": 5}})),
        )
        .await
        .expect("scaled");
    assert_eq!(scaled.spec.and_then(|s| s.replicas), Some(5));
}

#[tokio::test]
async fn lists_come_in_consistent_chunks() {
    let isopod = Isopod::api_server(&[]);
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&isopod).await);
    let post = PostParams::default();
    for i in 0..25 {
        maps.create(&post, &map(&format!("m{i:02}"), &[])).await.expect("created");
    }
    let mut names = BTreeSet::new();
    let mut params = ListParams::default().limit(10);
    let mut pages = 0;
    loop {
        let page = maps.list(&params).await.expect("a page");
        names.extend(page.items.iter().map(|m| m.name_any()));
        pages += 1;
        // What comes in between belongs to later lists.
        maps.create(&post, &map(&format!("z{pages}"), &[])).await.expect("created");
        match page.metadata.continue_.filter(|c| !c.is_empty()) {
            Some(next) => params = params.continue_token(&next),
            None => break,
        }
    }
    assert_eq!(pages, 3);
    // The namespace's own, kube-root-ca.crt, needs a controller: none runs here.
    assert_eq!(names.len(), 25, "{names:?}");
    let all = ListParams::default().labels("no=body");
    assert!(maps.list(&all).await.expect("a list").items.is_empty());
}

#[tokio::test]
async fn watches_tell_changes_and_bookmarks() {
    let isopod = Isopod::api_server(&[]);
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&isopod).await);
    let post = PostParams::default();
    let made = maps.create(&post, &map("seen", &[])).await.expect("created");
    let from = made.resource_version().expect("a version");
    let mut watch = maps
        .watch(&WatchParams::default().fields("metadata.name=seen"), &from)
        .await
        .expect("watches")
        .boxed();
    maps.create(&post, &map("unseen", &[])).await.expect("created");
    let merge = Patch::Merge(json!({"data": {"a": "1"}}));
    maps.patch("seen", &PatchParams::default(), &merge).await.expect("patched");
    maps.delete("seen", &DeleteParams::default()).await.expect("deleted");
    let mut told = Vec::new();
    let reading = async {
        while let Some(event) = watch.try_next().await.expect("an event") {
            match event {
                WatchEvent::Added(m) => told.push(format!("added {}", m.name_any())),
                WatchEvent::Modified(m) => told.push(format!("modified {}", m.name_any())),
                WatchEvent::Deleted(m) => {
                    told.push(format!("deleted {}", m.name_any()));
                    return;
                }
                WatchEvent::Bookmark(_) => {}
                WatchEvent::Error(e) => panic!("{e:?}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the events come");
    assert_eq!(told, ["modified seen", "deleted seen"]);
}

/// A reflector over list-and-watch, or over a streaming list.
async fn reflect(streaming: bool) {
    let mut isopod = Isopod::api_server(&[]);
    let client = client(&isopod).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let post = PostParams::default();
    for i in 0..5 {
        maps.create(&post, &map(&format!("m{i}"), &[])).await.expect("created");
    }
    let config = if streaming {
        watcher::Config::default().streaming_lists()
    } else {
        watcher::Config::default().page_size(2)
    };
    let (reader, writer) = reflector::store::<ConfigMap>();
    let stream = watcher(maps.clone(), config).default_backoff().reflect(writer);
    let task = tokio::spawn(stream.for_each(|_| std::future::ready(())));
    tokio::time::timeout(PATIENCE, reader.wait_until_ready()).await.expect("ready").expect("runs");
    assert_eq!(reader.state().len(), 5);
    let until = async |count: usize| {
        let waiting = async {
            while reader.state().len() != count {
                tokio::task::yield_now().await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the reflector follows");
    };
    maps.create(&post, &map("m5", &[])).await.expect("created");
    until(6).await;
    // The server is killed and comes back: the reflector goes on by itself.
    let isopod = tokio::task::spawn_blocking(move || {
        isopod.kill();
        isopod.start_again();
        isopod
    });
    let isopod = isopod.await.expect("restarted");
    maps.delete("m0", &DeleteParams::default()).await.expect("deleted");
    maps.delete("m1", &DeleteParams::default()).await.expect("deleted");
    until(4).await;
    task.abort();
    drop(isopod);
}

#[tokio::test]
async fn a_reflector_lives_through_a_restart() {
    reflect(false).await;
}

#[tokio::test]
async fn a_streaming_reflector_lives_through_a_restart() {
    reflect(true).await;
}

#[tokio::test]
async fn subresources_and_collections() {
    let isopod = Isopod::api_server(&[]);
    let client = client(&isopod).await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let post = PostParams::default();
    // No controller runs here that would make it.
    let account = ServiceAccount {
        metadata: ObjectMeta { name: Some("default".into()), ..ObjectMeta::default() },
        ..ServiceAccount::default()
    };
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client);
    accounts.create(&post, &account).await.expect("created");
    for name in ["a", "b"] {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"automountServiceAccountToken": false, "containers": [{"name": "c", "image": "i"}]}});
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        pods.create(&post, &pod).await.expect("created");
    }
    let condition = json!({"status": {"phase": "Running"}});
    let plain = PatchParams::default();
    pods.patch_status("a", &plain, &Patch::Merge(&condition)).await.expect("patched");
    let running = ListParams::default().fields("status.phase=Running");
    let running = pods.list(&running).await.expect("a list");
    assert_eq!(running.items.iter().map(|p| p.name_any()).collect::<Vec<_>>(), ["a"]);
    let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    pods.delete_collection(&now, &ListParams::default()).await.expect("deleted");
    assert!(pods.list(&ListParams::default()).await.expect("a list").items.is_empty());
}
