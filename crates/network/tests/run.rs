//! Proxy and DNS as they run: on a fake API server's objects, in a machine of the test's own, used
//! from its pods.

mod support;

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use api::clock::{Clock, Rng};
use api::resource::{ENDPOINT_SLICES, SERVICES};
use client::testing::FakeServer;
use client::{Informers, Shutdown};
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use isopod_network::netlink::Socket;
use isopod_network::netlink::nft::{self, Family};
use isopod_network::proxy::table::TABLE;
use isopod_network::{dns, proxy};
use serde_json::{Value, json};
use support::{Machine, Namespace, answer_once};

const DNS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 43, 0, 10));

fn service(name: &str, namespace: &str, ip: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip],
                 "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
    })
}

fn slice(service: &str, ready: &[IpAddr]) -> Value {
    let endpoints: Vec<Value> = ready
        .iter()
        .map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}, "nodeName": "here"}))
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": format!("{service}-1"), "namespace": "default",
                     "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4", "endpoints": endpoints,
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    })
}

/// Runs both on the machine until told to stop.
fn start(machine: &Machine, server: &FakeServer) -> (Shutdown, std::thread::JoinHandle<()>) {
    let (stop, server) = (Shutdown::new(), server.clone());
    let (stopped, here) = (stop.clone(), machine.host.another());
    let dir = machine.dir.path().to_owned();
    let thread = std::thread::spawn(move || {
        here.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let client = server.client();
                let informers = Informers::new(client.clone());
                let cidr = |text: &str| text.parse().expect("a range");
                let config = proxy::Config {
                    node_name: "here".into(),
                    cluster_cidrs: vec![cidr("10.42.0.0/16")],
                    service_cidrs: vec![cidr("10.43.0.0/16")],
                    answered_here: BTreeSet::from([DNS]),
                    health_address: Some(([127, 0, 0, 1], 10256).into()),
                    ..proxy::Config::default()
                };
                let names =
                    dns::Config { resolv_conf: dir.join("resolv.conf"), ..dns::Config::new(DNS) };
                let (clock, rng) = (Clock::system(), Rng::seeded(1));
                let (proxied, named) = tokio::join!(
                    proxy::run(
                        config,
                        client.clone(),
                        informers.clone(),
                        clock.clone(),
                        rng.clone(),
                        stopped.clone()
                    ),
                    dns::run(names, client, informers, clock, rng, stopped),
                );
                proxied.expect("the proxy ends well");
                named.expect("DNS ends well");
            });
        });
    });
    (stop, thread)
}

/// Asks until the answer is as wanted; `None` answers count as answers.
fn resolve(from: &Namespace, name: &str, wanted: impl Fn(&Message) -> bool + Sync) -> Message {
    from.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("binds");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("sets");
        socket.connect((DNS, 53)).expect("connects");
        let mut question = Message::new(5, MessageType::Query, OpCode::Query);
        let mut fqdn = Name::from_ascii(name).expect("a name");
        fqdn.set_fqdn(true);
        question.add_query(Query::query(fqdn, RecordType::A));
        let bytes = question.to_vec().expect("encodes");
        let until = Instant::now() + Duration::from_secs(15);
        while Instant::now() < until {
            let _ = socket.send(&bytes);
            let mut buf = [0; 1500];
            if let Ok(len) = socket.recv(&mut buf) {
                let reply = Message::from_vec(&buf[..len]).expect("decodes");
                if wanted(&reply) {
                    return reply;
                }
            }
        }
        panic!("{name}: no such answer");
    })
}

fn address_in(reply: &Message) -> Option<IpAddr> {
    reply.answers.iter().find_map(|r| r.data.ip_addr())
}

