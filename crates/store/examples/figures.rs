//! Prints what the store does on this machine: commits, fan-out, lists, memory, opening.
//!
//! `cargo run --release -p isopod-store --example figures [directory | memory | million]`

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use api::{Card, Key};
use bytes::Bytes;
use isopod_store::{Change, Expect, Options, Store, Write};

/// As the isopod binary has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A pod of 2.7 KB with the card that pods have.
fn pod(i: usize) -> Write {
    let (namespace, name) = (format!("ns-{}", i % 10), format!("web-{i:06}-x7k2p"));
    let body = format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"{namespace}"}},"x":"{}"}}"#,
        "y".repeat(2600)
    );
    let text = |t: &str| -> Arc<str> { t.into() };
    let field = |path: &str, value: &str| (text(path), text(value));
    let card = Card {
        namespace: text(&namespace),
        name: text(&name),
        uid: format!("0f5b1c9a-7c1e-4b7e-9d4c-{i:012}").into(),
        labels: [field("app", "web"), field("pod-template-hash", "5d4f8c7b9")].into(),
        fields: [
            field("spec.hostNetwork", "false"),
            field("spec.nodeName", &format!("node-{}", i % 100)),
            field("spec.restartPolicy", "Always"),
            field("spec.schedulerName", "default-scheduler"),
            field("spec.serviceAccountName", "default"),
            field("status.nominatedNodeName", ""),
            field("status.phase", "Pending"),
            field("status.podIP", ""),
        ]
        .into(),
        controller: Some("7a1e0c9a-7c1e-4b7e-9d4c-000000000001".into()),
        deleting: false,
    };
    let key = Key::new("pods", namespace, name);
    let change = Change::Put { bytes: Bytes::from(body), rv_at: 13, card };
    Write { key, expect: Expect::Any, change }
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

async fn commits(store: &Store, tasks: usize, lasting: Duration, keys: usize) -> f64 {
    let next = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let handles: Vec<_> = (0..tasks)
        .map(|_| {
            let (store, next) = (store.clone(), next.clone());
            tokio::spawn(async move {
                while start.elapsed() < lasting {
                    let i = next.fetch_add(1, Ordering::Relaxed) as usize % keys;
                    store.commit(pod(i)).await.expect("written");
                }
            })
        })
        .collect();
    for handle in handles {
        handle.await.expect("joined");
    }
    next.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
}

async fn fan_out(store: &Store, watchers: usize, events: usize, in_flight: usize) -> f64 {
    let cache = store.resource("pods");
    let bytes = Arc::new(AtomicU64::new(0));
    let handles: Vec<_> = (0..watchers)
        .map(|_| {
            let (_, mut watcher) = cache.list_and_watch(None);
            let bytes = bytes.clone();
            tokio::spawn(async move {
                let (mut seen, mut out) = (0, Vec::with_capacity(64 << 10));
                while seen < events {
                    for event in watcher.next_batch().await.expect("fast enough") {
                        // What a connection does: frames into one buffer, then out with it.
                        out.extend_from_slice(event.frame());
                        seen += 1;
                        if out.len() > 60 << 10 {
                            bytes.fetch_add(out.len() as u64, Ordering::Relaxed);
                            out.clear();
                        }
                    }
                }
            })
        })
        .collect();
    let start = Instant::now();
    let left = Arc::new(AtomicU64::new(events as u64));
    let writers: Vec<_> = (0..in_flight)
        .map(|_| {
            let (store, left) = (store.clone(), left.clone());
            tokio::spawn(async move {
                while let Ok(n) =
                    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                {
                    store.commit(pod(n as usize % 10_000)).await.expect("written");
                }
            })
        })
        .collect();
    for handle in writers.into_iter().chain(handles) {
        handle.await.expect("joined");
    }
    (events * watchers) as f64 / start.elapsed().as_secs_f64()
}

fn timed<T>(what: &str, times: u32, mut f: impl FnMut() -> T) {
    let start = Instant::now();
    for _ in 0..times {
        std::hint::black_box(f());
    }
    println!("{what}: {:?}", start.elapsed() / times);
}

/// What an entry costs beyond its bytes. In a process of its own: the allocator keeps what others
/// gave back.
async fn memory() {
    let store = Store::memory();
    let before = resident();
    let count = 200_000;
    for i in 0..count {
        store.commit(pod(i)).await.expect("written");
    }
    let with_events = resident() - before;
    store.compact(store.revision()).await.expect("compacted");
    let bytes: usize = store.resource("pods").list(None).iter().map(|e| e.json.len()).sum();
    let per = |n: u64| (n as f64 - bytes as f64) / count as f64;
    println!(
        "memory beyond the bytes of {count} pods of {} B: {:.0} B an entry; with 100,000 events {:.0} B",
        bytes / count,
        per(resident() - before),
        per(with_events),
    );
}

