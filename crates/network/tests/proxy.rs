//! The service proxy for real: its rules in a machine of the test's own, real TCP and UDP between
//! pods, the machine and the outside.

mod support;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use isopod_network::netlink::Socket;
use isopod_network::netlink::nft::{self, Family};
use isopod_network::objects::{EndpointSlice, Service};
use isopod_network::proxy::plan::{Node, ServicePlan, plan};
use isopod_network::proxy::route_services;
use isopod_network::proxy::stale::Suspects;
use isopod_network::proxy::state::State;
use isopod_network::proxy::table::{Layout, TABLE};
use serde_json::{Value, json};
use support::{Machine, Namespace};

const SERVICE_IP: &str = "10.43.0.20";

struct Proxy {
    state: State,
    socket: Socket,
}

impl Proxy {
    fn new(machine: &Machine) -> Self {
        let cidr = |text: &str| text.parse().expect("a range");
        let layout = Layout {
            cluster_cidrs: vec![cidr("10.42.0.0/16")],
            service_cidrs: vec![cidr("10.43.0.0/16")],
            masquerade_all: false,
        };
        let socket = machine.host.run(|| {
            route_services(cidr("10.43.0.0/16")).expect("routes");
            Socket::netfilter().expect("opens")
        });
        let state = State::new(Family::V4, layout);
        state.rebuild().commit(&socket).expect("builds");
        Self { state, socket }
    }

    fn set(&mut self, service: &Value, endpoints: &[Value]) {
        let service: Service = serde_json::from_value(service.clone()).expect("a service");
        let slice: EndpointSlice = serde_json::from_value(json!({
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "p", "port": 8080, "protocol": service.spec.ports[0].protocol}],
        }))
        .expect("a slice");
        let node = Node { name: "here".into(), ..Node::default() };
        let new = plan(Family::V4, &service, &[slice], &node);
        self.apply(&service.metadata.name, Some(new));
    }

    fn apply(&mut self, name: &str, new: Option<ServicePlan>) {
        let key = ("default".to_owned(), name.to_owned());
        let mut suspects = Suspects::default();
        suspects.note(self.state.plan(&key), new.as_ref());
        let change = self.state.take(vec![(key, new)]);
        self.state.transaction(&change).commit(&self.socket).expect("commits");
        suspects.clean(&self.socket, Family::V4).expect("cleans");
    }
}

fn service(more: Value) -> Value {
    let mut service = json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"clusterIP": SERVICE_IP, "ports": [{"name": "p", "port": 80, "protocol": "TCP"}]},
    });
    merge(&mut service["spec"], more);
    service
}

fn merge(into: &mut Value, more: Value) {
    for (key, value) in more.as_object().expect("a map") {
        into[key] = value.clone();
    }
}

fn ready(ip: IpAddr) -> Value {
    json!({"addresses": [ip], "nodeName": "here", "conditions": {"ready": true}})
}

