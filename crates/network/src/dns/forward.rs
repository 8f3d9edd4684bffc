//! Questions about other domains: asked of the machine's resolvers, and remembered for a while.
//!
//! The servers of `resolv.conf` are tried in their order, each with a time limit, the whole round
//! twice; an answer too long for UDP is fetched over TCP. Equal questions under way share one
//! exchange, which also bounds a loop: a question that comes back to us waits for itself and ends
//! with the time limit, instead of multiplying.
//!
//! Not here: the cluster's own names.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::clock::Rng;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{Semaphore, broadcast};
use tokio::time::{Instant, timeout};

use super::metrics;

/// For one server to answer.
const SERVER_PATIENCE: Duration = Duration::from_secs(2);
/// For a client's question as a whole; clients ask again after five seconds.
const PATIENCE: Duration = Duration::from_secs(5);
const ROUNDS: usize = 2;
/// Exchanges under way at once.
const CONCURRENT: usize = 1000;
/// The most that is remembered, and for how long.
const CACHE_SIZE: usize = 4096;
const CACHE_TTL: u32 = 30;
/// What we tell servers that we can take over UDP.
const PAYLOAD: u16 = 1232;

/// Name in lower case, type, and whether DNSSEC records are wanted.
type Question = (Name, RecordType, bool);

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ForwardError {
    /// `resolv.conf` names no server that is not us.
    #[error("no name server in {0}")]
    NoServer(String),
    /// Nobody answered in time.
    #[error("no answer from {0}")]
    NoAnswer(String),
    /// Too much is under way.
    #[error("too many questions under way")]
    Busy,
}

type Shared = Result<Arc<Message>, ForwardError>;

struct Remembered {
    message: Arc<Message>,
    since: Instant,
    until: Instant,
}

/// The forwarder; clones share it.
#[derive(Clone)]
pub struct Forwarder {
    inner: Arc<Inner>,
}

struct Inner {
    resolv_conf: PathBuf,
    /// Our own addresses, never to be asked.
    own: Vec<IpAddr>,
    servers: Mutex<(Option<SystemTime>, Vec<SocketAddr>)>,
    cache: Mutex<HashMap<Question, Remembered>>,
    under_way: Mutex<HashMap<Question, broadcast::Sender<Shared>>>,
    permits: Semaphore,
    rng: Rng,
}

/// The servers in the text of a `resolv.conf`, but for our own addresses.
pub fn servers_in(text: &str, own: &[IpAddr]) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        // A zone (fe80::1%eth0) cannot be told to a socket by name; such servers are rare.
        let ip = words.next().and_then(|w| w.split('%').next()?.parse::<IpAddr>().ok());
        if let Some(ip) = ip.filter(|ip| !own.contains(ip)) {
            servers.push(SocketAddr::new(ip, 53));
        }
    }
    servers
}

impl Forwarder {
    /// A forwarder to the servers of a `resolv.conf`, which is read again when it changes.
    pub fn new(resolv_conf: PathBuf, own: Vec<IpAddr>, rng: Rng) -> Self {
        Self {
            inner: Arc::new(Inner {
                resolv_conf,
                own,
                servers: Mutex::default(),
                cache: Mutex::default(),
                under_way: Mutex::default(),
                permits: Semaphore::new(CONCURRENT),
                rng,
            }),
        }
    }

    /// A forwarder to given servers.
    pub fn to(servers: Vec<SocketAddr>, rng: Rng) -> Self {
        let forwarder = Self::new(PathBuf::new(), Vec::new(), rng);
        *forwarder.inner.servers.lock() = (None, servers);
        forwarder
    }

    /// Asks.
    pub async fn ask(&self, name: &Name, kind: RecordType, dnssec: bool) -> Shared {
        let question: Question = (name.to_lowercase(), kind, dnssec);
        if let Some(message) = self.inner.remembered(&question) {
            metrics::CACHE_HITS.inc();
            return Ok(message);
        }
        metrics::CACHE_MISSES.inc();
        let mut waiting = {
            let mut under_way = self.inner.under_way.lock();
            match under_way.get(&question) {
                Some(sender) => sender.subscribe(),
                None => {
                    let (sender, waiting) = broadcast::channel(1);
                    under_way.insert(question.clone(), sender);
                    let inner = self.inner.clone();
                    tokio::spawn(async move { inner.work(question).await });
                    waiting
                }
            }
        };
        match waiting.recv().await {
            Ok(result) => result,
            Err(_) => Err(ForwardError::Busy),
        }
    }
}

impl Inner {
    async fn work(&self, question: Question) {
        let result = match self.permits.try_acquire() {
            Ok(_permit) => self.exchange(&question).await.map(Arc::new),
            Err(_) => Err(ForwardError::Busy),
        };
        if let Ok(message) = &result {
            self.remember(&question, message);
        }
        let sender = self.under_way.lock().remove(&question);
        if let Some(sender) = sender {
            let _ = sender.send(result);
        }
    }

    fn servers(&self) -> Vec<SocketAddr> {
        let mut known = self.servers.lock();
        if self.resolv_conf.as_os_str().is_empty() {
            return known.1.clone();
        }
        let changed = std::fs::metadata(&self.resolv_conf).and_then(|m| m.modified()).ok();
        if changed != known.0 || changed.is_none() {
            let text = std::fs::read_to_string(&self.resolv_conf).unwrap_or_default();
            *known = (changed, servers_in(&text, &self.own));
        }
        known.1.clone()
    }

