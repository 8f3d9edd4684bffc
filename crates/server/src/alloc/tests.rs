//! Allocation under concurrency, failure and repetition.

use super::*;
use api::Object;
use serde_json::{Value, json};

struct World {
    store: Store,
    services: service::Services,
    ips: ips::Ips,
}

fn world(range: &str) -> World {
    let store = Store::memory();
    let ranges = ranges(range).expect("valid");
    let ips = ips::Ips::new(&store, ranges, Clock::system(), Rng::seeded(3));
    let ports = ports::Ports::new((30000, 30031), Rng::seeded(4));
    World { store: store.clone(), services: service::Services::new(ips.clone(), ports), ips }
}

fn service(name: &str, spec: Value) -> Object {
    let mut object = Object::from_value(json!({"spec": spec})).expect("a map");
    object.set_type("v1", "Service");
    object.set_meta("name", name);
    object.set_meta("namespace", "a");
    object
}

impl World {
    async fn create(&self, name: &str, spec: Value) -> Result<Object, api::ApiError> {
        let mut object = service(name, spec);
        let reservation = self.services.allocate(&mut object, None, false).await?;
        self.put(&object).await;
        reservation.commit();
        Ok(object)
    }

    async fn put(&self, object: &Object) {
        let kind = api::kinds::by_kind("", "v1", "Service").expect("known");
        let encoded = api::codec::json::encode_for_store(object);
        let change = store::Change::Put {
            bytes: encoded.bytes,
            rv_at: encoded.rv_at,
            card: kind.card(object),
        };
        let key = api::Key::new("services", object.namespace(), object.name());
        let write = store::Write { key, expect: store::Expect::Any, change };
        self.store.commit(write).await.expect("committed");
    }

    fn taken(&self) -> usize {
        self.store.resource("ipaddresses.networking.k8s.io").len()
    }

    /// Lets spawned clean-up run.
    async fn settle(&self, count: usize) {
        for _ in 0..1000 {
            if self.taken() == count {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("{} addresses are taken, not {count}", self.taken());
    }
}

#[tokio::test]
async fn concurrent_services_share_nothing_and_fill_the_range() {
    let w = world("10.0.0.0/28");
    let names: Vec<String> = (0..14).map(|i| format!("s{i}")).collect();
    let spec = || json!({"type": "NodePort", "ports": [{"port": 80}]});
    let made = futures_util::future::join_all(names.iter().map(|n| w.create(n, spec()))).await;
    let mut ips: Vec<String> = Vec::new();
    let mut ports = Vec::new();
    for service in made {
        let service = service.expect("allocated");
        ips.push(service.text("spec.clusterIP").expect("set").to_owned());
        ports.push(service.at("spec.ports").expect("set")[0]["nodePort"].clone());
    }
    ips.sort();
    ips.dedup();
    assert_eq!(ips.len(), 14);
    ports.sort_by_key(Value::as_i64);
    ports.dedup();
    assert_eq!(ports.len(), 14);
    let error = w.create("late", spec()).await.expect_err("full");
    assert!(error.message.contains("range is full"), "{error}");
}

#[tokio::test]
async fn a_failed_or_dry_write_takes_nothing() {
    let w = world("10.0.0.0/24");
    let mut object =
        service("s", json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30007}]}));
    let held = w.services.allocate(&mut object.clone(), None, false).await.expect("allocated");
    assert_eq!(w.taken(), 1);
    let again = w.services.allocate(&mut object.clone(), None, false).await.err().expect("taken");
    assert_eq!(
        again.message,
        "Service \"s\" is invalid: spec.ports[0].nodePort: Invalid value: 30007: provided port is already allocated"
    );
    drop(held);
    w.settle(0).await;
    let dry = w.services.allocate(&mut object, None, true).await.expect("allocated");
    assert!(object.text("spec.clusterIP").is_some());
    dry.commit();
    w.settle(0).await;
    w.create("s", json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30007}]}))
        .await
        .expect("free again");
}

#[tokio::test]
async fn given_addresses_are_checked() {
    let w = world("10.0.0.0/24");
    w.create("a", json!({"clusterIP": "10.0.0.9"})).await.expect("free");
    for (ip, words) in [
        ("10.0.0.9", "provided IP is already allocated"),
        ("10.1.0.9", "the provided network does not match the current range"),
        ("10.0.0.0", "The range of valid IPs is 10.0.0.0/24"),
        ("fd00::1", "IPv6 is not configured on this cluster"),
        ("x", "must be a valid IP address"),
    ] {
        let error = w.create("b", json!({"clusterIP": ip})).await.expect_err("refused");
        assert!(error.message.contains(words), "{error}");
    }
    w.settle(1).await;
}

#[tokio::test]
async fn types_change_and_values_come_and_go() {
    let w = world("10.0.0.0/24");
    let old = w
        .create("s", json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 80}]}))
        .await
        .expect("allocated");
    assert!(old.int("spec.healthCheckNodePort").is_some_and(|p| p >= 30000));
    let mut new = service("s", json!({"type": "ExternalName", "externalName": "x.y"}));
    w.services.allocate(&mut new, Some(&old), false).await.expect("allocated").commit();
    w.put(&new).await;
    w.settle(0).await;
    assert_eq!(new.text("spec.clusterIP"), None);
    // All 32 node ports are free again.
    let ports: Vec<Value> =
        (0..32).map(|i| json!({"name": format!("p{i}"), "port": i + 1})).collect();
    w.create("t", json!({"type": "NodePort", "ports": ports})).await.expect("allocated");
    let mut back = service("s", json!({"type": "ClusterIP"}));
    w.services.allocate(&mut back, Some(&new), false).await.expect("allocated").commit();
    assert!(back.text("spec.clusterIP").is_some());
}

#[tokio::test]
async fn addresses_of_lost_services_come_back() {
    let w = world("10.0.0.0/24");
    // A crash between the address and its service: the address stays behind.
    let mut lost = service("lost", json!({"clusterIP": "10.0.0.5"}));
    let held = w.services.allocate(&mut lost, None, false).await.expect("allocated");
    std::mem::forget(held);
    w.create("kept", json!({"clusterIP": "10.0.0.6"})).await.expect("allocated");
    let restarted = ips::Ips::new(
        &w.store,
        ranges("10.0.0.0/24").expect("valid"),
        Clock::system(),
        Rng::seeded(5),
    );
    restarted.repair().await;
    assert_eq!(w.taken(), 1);
    assert!(restarted.take("10.0.0.5".parse().expect("valid"), ("a", "new"), false).await.is_ok());
    drop(w.ips);
}