/// A server that answers every connection with "its own name, client's address".
struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    fn start(namespace: &Namespace, name: &str) -> Self {
        let listener = namespace.run(|| TcpListener::bind("0.0.0.0:8080").expect("binds"));
        listener.set_nonblocking(true).expect("sets");
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, name) = (stop.clone(), name.to_owned());
        let thread = std::thread::spawn(move || {
            let listener = listener;
            let mut fds = [rustix::event::PollFd::new(&listener, rustix::event::PollFlags::IN)];
            while !stopped.load(Ordering::Relaxed) {
                let tick = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
                let _ = rustix::event::poll(&mut fds, Some(&tick));
                while let Ok((mut stream, peer)) = listener.accept() {
                    let _ = stream.write_all(format!("{name},{}", peer.ip()).as_bytes());
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn ask_at(to: &str, patience: Duration) -> std::io::Result<(String, String)> {
    let to: SocketAddr = to.parse().expect("an address");
    let mut stream = TcpStream::connect_timeout(&to, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (name, peer) = text.split_once(',').ok_or(ErrorKind::UnexpectedEof)?;
    Ok((name.to_owned(), peer.to_owned()))
}

fn ask(from: &Namespace, to: &str) -> (String, String) {
    from.run(|| ask_at(to, Duration::from_secs(5))).unwrap_or_else(|e| panic!("{to}: {e}"))
}

fn refused(from: &Namespace, to: &str) -> ErrorKind {
    from.run(|| ask_at(to, Duration::from_millis(500))).expect_err("is not served").kind()
}

fn counts(from: &Namespace, to: &str, tries: usize) -> BTreeMap<String, usize> {
    from.run(|| {
        let mut counts = BTreeMap::new();
        for _ in 0..tries {
            let (name, _) = ask_at(to, Duration::from_secs(5)).expect("is served");
            *counts.entry(name).or_insert(0) += 1;
        }
        counts
    })
}

struct World {
    machine: Machine,
    a: (Namespace, IpAddr),
    b: (Namespace, IpAddr),
    client: (Namespace, IpAddr),
}

impl World {
    fn new() -> Option<Self> {
        let machine = Machine::new("10.42.7.0/24")?;
        let none = json!([]);
        let (a, b, client) =
            (machine.add("a", &none), machine.add("b", &none), machine.add("c", &none));
        Some(Self { machine, a, b, client })
    }
}

#[test]
fn cluster_ip_from_pods_and_from_the_machine() {
    let Some(world) = World::new() else { return };
    let (World { machine, a, b, client }, url) = (&world, format!("{SERVICE_IP}:80"));
    let _servers = [Server::start(&a.0, "a"), Server::start(&b.0, "b")];
    let mut proxy = Proxy::new(machine);
    proxy.set(&service(json!({})), &[ready(a.1), ready(b.1)]);
    let counts = counts(&client.0, &url, 60);
    assert!(counts["a"] > 10 && counts["b"] > 10, "balanced: {counts:?}");
    let (_, peer) = ask(&client.0, &url);
    assert_eq!(peer, client.1.to_string(), "a pod's source is kept");
    ask(&machine.host, &url);

    // Hairpin: the only endpoint reaches itself through the service.
    proxy.set(&service(json!({})), &[ready(a.1)]);
    let (name, peer) = ask(&a.0, &url);
    assert_eq!(name, "a");
    assert_ne!(peer, a.1.to_string(), "masqueraded");

    // A port that the service does not have, and an address that no service has.
    assert_eq!(refused(&client.0, &format!("{SERVICE_IP}:81")), ErrorKind::ConnectionRefused);
    assert_eq!(refused(&machine.host, &format!("{SERVICE_IP}:81")), ErrorKind::ConnectionRefused);
    assert_eq!(refused(&client.0, "10.43.9.9:80"), ErrorKind::TimedOut);

    // Terminating endpoints serve while there are no ready ones.
    let leaving = json!({"addresses": [b.1], "nodeName": "here",
        "conditions": {"ready": false, "serving": true, "terminating": true}});
    proxy.set(&service(json!({})), &[ready(a.1), leaving.clone()]);
    assert_eq!(self::counts(&client.0, &url, 20).get("b"), None);
    proxy.set(&service(json!({})), &[leaving]);
    assert_eq!(ask(&client.0, &url).0, "b");

    // No endpoints: refused at once, on every side; again served as soon as there is one.
    proxy.set(&service(json!({})), &[]);
    for from in [&client.0, &machine.host] {
        assert_eq!(refused(from, &url), ErrorKind::ConnectionRefused);
    }
    proxy.set(&service(json!({})), &[ready(a.1)]);
    assert_eq!(ask(&client.0, &url).0, "a");
    proxy.apply("web", None);
    assert_eq!(refused(&client.0, &url), ErrorKind::TimedOut, "gone with its address");
}

#[test]
fn node_ports_and_policies() {
    let Some(world) = World::new() else { return };
    let World { machine, a, b, client } = &world;
    let outside = machine.outside();
    let _servers = [Server::start(&a.0, "a"), Server::start(&b.0, "b")];
    let mut proxy = Proxy::new(machine);
    let node_port = json!({
        "type": "NodePort", "externalIPs": ["198.51.100.7"],
        "ports": [{"name": "p", "port": 80, "protocol": "TCP", "nodePort": 30080}],
    });
    proxy.set(&service(node_port.clone()), &[ready(a.1)]);
    for from in [&outside, &client.0, &machine.host] {
        assert_eq!(ask(from, "192.0.2.1:30080").0, "a");
    }
    assert_eq!(ask(&outside, "192.0.2.1:30080").1, "10.42.7.1", "masqueraded");
    let route = |to: &str| {
        outside.run(|| {
            use isopod_network::netlink::{Writer, route};
            let socket = Socket::route().expect("opens");
            let link = route::link_by_name(&socket, "eth0").expect("asks").expect("there");
            let mut w = Writer::new();
            route::set_route(
                &mut w,
                &route::Route {
                    destination: (to.parse().expect("an address"), 32),
                    link: link.index,
                    gateway: Some("192.0.2.1".parse().expect("an address")),
                    source: None,
                    priority: 0,
                },
            );
            socket.run(&w).expect("routes");
        });
    };
    route("198.51.100.7");
    assert_eq!(ask(&outside, "198.51.100.7:80").0, "a", "an external address");

    // Local: the client's address is kept; other nodes' endpoints are not for the outside, but are
    // for pods and the machine.
    let mut local = node_port.clone();
    local["externalTrafficPolicy"] = "Local".into();
    proxy.set(&service(local.clone()), &[ready(a.1)]);
    assert_eq!(ask(&outside, "192.0.2.1:30080").1, "192.0.2.9", "source kept");
    let elsewhere = json!({"addresses": [a.1], "nodeName": "there", "conditions": {"ready": true}});
    proxy.set(&service(local), std::slice::from_ref(&elsewhere));
    assert_eq!(refused(&outside, "192.0.2.1:30080"), ErrorKind::TimedOut);
    assert_eq!(ask(&client.0, "192.0.2.1:30080").0, "a");
    assert_eq!(ask(&client.0, "192.0.2.1:30080").1, client.1.to_string());
    assert_eq!(ask(&machine.host, "192.0.2.1:30080").0, "a");

    // The same for cluster addresses.
    let internal = json!({"internalTrafficPolicy": "Local"});
    proxy.set(&service(internal.clone()), &[elsewhere.clone(), ready(b.1)]);
    assert_eq!(counts(&client.0, &format!("{SERVICE_IP}:80"), 20).get("a"), None);
    proxy.set(&service(internal), &[elsewhere]);
    assert_eq!(refused(&client.0, &format!("{SERVICE_IP}:80")), ErrorKind::TimedOut);

    // No endpoints: refused.
    proxy.set(&service(node_port), &[]);
    for from in [&outside, &client.0, &machine.host] {
        assert_eq!(refused(from, "192.0.2.1:30080"), ErrorKind::ConnectionRefused);
    }

    // A load balancer's address with source ranges.
    let mut balancer = service(json!({"loadBalancerSourceRanges": ["192.0.2.0/24"]}));
    balancer["status"] = json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.5"}]}});
    route("203.0.113.5");
    proxy.set(&balancer, &[ready(a.1)]);
    assert_eq!(ask(&outside, "203.0.113.5:80").0, "a");
    assert_eq!(refused(&client.0, "203.0.113.5:80"), ErrorKind::TimedOut);
    balancer["spec"]["loadBalancerSourceRanges"] = json!(["10.42.0.0/16"]);
    proxy.set(&balancer, &[ready(a.1)]);
    assert_eq!(refused(&outside, "203.0.113.5:80"), ErrorKind::TimedOut);
    assert_eq!(ask(&client.0, "203.0.113.5:80").0, "a");
}

#[test]
fn session_affinity() {
    let Some(world) = World::new() else { return };
    let World { machine, a, b, client } = &world;
    let _servers = [Server::start(&a.0, "a"), Server::start(&b.0, "b")];
    let mut proxy = Proxy::new(machine);
    let url = format!("{SERVICE_IP}:80");
    let sticky = |seconds: u64| {
        service(json!({
            "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": seconds}},
        }))
    };
    proxy.set(&sticky(100), &[ready(a.1), ready(b.1)]);
    let first = counts(&client.0, &url, 20);
    assert_eq!(first.len(), 1, "one client, one endpoint: {first:?}");
    let (stays, other) = if first.contains_key("a") { (a, b) } else { (b, a) };
    // The endpoint goes away: another one, and that one for good, even when the first returns.
    proxy.set(&sticky(100), &[ready(other.1)]);
    let second = counts(&client.0, &url, 5);
    assert_eq!(second.len(), 1);
    assert_ne!(first.keys().next(), second.keys().next());
    proxy.set(&sticky(100), &[ready(stays.1), ready(other.1)]);
    assert_eq!(counts(&client.0, &url, 20).keys().next(), second.keys().next());
    assert_eq!(counts(&client.0, &url, 20).len(), 1);
    // A machine's administrator lists rules; whatever we write must not trip that up.
    let listed =
        machine.host.run(|| std::process::Command::new("nft").args(["list", "ruleset"]).output());
    match listed {
        Err(_) => println!("nft is not installed: listing not tried"),
        Ok(listed) => {
            let text = String::from_utf8_lossy(&listed.stdout).into_owned();
            assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
            assert!(
                text.contains("remember-100") && text.contains("numgen random mod 2"),
                "{text}"
            );
            println!("{text}");
        }
    }
    // Without affinity: both again.
    proxy.set(&service(json!({})), &[ready(a.1), ready(b.1)]);
    assert_eq!(counts(&client.0, &url, 40).len(), 2);
}

/// Answers datagrams with its name.
fn udp_server(namespace: &Namespace, name: &'static str) -> UdpSocket {
    let socket = namespace.run(|| UdpSocket::bind("0.0.0.0:8080").expect("binds"));
    let server = socket.try_clone().expect("clones");
    std::thread::spawn(move || {
        let mut buf = [0; 64];
        while let Ok((len, peer)) = server.recv_from(&mut buf) {
            if &buf[..len] == b"stop" {
                break;
            }
            let _ = server.send_to(name.as_bytes(), peer);
        }
    });
    socket
}

#[test]
fn udp_flows_follow_their_endpoints() {
    let Some(world) = World::new() else { return };
    let World { machine, a, b, client } = &world;
    let _sockets = [udp_server(&a.0, "a"), udp_server(&b.0, "b")];
    let mut proxy = Proxy::new(machine);
    let udp = service(json!({"ports": [{"name": "p", "port": 53, "protocol": "UDP"}]}));
    let socket = client.0.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("binds");
        socket.connect((SERVICE_IP, 53)).expect("connects");
        socket
    });
    socket.set_read_timeout(Some(Duration::from_secs(2))).expect("sets");
    let exchange = || {
        let mut buf = [0; 16];
        socket.send(b"?")?;
        let len = socket.recv(&mut buf)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&buf[..len]).into_owned())
    };
    proxy.set(&udp, &[]);
    assert_eq!(exchange().expect_err("refused").kind(), ErrorKind::ConnectionRefused);
    proxy.set(&udp, &[ready(a.1)]);
    assert_eq!(exchange().expect("served"), "a", "the same socket after a refusal");
    // The same flow, never silent, after its endpoint changed.
    proxy.set(&udp, &[ready(b.1)]);
    assert_eq!(exchange().expect("served"), "b");
}

