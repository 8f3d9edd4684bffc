//! Informers, leader election and events against the in-memory server, with time paused: lists,
//! watches, cuts, compaction, in process and over the wire.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api::clock::{Clock, Rng};
use api::resource::{CONFIG_MAPS, EVENTS, LEASES, PODS};
use api::{ApiError, Object, Reason};
use http::Method;
use isopod_client as client;
use serde::de::IgnoredAny;
use serde_json::json;

use client::testing::FakeServer;
use client::{
    DeleteOptions, Event, EventType, Index, Informers, ListOptions, ObjectRef, Recorder, Shutdown,
    Subscription, leader,
};

fn server() -> FakeServer {
    FakeServer::new(Clock::manual("2026-01-01T00:00:00Z".parse().expect("a time")))
}

fn map(name: &str, value: &str) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": value},
           "metadata": {"namespace": "a", "name": name, "labels": {"v": value}}})
}

async fn next(events: &mut Subscription) -> String {
    match events.next_event().await.expect("the informer lives") {
        Event::Synced => "synced".into(),
        Event::Changed(delta) => {
            let show = |e: &Option<Arc<api::Entry>>| match e {
                Some(e) => e.card.label("v").unwrap_or("").to_owned(),
                None => "-".into(),
            };
            format!("{} {}>{}", delta.latest().card.name, show(&delta.old), show(&delta.new))
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_view_follows_the_server_through_every_fault() {
    for mode in ["streaming", "lists", "local"] {
        let server = server();
        match mode {
            "lists" => server.refuse_streaming_lists(),
            "local" => server.share_cache(),
            _ => {}
        }
        server.put(map("x", "1"));
        let informers = Informers::with_rng(server.client(), Rng::seeded(1));
        let informer = informers.get(&CONFIG_MAPS);
        let mut events = informer.subscribe();
        assert_eq!(next(&mut events).await, "x ->1", "{mode}");
        assert_eq!(next(&mut events).await, "synced");
        server.put(map("y", "1"));
        assert_eq!(next(&mut events).await, "y ->1");

        server.cut_watches();
        server.put(map("x", "2"));
        assert_eq!(next(&mut events).await, "x 1>2", "resumed after a cut");

        // What happens behind a compaction can only be found by listing again.
        server.cut_watches();
        server.remove(&CONFIG_MAPS, "a", "y");
        server.put(map("x", "3"));
        server.put(map("z", "1"));
        server.compact();
        let mut seen = [next(&mut events).await, next(&mut events).await, next(&mut events).await];
        seen.sort();
        assert_eq!(seen, ["x 2>3", "y 1>-", "z ->1"], "{mode}");
        assert_eq!(informer.len(), 2);
        let mut late = informer.subscribe();
        let mut first = [next(&mut late).await, next(&mut late).await];
        first.sort();
        assert_eq!(first, ["x ->3", "z ->1"]);
        assert_eq!(next(&mut late).await, "synced");
    }
}

#[tokio::test(start_paused = true)]
async fn errors_wait_and_selectors_select() {
    let server = server();
    for _ in 0..5 {
        let gone = ApiError::new(Reason::ServiceUnavailable, "starting");
        server.refuse(Method::GET, "/api/v1/configmaps", gone);
    }
    for (name, v) in [("x", "1"), ("y", "2")] {
        server.put(map(name, v));
    }
    let informers = Informers::with_rng(server.client(), Rng::seeded(1));
    let informer = informers.get_filtered(&CONFIG_MAPS, ListOptions::labels("v=1"));
    let start = tokio::time::Instant::now();
    informer.synced().await;
    assert!(start.elapsed() > Duration::from_millis(300), "{:?}", start.elapsed());
    assert_eq!(informer.len(), 1);
    let mut events = informer.subscribe();
    assert_eq!(next(&mut events).await, "x ->1");
    assert_eq!(next(&mut events).await, "synced");
    server.put(map("x", "2"));
    // The last state names the value that no longer matches.
    assert_eq!(next(&mut events).await, "x 2>-");
    server.put(map("y", "1"));
    assert_eq!(next(&mut events).await, "y ->1");
    assert_eq!(informer.by_index(&Index::Label("v"), "1").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn verbs() {
    let server = server();
    let client = server.client();
    let made: Object = client.create(&CONFIG_MAPS, "a", &map("x", "1")).await.expect("creates");
    let again = client.create::<Object>(&CONFIG_MAPS, "a", &map("x", "1")).await;
    assert!(again.expect_err("is there").is_already_exists());
    let body = json!({"data": {"k": "2"}});
    let patched: Object = client
        .patch(&CONFIG_MAPS, "a", "x", None, client::Patch::Merge, &body)
        .await
        .expect("patches");
    assert_eq!(patched.text("data.k"), Some("2"));
    let stale = client.replace::<Object>(&CONFIG_MAPS, "a", "x", None, &made).await;
    assert!(stale.expect_err("is stale").is_conflict());
    let wrong = client.delete(&CONFIG_MAPS, "a", "x", &DeleteOptions::uid("other")).await;
    assert!(wrong.expect_err("another uid").is_conflict());
    client.delete(&CONFIG_MAPS, "a", "x", &DeleteOptions::uid(made.uid())).await.expect("deletes");
    let gone = client.get::<IgnoredAny>(&CONFIG_MAPS, "a", "x").await;
    assert!(gone.expect_err("is gone").is_not_found());
}

#[tokio::test(start_paused = true)]
async fn one_leader_at_a_time_and_a_quick_handover() {
    let clock = Clock::system();
    let server = FakeServer::new(clock.clone());
    let leading = Arc::new(AtomicUsize::new(0));
    let stops = [Shutdown::new(), Shutdown::new()];
    let tasks: Vec<_> = stops
        .iter()
        .enumerate()
        .map(|(i, stop)| {
            let config = leader::Config::new("kube-system", "x", format!("me-{i}"));
            let (leading, stop) = (leading.clone(), stop.clone());
            let rng = Rng::seeded(i as u64);
            tokio::spawn(leader::run(
                server.client(),
                config,
                clock.clone(),
                rng,
                stop,
                async move |lost| {
                    assert_eq!(leading.fetch_add(1, Ordering::SeqCst), 0, "two leaders");
                    lost.cancelled().await;
                    leading.fetch_sub(1, Ordering::SeqCst);
                },
            ))
        })
        .collect();
    let holder = || {
        let lease = server.object(&LEASES, "kube-system", "x");
        lease.and_then(|l| l.text("spec.holderIdentity").map(str::to_owned)).unwrap_or_default()
    };
    server.until(|_| holder().starts_with("me-")).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let first = usize::from(holder() == "me-1");
    assert_eq!(leading.load(Ordering::SeqCst), 1);
    stops[first].cancel();
    let released = tokio::time::Instant::now();
    server.until(|_| holder() == format!("me-{}", 1 - first)).await;
    assert!(released.elapsed() < Duration::from_secs(6), "{:?}", released.elapsed());
    stops[1 - first].cancel();
    for task in tasks {
        task.await.expect("joins");
    }
}

#[tokio::test(start_paused = true)]
async fn equal_events_become_one() {
    let server = server();
    let recorder = Recorder::new(server.client(), "tester", "host");
    let about = ObjectRef {
        kind: PODS.kind.to_string(),
        namespace: "a".into(),
        name: "p".into(),
        api_version: "v1".into(),
        ..ObjectRef::default()
    };
    for _ in 0..3 {
        recorder.event(&about, EventType::Warning, "Failed", "no image");
    }
    let counted = |s: &FakeServer| s.all(&EVENTS).iter().any(|e| e.int("count") == Some(3));
    server.until(counted).await;
    let events = server.all(&EVENTS);
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].text("source.component"), Some("tester"));
    assert!(events[0].name().starts_with("p."));
}
