//! The CNI plugin for real: a machine with pods, each a network namespace of the test's own.

mod support;

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use isopod_network::cni;
use isopod_network::netlink::{Socket, route};
use serde_json::json;
use support::{Machine, Namespace, answer_once, ask};

#[test]
fn pods_reach_each_other_the_machine_and_the_outside() {
    let Some(machine) = Machine::new("10.42.7.0/24") else { return };
    let (a, a_ip) = machine.add("a", &json!([]));
    let (b, b_ip) = machine.add("b", &json!([]));

    let served = answer_once(&b, 80);
    assert_eq!(ask(&a, (b_ip, 80)), a_ip.to_string(), "pod to pod keeps the source");
    served.join().expect("served");

    let served = answer_once(&b, 80);
    assert_eq!(ask(&machine.host, (b_ip, 80)), "10.42.7.1", "machine to pod");
    served.join().expect("served");

    let gateway: IpAddr = "10.42.7.1".parse().expect("an address");
    let served = answer_once(&machine.host, 8080);
    assert_eq!(ask(&a, (gateway, 8080)), a_ip.to_string(), "pod to machine");
    served.join().expect("served");

    let outside = machine.outside();
    let served = answer_once(&outside, 80);
    let to = "192.0.2.9".parse().expect("an address");
    assert_eq!(ask(&a, (to, 80)), "192.0.2.1", "pod to outside is masqueraded");
    served.join().expect("served");
}

#[test]
fn check_and_delete_are_honest_and_repeatable() {
    let Some(machine) = Machine::new("10.42.7.0/24") else { return };
    let (pod, _) = machine.add("a", &json!([]));
    let none = json!([]);
    machine.call("CHECK", "a", &pod.path(), &none).expect("stands");
    machine.call("DEL", "a", &pod.path(), &none).expect("deletes");
    machine.call("DEL", "a", "", &none).expect("deletes again, without a namespace");
    let gone = machine.call("CHECK", "a", &pod.path(), &none).expect_err("is gone");
    assert!(gone.starts_with("103"), "{gone}");
    machine.call("DEL", "never-added", "", &none).expect("deletes what never was");
    let links = machine.host.run(|| route::links(&Socket::route().expect("opens")).expect("lists"));
    assert_eq!(links.iter().filter(|l| l.kind == "veth").count(), 0);
    let bad = machine.call("ADD", "a", "/nowhere", &none).expect_err("no such namespace");
    assert!(bad.contains("/nowhere"), "{bad}");
    let left = std::fs::read_dir(machine.dir.path().join("state/pods")).expect("there").count();
    assert_eq!(left, 0, "a failed ADD leaves nothing");
}

