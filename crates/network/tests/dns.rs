//! Cluster DNS: names by the specification, and a real server over UDP and TCP with a real (small)
//! resolver behind it.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use api::clock::{Clock, Rng};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use isopod_network::dns::answer::{Domain, Outcome};
use isopod_network::dns::forward::Forwarder;
use isopod_network::dns::server::Server;
use isopod_network::dns::zone::Zone;
use parking_lot::RwLock;
use serde_json::{Value, json};

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).expect("a name");
    name.set_fqdn(true);
    name
}

fn zone() -> Zone {
    let mut zone = Zone::default();
    zone.set_namespace("default", true);
    zone.set_namespace("empty", true);
    let service = |zone: &mut Zone, name: &str, spec: Value| {
        let value = json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec});
        zone.set_service(&serde_json::from_value(value).expect("a service"));
    };
    let ports =
        json!([{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]);
    service(&mut zone, "web", json!({"clusterIP": "10.43.0.20", "ports": ports}));
    service(
        &mut zone,
        "dual",
        json!({"clusterIP": "10.43.0.21", "clusterIPs": ["10.43.0.21", "fd00::21"], "ports": []}),
    );
    service(&mut zone, "db", json!({"clusterIP": "None", "ports": ports}));
    service(&mut zone, "lonely", json!({"clusterIP": "None"}));
    service(&mut zone, "away", json!({"type": "ExternalName", "externalName": "example.org"}));
    service(
        &mut zone,
        "around",
        json!({"type": "ExternalName", "externalName": "web.default.svc.cluster.local"}),
    );
    let slice = json!({
        "metadata": {"name": "db-1", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "db"}},
        "endpoints": [
            {"addresses": ["10.42.0.7"], "hostname": "db-0", "conditions": {"ready": true}},
            {"addresses": ["10.42.0.8"], "conditions": {"ready": true}},
            {"addresses": ["10.42.0.9"], "conditions": {"ready": false}},
        ],
        "ports": [{"name": "http", "port": 8080}],
    });
    zone.set_slice(&serde_json::from_value(slice).expect("a slice"));
    zone
}

fn show(outcome: &Outcome) -> String {
    let data = |records: &[Record]| {
        let mut all: Vec<String> = records.iter().map(|r| r.data.to_string()).collect();
        all.sort();
        all.join(" | ")
    };
    match outcome {
        Outcome::Found { answers, additionals } if additionals.is_empty() => data(answers),
        Outcome::Found { answers, additionals } => {
            format!("{} + {}", data(answers), data(additionals))
        }
        Outcome::NoData => "no data".into(),
        Outcome::NoName => "no name".into(),
        Outcome::Alias(_, target) => format!("-> {target}"),
        Outcome::Outside => "outside".into(),
    }
}

