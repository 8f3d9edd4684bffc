//! The CNI plugin for real: a machine with pods, each a network namespace of the test's own.

mod support;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use isopod_network::cni::{self, Configuration};
use isopod_network::netlink::Socket;
use isopod_network::netlink::route;
use serde_json::{Value, json};
use support::Namespace;

struct Machine {
    host: Namespace,
    dir: tempfile::TempDir,
}

impl Machine {
    fn new(pod_cidr: &str) -> Option<Self> {
        let machine = Self { host: Namespace::new()?, dir: tempfile::tempdir().expect("a folder") };
        machine.configure(pod_cidr);
        Some(machine)
    }

    fn configure(&self, pod_cidr: &str) {
        let dir = self.dir.path();
        let cidr = pod_cidr.parse().expect("a range");
        let cluster = "10.42.0.0/16".parse().expect("a range");
        self.host
            .run(|| {
                cni::configure(&Configuration {
                    conf_dir: &dir.join("net.d"),
                    bin_dir: &dir.join("bin"),
                    state_dir: &dir.join("state"),
                    executable: Path::new("/usr/local/bin/isopod"),
                    pod_cidrs: &[cidr],
                    cluster_cidrs: &[cluster],
                    mtu: Some(1400),
                })
            })
            .expect("configures");
    }

    /// The plugin's own configuration, as a runtime hands it over.
    fn conf(&self, version: &str, ports: &Value) -> Vec<u8> {
        let list = std::fs::read(self.dir.path().join("net.d/10-isopod.conflist")).expect("there");
        let list: Value = serde_json::from_slice(&list).expect("JSON");
        let mut conf = list["plugins"][0].clone();
        conf["cniVersion"] = version.into();
        conf["name"] = list["name"].clone();
        conf["runtimeConfig"] = json!({"portMappings": ports});
        serde_json::to_vec(&conf).expect("JSON")
    }

    fn call(
        &self,
        command: &str,
        id: &str,
        netns: &str,
        ports: &Value,
    ) -> Result<Option<Value>, String> {
        let conf = self.conf("1.0.0", ports);
        let env = |name: &str| {
            Some(match name {
                "CNI_CONTAINERID" => id.to_owned(),
                "CNI_NETNS" => netns.to_owned(),
                "CNI_IFNAME" => "eth0".to_owned(),
                _ => return None,
            })
        };
        let (_, result) = self.host.run(|| cni::run(command, &conf, env));
        result.map_err(|e| format!("{}: {e}", e.code))
    }

    fn add(&self, id: &str, ports: &Value) -> (Namespace, IpAddr) {
        let pod = Namespace::new().expect("root");
        let result = self.call("ADD", id, &pod.path(), ports).expect("adds").expect("a result");
        let ip = result["ips"][0]["address"].as_str().expect("an address");
        (pod, ip.trim_end_matches("/32").parse().expect("an address"))
    }
}

/// Serves one connection: answers with the peer's address.
fn answer_once(namespace: &Namespace, port: u16) -> std::thread::JoinHandle<()> {
    let listener = namespace.run(|| TcpListener::bind(("0.0.0.0", port)).expect("binds"));
    std::thread::spawn(move || {
        let (mut stream, peer) = listener.accept().expect("a connection");
        stream.write_all(peer.ip().to_string().as_bytes()).expect("writes");
    })
}

fn ask(namespace: &Namespace, to: (IpAddr, u16)) -> String {
    namespace.run(|| {
        let mut stream = TcpStream::connect_timeout(&to.into(), Duration::from_secs(5))
            .unwrap_or_else(|e| panic!("connects to {to:?}: {e}"));
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("reads");
        text
    })
}

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

    // The outside: another namespace behind a link that no pod range is routed to.
    let outside = Namespace::new().expect("root");
    machine.host.run(|| {
        let socket = Socket::route().expect("opens");
        let far = std::fs::File::open(outside.path()).expect("opens");
        let mut w = isopod_network::netlink::Writer::new();
        let end = |name, last| route::VethEnd { name, mac: [2, 0, 0, 0, 0, last] };
        let fd = std::os::fd::AsRawFd::as_raw_fd(&far);
        route::add_veth(&mut w, end("up0", 1), end("eth0", 2), fd, 1500);
        socket.run(&w).expect("adds");
        let up = route::link_by_name(&socket, "up0").expect("asks").expect("there");
        let mut w = isopod_network::netlink::Writer::new();
        let here = "192.0.2.1".parse().expect("an address");
        route::add_address(&mut w, up.index, here, 24, 0);
        socket.run(&w).expect("adds");
    });
    outside.run(|| {
        let socket = Socket::route().expect("opens");
        let eth = route::link_by_name(&socket, "eth0").expect("asks").expect("there");
        let mut w = isopod_network::netlink::Writer::new();
        let here = "192.0.2.9".parse().expect("an address");
        route::set_up(&mut w, eth.index);
        route::add_address(&mut w, eth.index, here, 24, 0);
        socket.run(&w).expect("adds");
    });
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