#[test]
fn host_ports_from_every_side() {
    let Some(machine) = Machine::new("10.42.7.0/24") else { return };
    let ports = json!([
        {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
        {"hostPort": 8081, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1"},
    ]);
    let (pod, ip) = machine.add("a", &ports);
    let (other, other_ip) = machine.add("b", &json!([]));
    let gateway: IpAddr = "10.42.7.1".parse().expect("an address");
    let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);

    let try_all = || {
        let served = answer_once(&pod, 80);
        assert_eq!(ask(&other, (gateway, 8080)), other_ip.to_string(), "another pod");
        served.join().expect("served");
        let served = answer_once(&pod, 80);
        assert_eq!(ask(&pod, (gateway, 8080)), "10.42.7.1", "the pod itself is masqueraded");
        served.join().expect("served");
        for (address, port) in [(gateway, 8080), (localhost, 8080), (localhost, 8081)] {
            let served = answer_once(&pod, 80);
            assert_eq!(ask(&machine.host, (address, port)), "10.42.7.1", "{address}:{port}");
            served.join().expect("served");
        }
    };
    try_all();
    // A restarted node puts the table up again with the host ports of running pods.
    machine.configure("10.42.7.0/24");
    try_all();
    machine.call("DEL", "a", &pod.path(), &ports).expect("deletes");
    let (again, again_ip) = machine.add("c", &ports);
    assert_ne!(again_ip, ip);
    let served = answer_once(&again, 80);
    assert_eq!(ask(&machine.host, (localhost, 8081)), "10.42.7.1", "the port is free again");
    served.join().expect("served");
}

#[test]
fn forty_pods_at_once() {
    let Some(machine) = Machine::new("10.42.7.0/24") else { return };
    let pods: Vec<Namespace> = (0..40).filter_map(|_| Namespace::new()).collect();
    let started = Instant::now();
    let mut took: Vec<Duration> = std::thread::scope(|scope| {
        let threads: Vec<_> = pods
            .iter()
            .enumerate()
            .map(|(i, pod)| {
                let machine = &machine;
                scope.spawn(move || {
                    let begun = Instant::now();
                    machine
                        .call("ADD", &format!("pod-{i}"), &pod.path(), &json!([]))
                        .expect("adds");
                    begun.elapsed()
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().expect("ran")).collect()
    });
    took.sort();
    println!("40 ADDs in {:?}, median {:?}, last {:?}", started.elapsed(), took[20], took[39]);
    let sender = pods[0].run(|| UdpSocket::bind("0.0.0.0:0").expect("binds"));
    let receiver = pods[39].run(|| UdpSocket::bind("0.0.0.0:9").expect("binds"));
    receiver.set_read_timeout(Some(Duration::from_secs(5))).expect("sets");
    let claims = cni::ipam::Pool::open(
        &machine.dir.path().join("state"),
        "10.42.7.0/24".parse().expect("a range"),
    )
    .and_then(|pool| pool.claims())
    .expect("readable");
    assert_eq!(claims.len(), 40);
    let (to, _) = claims.iter().find(|(_, owner)| owner == "pod-39@eth0").expect("claimed");
    sender.send_to(b"hello", (*to, 9)).expect("sends");
    let mut buf = [0; 16];
    assert_eq!(receiver.recv(&mut buf).expect("arrives"), 5);
}

#[test]
fn other_firewalls_and_flushes() {
    let Some(machine) = Machine::new("10.42.7.0/24") else { return };
    let nft = |words: &str| {
        machine.host.run(|| {
            let ran = std::process::Command::new("nft").args(words.split(' ')).output();
            ran.ok().map(|out| String::from_utf8_lossy(&out.stdout).into_owned())
        })
    };
    if nft("--version").is_none() {
        println!("skipped: nft is not installed");
        return;
    }
    let ports = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
    let (a, _) = machine.add("a", &json!([]));
    let (b, b_ip) = machine.add("b", &ports);
    let reach = |to| {
        let served = answer_once(&b, 80);
        ask(&a, to);
        served.join().expect("served");
    };
    reach((b_ip, 80));
    // As Docker leaves a machine.
    nft("add table ip filter");
    nft("add chain ip filter FORWARD { type filter hook forward priority 0 ; policy drop ; }");
    let state = machine.dir.path().join("state");
    let heal = || machine.host.run(|| cni::heal(&state)).expect("heals");
    heal();
    heal();
    reach((b_ip, 80));
    let rules = nft("list chain ip filter FORWARD").expect("lists");
    assert_eq!(rules.matches("isopod pods").count(), 2, "{rules}");
    // Everything flushed: host ports are back, Docker's own are not our business.
    nft("flush ruleset");
    heal();
    reach(("10.42.7.1".parse().expect("an address"), 8080));
    nft("add table ip filter");
    nft("add chain ip filter FORWARD { type filter hook forward priority 0 ; policy drop ; }");
    heal();
    let report = machine.host.run(|| isopod_network::cleanup::cleanup_in(&state, &[], &[], &[]));
    assert_eq!(report.failed, Vec::<String>::new());
    assert!(!nft("list ruleset").expect("lists").contains("isopod"), "nothing of ours stays");
}