#[test]
fn names_by_the_specification() {
    let domain = Domain::new("cluster.local", IpAddr::V4(Ipv4Addr::new(10, 43, 0, 10)));
    let (domain, zone) = (domain.expect("a domain"), zone());
    let table: &[(&str, RecordType, &str)] = &[
        ("web.default.svc.cluster.local", RecordType::A, "10.43.0.20"),
        ("WEB.Default.svc.Cluster.Local", RecordType::A, "10.43.0.20"),
        ("web.default.svc.cluster.local", RecordType::AAAA, "no data"),
        ("web.default.svc.cluster.local", RecordType::TXT, "no data"),
        ("dual.default.svc.cluster.local", RecordType::AAAA, "fd00::21"),
        ("no.default.svc.cluster.local", RecordType::A, "no name"),
        ("web.no.svc.cluster.local", RecordType::A, "no name"),
        ("db.default.svc.cluster.local", RecordType::A, "10.42.0.7 | 10.42.0.8"),
        ("db-0.db.default.svc.cluster.local", RecordType::A, "10.42.0.7"),
        ("10-42-0-8.db.default.svc.cluster.local", RecordType::A, "10.42.0.8"),
        ("10-42-0-9.db.default.svc.cluster.local", RecordType::A, "no name"),
        ("lonely.default.svc.cluster.local", RecordType::A, "no name"),
        (
            "_http._tcp.web.default.svc.cluster.local",
            RecordType::SRV,
            "0 100 80 web.default.svc.cluster.local. + 10.43.0.20",
        ),
        ("_dns._tcp.web.default.svc.cluster.local", RecordType::SRV, "no name"),
        (
            "_dns._udp.web.default.svc.cluster.local",
            RecordType::SRV,
            "0 100 53 web.default.svc.cluster.local. + 10.43.0.20",
        ),
        (
            "_http._tcp.db.default.svc.cluster.local",
            RecordType::SRV,
            "0 50 8080 10-42-0-8.db.default.svc.cluster.local. \
             | 0 50 8080 db-0.db.default.svc.cluster.local. + 10.42.0.7 | 10.42.0.8",
        ),
        ("away.default.svc.cluster.local", RecordType::A, "-> example.org."),
        ("away.default.svc.cluster.local", RecordType::CNAME, "example.org."),
        ("10-42-0-77.default.pod.cluster.local", RecordType::A, "10.42.0.77"),
        ("10-42-0-77.no.pod.cluster.local", RecordType::A, "no name"),
        ("nonsense.default.pod.cluster.local", RecordType::A, "no name"),
        ("20.0.43.10.in-addr.arpa", RecordType::PTR, "web.default.svc.cluster.local."),
        ("7.0.42.10.in-addr.arpa", RecordType::PTR, "db-0.db.default.svc.cluster.local."),
        ("9.0.42.10.in-addr.arpa", RecordType::PTR, "outside"),
        ("dns-version.cluster.local", RecordType::TXT, "1.1.0"),
        ("default.svc.cluster.local", RecordType::A, "no data"),
        ("no.svc.cluster.local", RecordType::A, "no name"),
        ("svc.cluster.local", RecordType::A, "no data"),
        ("nothing.cluster.local", RecordType::A, "no name"),
        ("cluster.local", RecordType::NS, "ns.dns.cluster.local. + 10.43.0.10"),
        ("ns.dns.cluster.local", RecordType::A, "10.43.0.10"),
        ("example.org", RecordType::A, "outside"),
        ("local", RecordType::A, "outside"),
    ];
    for (question, kind, expected) in table {
        let outcome = domain.answer(&zone, &name(question), *kind, 1);
        assert_eq!(show(&outcome), *expected, "{question} {kind}");
    }
}

#[test]
fn the_zone_follows_changes() {
    let domain = Domain::new("cluster.local", IpAddr::V4(Ipv4Addr::new(10, 43, 0, 10)));
    let (domain, mut zone) = (domain.expect("a domain"), zone());
    let ask =
        |zone: &Zone, question: &str, kind| show(&domain.answer(zone, &name(question), kind, 1));
    zone.remove_slice("default", "db-1");
    assert_eq!(ask(&zone, "db.default.svc.cluster.local", RecordType::A), "no name");
    assert_eq!(ask(&zone, "7.0.42.10.in-addr.arpa", RecordType::PTR), "outside");
    let moved = json!({"metadata": {"name": "web", "namespace": "default"},
        "spec": {"clusterIP": "10.43.0.99"}});
    zone.set_service(&serde_json::from_value(moved).expect("a service"));
    assert_eq!(ask(&zone, "web.default.svc.cluster.local", RecordType::A), "10.43.0.99");
    assert_eq!(ask(&zone, "20.0.43.10.in-addr.arpa", RecordType::PTR), "outside");
    zone.remove_service("default", "web");
    assert_eq!(ask(&zone, "web.default.svc.cluster.local", RecordType::A), "no name");
    assert_eq!(ask(&zone, "99.0.43.10.in-addr.arpa", RecordType::PTR), "outside");
}