#[test]
fn a_rolling_update_loses_no_connection() {
    let Some(world) = World::new() else { return };
    let World { machine, a, b, client } = &world;
    let _servers = [Server::start(&a.0, "a"), Server::start(&b.0, "b")];
    let mut proxy = Proxy::new(machine);
    proxy.set(&service(json!({})), &[ready(a.1), ready(b.1)]);
    let done = AtomicBool::new(false);
    let (asked, updates, slowest) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            client.0.run(|| {
                let (mut asked, mut slowest) = (0, Duration::ZERO);
                while !done.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    ask_at(&format!("{SERVICE_IP}:80"), Duration::from_secs(3)).expect("is served");
                    slowest = slowest.max(begun.elapsed());
                    asked += 1;
                }
                (asked, slowest)
            })
        });
        let until = Instant::now() + Duration::from_secs(2);
        let mut updates = 0;
        while Instant::now() < until {
            for endpoints in [&[a.1][..], &[a.1, b.1], &[b.1], &[b.1, a.1]] {
                let endpoints: Vec<Value> = endpoints.iter().map(|ip| ready(*ip)).collect();
                proxy.set(&service(json!({})), &endpoints);
                updates += 1;
            }
        }
        done.store(true, Ordering::Relaxed);
        let (asked, slowest) = asking.join().expect("no connection failed");
        (asked, updates, slowest)
    });
    println!("{asked} connections during {updates} updates, the slowest took {slowest:?}");
    assert!(asked > 100 && updates > 100);
}