/// A million small objects: loaded, listed in pages, watched, opened again.
async fn million(dir: PathBuf) {
    let small = |i: usize| {
        let mut write = pod(i);
        if let Change::Put { bytes, .. } = &mut write.change {
            let mut short = bytes.slice(..bytes.len() - 2150).to_vec();
            short.extend_from_slice(b"\"}");
            *bytes = short.into();
        }
        write
    };
    let count = 1_000_000;
    let store = Store::open(Options::new(&dir)).expect("opened");
    let start = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..256)
        .map(|_| {
            let (store, next) = (store.clone(), next.clone());
            tokio::spawn(async move {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed) as usize;
                    if i >= count {
                        break;
                    }
                    store.commit(small(i)).await.expect("written");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("joined");
    }
    let cache = store.resource("pods");
    let bytes: usize = cache.list(None).iter().map(|e| e.json.len()).sum();
    let took = start.elapsed();
    println!("{count} objects of {} B created: {took:?}; {:?}", bytes / count, store.size());
    let beyond = (resident() as f64 - bytes as f64) / count as f64;
    println!("resident {} MiB: {beyond:.0} B an entry beyond its bytes", resident() >> 20);
    let start = Instant::now();
    let (revision, mut after, mut pages) = (store.revision(), None::<(String, String)>, 0);
    loop {
        let position = after.as_ref().map(|(ns, name)| (ns.as_str(), name.as_str()));
        let page = cache.list_at(revision, None, position).expect("kept");
        let Some(last) = page.iter().take(500).last() else { break };
        after = Some((last.card.namespace.to_string(), last.card.name.to_string()));
        pages += 1;
        if pages % 200 == 0 {
            store.commit(small(pages)).await.expect("written");
        }
    }
    println!("{pages} pages of 500 at one revision: {:?}", start.elapsed());
    let rate = fan_out(&store, 200, 10_000, 64).await;
    println!("fan-out beside them, 200 watchers: {rate:.0} events/s");
    store.close().await;
    drop(cache);
    let start = Instant::now();
    let store = Store::open(Options::new(&dir)).expect("opened");
    println!("opened again: {:?}, {} objects", start.elapsed(), store.resource("pods").len());
    let _ = std::fs::remove_dir_all(&dir);
}

#[tokio::main]
async fn main() {
    if std::env::args().nth(1).as_deref() == Some("million") {
        return million(std::env::temp_dir().join("isopod-figures-million")).await;
    }
    if std::env::args().nth(1).as_deref() == Some("memory") {
        return memory().await;
    }
    let dir = std::env::args().nth(1).map_or_else(
        || std::env::temp_dir().join(format!("isopod-figures-{}", std::process::id())),
        PathBuf::from,
    );
    println!("resident at the start: {} KiB", resident() >> 10);
    let start = Instant::now();
    let store = Store::open(Options::new(&dir)).expect("opened");
    println!("open, empty: {:?}; resident {} KiB", start.elapsed(), resident() >> 10);

    for tasks in [1, 16, 64, 256] {
        let rate = commits(&store, tasks, Duration::from_secs(3), 10_000).await;
        println!("commits, {tasks} in flight: {rate:.0}/s; disk {:?}", store.size());
    }
    store.compact(store.revision()).await.expect("compacted");
    for i in 0..10_000 {
        if store.resource("pods").len() >= 10_000 {
            break;
        }
        store.commit(pod(i)).await.expect("written");
    }
    let cache = store.resource("pods");
    timed("list 10,000 pods, no copy", 100, || {
        cache.list(None).iter().map(|e| e.json.len()).sum::<usize>()
    });
    timed("list 10,000 pods into one buffer", 20, || {
        let list = cache.list(None);
        let mut body = Vec::with_capacity(30 << 20);
        list.iter().for_each(|e| body.extend_from_slice(&e.json));
        body
    });
    timed("label selector that matches nothing, 10,000 pods", 100, || {
        cache.list(None).iter().filter(|e| e.card.label("app") == Some("none")).count()
    });
    timed("get", 100_000, || cache.get("ns-3", "web-000003-x7k2p"));
    for in_flight in [8, 64] {
        let rate = fan_out(&store, 200, 10_000, in_flight).await;
        println!("fan-out, 200 watchers, {in_flight} writes in flight: {rate:.0} events/s");
    }
    store.close().await;
    let start = Instant::now();
    let store = Store::open(Options::new(&dir)).expect("opened");
    println!("open, 10,000 pods: {:?}; disk {:?}", start.elapsed(), store.size());
    store.close().await;
    let _ = std::fs::remove_dir_all(&dir);
}