/// A resolver that knows `example.org` and a long text, and counts questions. `None` answers: it
/// keeps silent.
fn resolver(silent: bool) -> (SocketAddr, Arc<AtomicUsize>) {
    let tcp = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = tcp.local_addr().expect("an address");
    let udp = UdpSocket::bind(address).expect("binds");
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let answer = |bytes: &[u8], over_tcp: bool| {
        let request = Message::from_vec(bytes).expect("a question");
        let question = request.queries[0].clone();
        let mut reply = Message::response(request.metadata.id, OpCode::Query);
        reply.add_query(question.clone());
        let record = |data| Record::from_rdata(question.name().clone(), 60, data);
        match question.name().to_ascii().as_str() {
            "example.org." => {
                reply.add_answer(record(RData::A(A(Ipv4Addr::new(192, 0, 2, 80)))));
            }
            "long.example.org." if over_tcp => {
                let text = vec!["x".repeat(250); 20];
                reply.add_answer(record(RData::TXT(TXT::new(text))));
            }
            "long.example.org." => reply.metadata.truncation = true,
            _ => reply.metadata.response_code = ResponseCode::NXDomain,
        }
        reply.to_vec().expect("encodes")
    };
    std::thread::spawn(move || {
        let mut buf = [0; 2048];
        while let Ok((len, peer)) = udp.recv_from(&mut buf) {
            counter.fetch_add(1, Ordering::SeqCst);
            if !silent {
                let _ = udp.send_to(&answer(&buf[..len], false), peer);
            }
        }
    });
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut len = [0; 2];
            stream.read_exact(&mut len).expect("reads");
            let mut bytes = vec![0; usize::from(u16::from_be_bytes(len))];
            stream.read_exact(&mut bytes).expect("reads");
            let reply = answer(&bytes, true);
            let len = u16::try_from(reply.len()).expect("fits");
            stream.write_all(&[&len.to_be_bytes()[..], &reply].concat()).expect("writes");
        }
    });
    (address, asked)
}

/// A server with the test's zone on a port of its own.
fn serve(upstream: Vec<SocketAddr>) -> (SocketAddr, tokio::runtime::Runtime) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let address = runtime.block_on(async {
        let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = tcp.local_addr().expect("an address");
        let udp = tokio::net::UdpSocket::bind(address).await.expect("binds");
        let server = Server {
            domain: Arc::new(Domain::new("cluster.local", address.ip()).expect("a domain")),
            zone: Arc::new(RwLock::new(zone())),
            forwarder: Forwarder::to(upstream, Rng::seeded(1)),
            clock: Clock::system(),
        };
        tokio::spawn(server.serve(udp, tcp));
        address
    });
    (address, runtime)
}

fn question(text: &str, kind: RecordType, edns: Option<u16>) -> Message {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name(text), kind));
    if let Some(size) = edns {
        let mut edns = Edns::new();
        edns.set_max_payload(size);
        message.set_edns(edns);
    }
    message
}

fn ask_udp(server: SocketAddr, message: &Message) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
    socket.set_read_timeout(Some(Duration::from_secs(8))).expect("sets");
    socket.connect(server).expect("connects");
    socket.send(&message.to_vec().expect("encodes")).expect("sends");
    let mut buf = [0; 4096];
    let len = socket.recv(&mut buf).expect("an answer");
    Message::from_vec(&buf[..len]).expect("decodes")
}

fn ask_tcp(server: SocketAddr, messages: &[Message]) -> Vec<Message> {
    let mut stream = TcpStream::connect(server).expect("connects");
    for message in messages {
        let bytes = message.to_vec().expect("encodes");
        let len = u16::try_from(bytes.len()).expect("fits");
        stream.write_all(&[&len.to_be_bytes()[..], &bytes].concat()).expect("writes");
    }
    let read = |stream: &mut TcpStream| {
        let mut len = [0; 2];
        stream.read_exact(&mut len).expect("reads");
        let mut bytes = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut bytes).expect("reads");
        Message::from_vec(&bytes).expect("decodes")
    };
    messages.iter().map(|_| read(&mut stream)).collect()
}