/// Connects until it comes to what is wanted.
fn connect(from: &Namespace, to: SocketAddr, wanted: Result<(), ErrorKind>) {
    from.run(|| {
        let (mut last, until) = (None, Instant::now() + Duration::from_secs(15));
        while Instant::now() < until {
            let result = TcpStream::connect_timeout(&to, Duration::from_millis(200));
            let result = result.map_err(|e| e.kind()).map(|mut stream| {
                let mut text = String::new();
                stream.read_to_string(&mut text).expect("reads");
            });
            if result == wanted {
                return;
            }
            last = Some(result);
        }
        panic!("{to}: wanted {wanted:?}, last came {last:?}");
    });
}

#[test]
fn services_and_names_follow_the_api() {
    let Some(machine) = Machine::new("10.42.7.0/24") else { return };
    let (pod, ip) = machine.add("a", &json!([]));
    let (client, _) = machine.add("b", &json!([]));
    let server = FakeServer::new(Clock::system());
    for name in ["default", "kube-system"] {
        server.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    }
    server.put(service("web", "default", "10.43.0.20"));
    server.put(slice("web", &[ip]));
    let (stop, thread) = start(&machine, &server);

    // The name leads to the service, the service to the pod: from a pod and from the machine.
    for from in [&client, &machine.host] {
        let reply = resolve(from, "web.default.svc.cluster.local", |r| address_in(r).is_some());
        let served = answer_once(&pod, 8080);
        connect(from, (address_in(&reply).expect("found"), 80).into(), Ok(()));
        served.join().expect("served");
    }
    // The DNS service has its object, the proxy has left its address alone, and other proxies are told
    // where it is answered.
    let told = || server.object(&ENDPOINT_SLICES, "kube-system", "kube-dns");
    resolve(&client, "kube-dns.kube-system.svc.cluster.local", |reply| {
        let endpoints = told().and_then(|slice| slice.at("endpoints").cloned());
        let here = json!([{"addresses": [DNS], "conditions": {"ready": true}}]);
        address_in(reply) == Some(DNS) && endpoints == Some(here)
    });

    // Changes arrive.
    let web: SocketAddr = "10.43.0.20:80".parse().expect("an address");
    server.put(slice("web", &[]));
    connect(&client, web, Err(ErrorKind::ConnectionRefused));
    server.put(slice("web", &[ip]));
    let served = answer_once(&pod, 8080);
    connect(&client, web, Ok(()));
    served.join().expect("served");

    // A firewall's reload flushes everything; the watchdog puts it back.
    machine.host.run(|| {
        let socket = Socket::netfilter().expect("opens");
        nft::delete_table(&socket, Family::V4, TABLE).expect("deletes");
    });
    server.put(service("other", "default", "10.43.0.30"));
    let served = answer_once(&pod, 8080);
    connect(&client, web, Ok(()));
    served.join().expect("served");

    server.remove(&SERVICES, "default", "web");
    server.remove(&ENDPOINT_SLICES, "default", "web-1");
    let gone = |r: &Message| r.metadata.response_code == ResponseCode::NXDomain;
    resolve(&client, "web.default.svc.cluster.local", gone);
    connect(&client, web, Err(ErrorKind::TimedOut));

    stop.cancel();
    thread.join().expect("stops");
    machine.host.run(|| {
        let socket = Socket::netfilter().expect("opens");
        assert!(nft::table_exists(&socket, Family::V4, TABLE).expect("asks"), "services stay");
        let range = |text: &str| text.parse().expect("a range");
        let state = machine.dir.path().join("state");
        let clean = || {
            isopod_network::cleanup::cleanup_in(
                &state,
                &[range("10.42.7.0/24")],
                &[range("10.43.0.0/16")],
                &[DNS],
            )
        };
        let report = clean();
        assert_eq!(report.failed, Vec::<String>::new());
        let removed = report.removed.join(", ");
        for what in ["link isop", "table isopod,", "isopod-pods", "10.42.7.1", "10.43.0.10"] {
            assert!(removed.contains(what), "{what} in {removed}");
        }
        let again = clean();
        assert!(again.failed.is_empty() && again.removed.is_empty(), "{again:?}");
    });
}