    async fn exchange(&self, question: &Question) -> Result<Message, ForwardError> {
        let servers = self.servers();
        if servers.is_empty() {
            return Err(ForwardError::NoServer(self.resolv_conf.display().to_string()));
        }
        let names = || {
            let all: Vec<String> = servers.iter().map(|s| s.ip().to_string()).collect();
            all.join(", ")
        };
        let rounds = async {
            let mut refusal = None;
            for server in (0..ROUNDS).flat_map(|_| &servers) {
                match timeout(SERVER_PATIENCE, self.ask_one(*server, question)).await {
                    Ok(Ok(message)) => match message.metadata.response_code {
                        // Another server may know better.
                        ResponseCode::ServFail | ResponseCode::Refused => refusal = Some(message),
                        _ => return Some(message),
                    },
                    Ok(Err(error)) => {
                        tracing::debug!(%server, %error, "name server");
                    }
                    Err(_) => tracing::debug!(%server, "name server: no answer"),
                }
            }
            refusal
        };
        match timeout(PATIENCE, rounds).await {
            Ok(Some(message)) => Ok(message),
            _ => {
                metrics::FORWARD_FAILURES.inc();
                Err(ForwardError::NoAnswer(names()))
            }
        }
    }

    async fn ask_one(&self, server: SocketAddr, question: &Question) -> std::io::Result<Message> {
        let begun = Instant::now();
        let id = u16::try_from(self.rng.next_u64() & 0xFFFF).unwrap_or(0);
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(question.0.clone(), question.1));
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD).set_dnssec_ok(question.2);
        message.set_edns(edns);
        let bytes = message.to_vec().map_err(std::io::Error::other)?;
        let mut answer = over_udp(server, &bytes, &message).await?;
        if answer.metadata.truncation {
            answer = over_tcp(server, &bytes, &message).await?;
        }
        metrics::FORWARD_SECONDS.observe(begun.elapsed().as_secs_f64());
        Ok(answer)
    }

    fn remembered(&self, question: &Question) -> Option<Arc<Message>> {
        let now = Instant::now();
        let mut cache = self.cache.lock();
        let found = cache.get(question)?;
        if found.until <= now {
            cache.remove(question);
            return None;
        }
        let age = u32::try_from(now.duration_since(found.since).as_secs()).unwrap_or(u32::MAX);
        if age == 0 {
            return Some(found.message.clone());
        }
        let mut message = (*found.message).clone();
        for section in [&mut message.answers, &mut message.authorities, &mut message.additionals] {
            for record in section {
                record.ttl = record.ttl.saturating_sub(age);
            }
        }
        Some(Arc::new(message))
    }

    fn remember(&self, question: &Question, message: &Arc<Message>) {
        let Some(ttl) = lifetime(message).filter(|ttl| *ttl > 0) else { return };
        let now = Instant::now();
        let mut cache = self.cache.lock();
        if cache.len() >= CACHE_SIZE {
            cache.retain(|_, r| r.until > now);
            if cache.len() >= CACHE_SIZE {
                // Full of what is still good: make room in no order, which needs no book-keeping.
                let some: Vec<Question> = cache.keys().take(CACHE_SIZE / 8).cloned().collect();
                some.iter().for_each(|q| drop(cache.remove(q)));
            }
        }
        let until = now + Duration::from_secs(u64::from(ttl));
        cache.insert(question.clone(), Remembered { message: message.clone(), since: now, until });
    }
}

/// How long an answer may be remembered, in seconds; `None` for errors.
fn lifetime(message: &Message) -> Option<u32> {
    let negative = || {
        message.authorities.iter().find_map(|r| match &r.data {
            RData::SOA(soa) => Some(soa.minimum.min(r.ttl)),
            _ => None,
        })
    };
    let ttl = match message.metadata.response_code {
        ResponseCode::NoError if !message.answers.is_empty() => {
            message.answers.iter().map(|r| r.ttl).min()
        }
        ResponseCode::NoError | ResponseCode::NXDomain => negative(),
        _ => None,
    };
    ttl.map(|ttl| ttl.min(CACHE_TTL))
}

/// Whether a message answers our question and not somebody else's.
fn answers(message: &Message, asked: &Message) -> bool {
    let same = |a: &Query, b: &Query| {
        a.name() == b.name() && a.query_type() == b.query_type() && a.query_class() == DNSClass::IN
    };
    message.metadata.id == asked.metadata.id
        && message.metadata.message_type == MessageType::Response
        && matches!((message.queries.as_slice(), asked.queries.as_slice()), ([a], [b]) if same(a, b))
}

async fn over_udp(server: SocketAddr, bytes: &[u8], asked: &Message) -> std::io::Result<Message> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // A port of its own for every question: harder to answer falsely.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buf = vec![0; 4096];
    loop {
        let len = socket.recv(&mut buf).await?;
        if let Ok(message) = Message::from_vec(&buf[..len])
            && answers(&message, asked)
        {
            return Ok(message);
        }
    }
}

async fn over_tcp(server: SocketAddr, bytes: &[u8], asked: &Message) -> std::io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let len = u16::try_from(bytes.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&len.to_be_bytes()[..], bytes].concat()).await?;
    let len = stream.read_u16().await?;
    let mut buf = vec![0; usize::from(len)];
    stream.read_exact(&mut buf).await?;
    let message = Message::from_vec(&buf).map_err(std::io::Error::other)?;
    if answers(&message, asked) {
        Ok(message)
    } else {
        Err(std::io::Error::other("an answer to another question"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf() {
        let text = "# comment\nnameserver 10.43.0.10\nnameserver 192.0.2.53\nsearch example\n\
                    nameserver fe80::1%eth0\nnameserver nonsense\n";
        let own = ["10.43.0.10".parse().expect("an address")];
        let servers: Vec<String> = servers_in(text, &own).iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.53:53", "[fe80::1]:53"]);
    }
}