#[test]
fn a_server_over_udp_and_tcp() {
    let (upstream, asked) = resolver(false);
    let (server, _runtime) = serve(vec![upstream]);
    let web = question("Web.default.svc.cluster.local", RecordType::A, None);
    let reply = ask_udp(server, &web);
    assert_eq!(reply.metadata.id, 77);
    assert!(reply.metadata.authoritative && reply.metadata.recursion_available);
    assert_eq!(reply.answers.len(), 1);
    assert_eq!(reply.answers[0].ttl, 5);
    assert!(reply.answers[0].name.eq_case(&name("Web.default.svc.cluster.local")), "as asked");

    let missing = ask_udp(server, &question("no.default.svc.cluster.local", RecordType::A, None));
    assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(missing.authorities[0].record_type(), RecordType::SOA);
    let empty = ask_udp(server, &question("web.default.svc.cluster.local", RecordType::AAAA, None));
    assert_eq!(empty.metadata.response_code, ResponseCode::NoError);
    assert!(empty.answers.is_empty() && empty.authorities.len() == 1);

    // Forwarded, and remembered.
    let org = question("example.org", RecordType::A, Some(1232));
    for _ in 0..3 {
        let reply = ask_udp(server, &org);
        assert_eq!(reply.answers[0].data.ip_addr(), Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 80))));
        assert!(!reply.metadata.authoritative);
        assert!(reply.edns.is_some(), "who speaks EDNS is answered in EDNS");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);

    // An alias is resolved, inside and outside.
    let away = ask_udp(server, &question("away.default.svc.cluster.local", RecordType::A, None));
    let kinds: Vec<RecordType> = away.answers.iter().map(Record::record_type).collect();
    assert_eq!(kinds, [RecordType::CNAME, RecordType::A]);
    let around =
        ask_udp(server, &question("around.default.svc.cluster.local", RecordType::A, None));
    assert_eq!(around.answers.len(), 2);

    // Too long for UDP: marked, and whole over TCP; two questions on one connection.
    let long = question("long.example.org", RecordType::TXT, Some(1232));
    let cut = ask_udp(server, &long);
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    let both = ask_tcp(server, &[long, web]);
    assert!(!both[0].metadata.truncation);
    assert_eq!(both[0].answers.len(), 1);
    assert_eq!(both[1].answers.len(), 1);
}

#[test]
fn the_second_resolver_answers_where_the_first_is_silent() {
    let ((silent, asked), (good, _)) = (resolver(true), resolver(false));
    let (server, _runtime) = serve(vec![silent, good]);
    let begun = Instant::now();
    let reply = ask_udp(server, &question("example.org", RecordType::A, None));
    assert_eq!(reply.answers.len(), 1);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert!(begun.elapsed() < Duration::from_secs(4));
}

#[test]
fn a_loop_ends_and_bad_questions_are_answered() {
    // A server that forwards to itself, by way of an address it does not know to be its own.
    let tcp = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = tcp.local_addr().expect("an address");
    let udp = UdpSocket::bind(address).expect("binds");
    udp.set_nonblocking(true).expect("sets");
    tcp.set_nonblocking(true).expect("sets");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let asked = std::thread::spawn(move || {
        let started = Instant::now();
        let reply = ask_udp(address, &question("example.org", RecordType::A, None));
        assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
        assert!(started.elapsed() < Duration::from_secs(6));
        let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
        socket.connect(address).expect("connects");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("sets");
        socket.send(&[0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xff]).expect("sends");
        let mut buf = [0; 512];
        let len = socket.recv(&mut buf).expect("an answer");
        let reply = Message::from_vec(&buf[..len]).expect("decodes");
        assert_eq!((reply.metadata.id, reply.metadata.response_code), (9, ResponseCode::FormErr));
    });
    runtime.block_on(async move {
        let udp = tokio::net::UdpSocket::from_std(udp).expect("takes");
        let tcp = tokio::net::TcpListener::from_std(tcp).expect("takes");
        let server = Server {
            domain: Arc::new(Domain::new("cluster.local", address.ip()).expect("a domain")),
            zone: Arc::new(RwLock::new(zone())),
            forwarder: Forwarder::to(vec![address], Rng::seeded(1)),
            clock: Clock::system(),
        };
        let serving = tokio::spawn(server.serve(udp, tcp));
        tokio::task::spawn_blocking(move || asked.join().expect("answered")).await.expect("ran");
        serving.abort();
    });
}