#[test]
fn ten_thousand_services() {
    let Some(world) = World::new() else { return };
    let World { machine, a, client, .. } = &world;
    let _server = Server::start(&a.0, "a");
    let mut proxy = Proxy::new(machine);
    let node = Node { name: "here".into(), ..Node::default() };
    let many = |i: u32| {
        let ip = IpAddr::from(u32::to_be_bytes(0x0A2B_1000 + i));
        let service: Service =
            serde_json::from_value(service(json!({"clusterIP": ip}))).expect("a service");
        let endpoints: Vec<Value> = (0..3)
            .map(|n| ready(IpAddr::from(u32::to_be_bytes(0x0A2A_0000 + (i * 3 + n) % 60_000))))
            .collect();
        let slice: EndpointSlice = serde_json::from_value(json!({
            "endpoints": endpoints, "ports": [{"name": "p", "port": 8080}]
        }))
        .expect("a slice");
        (("default".to_owned(), format!("s{i}")), Some(plan(Family::V4, &service, &[slice], &node)))
    };
    let plans: Vec<_> = (0..10_000).map(many).collect();
    let begun = Instant::now();
    proxy.state.take(plans);
    let taken = begun.elapsed();
    let batch = proxy.state.rebuild();
    let (built, bytes) = (begun.elapsed(), batch.len());
    batch.commit(&proxy.socket).expect("commits");
    println!(
        "first sync of 10,000 services with 30,000 endpoints: taken {taken:?}, built {built:?}, committed {:?}, {bytes} bytes",
        begun.elapsed()
    );
    let mut took: Vec<Duration> = (0..50)
        .map(|i| {
            let begun = Instant::now();
            if i % 2 == 0 {
                proxy.set(&service(json!({})), &[ready(a.1)]);
            } else {
                proxy.set(&service(json!({})), &[]);
            }
            begun.elapsed()
        })
        .collect();
    proxy.set(&service(json!({})), &[ready(a.1)]);
    assert_eq!(ask(&client.0, &format!("{SERVICE_IP}:80")).0, "a");
    took.sort();
    println!("an update among them: median {:?}, slowest {:?}", took[25], took[49]);
    assert!(took[25] < Duration::from_millis(10), "O(change), not O(services)");
    let endpoints = nft::elements(&proxy.socket, Family::V4, TABLE, "endpoints").expect("lists");
    assert_eq!(endpoints.len(), 30_001);
}
