//! From bytes to bytes: questions over UDP and TCP, answered from the zone or forwarded.
//!
//! What the zone knows is answered in the receiving task itself, without a task or a wait. Not
//! here: what the answers are ([`super::answer`], [`super::forward`]).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::clock::Clock;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, RecordType};
use parking_lot::RwLock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::answer::{Domain, Outcome};
use super::forward::Forwarder;
use super::metrics;
use super::zone::Zone;

/// What fits in a datagram where the client does not say more.
const PLAIN_PAYLOAD: u16 = 512;
/// What we send at most over UDP: fits every path without fragments.
const MAX_PAYLOAD: u16 = 1232;
const TCP_CONNECTIONS: usize = 512;
const TCP_PATIENCE: Duration = Duration::from_secs(10);
/// Aliases followed within the cluster.
const ALIAS_DEPTH: usize = 8;

/// Answers questions; clones share everything.
#[derive(Clone)]
pub struct Server {
    /// The cluster's domain.
    pub domain: Arc<Domain>,
    /// What its names stand for.
    pub zone: Arc<RwLock<Zone>>,
    /// Who knows other names.
    pub forwarder: Forwarder,
    /// For serial numbers.
    pub clock: Clock,
}

/// A message on its way to its client.
enum Reply {
    Now(Message),
    /// The cluster does not know: whose answer has to be awaited, with the records so far.
    Later(Message, hickory_proto::rr::Name),
    Never,
}

impl Server {
    /// Serves until dropped.
    pub async fn serve(self, udp: UdpSocket, tcp: TcpListener) {
        tokio::join!(self.clone().serve_udp(Arc::new(udp)), self.serve_tcp(tcp));
    }

    async fn serve_udp(self, socket: Arc<UdpSocket>) {
        let mut buf = vec![0; 4096];
        loop {
            let (len, peer) = match socket.recv_from(&mut buf).await {
                Ok(received) => received,
                Err(error) => {
                    // Of an earlier answer that its client did not want any more.
                    tracing::trace!(%error, "dns over udp");
                    continue;
                }
            };
            let begun = Instant::now();
            let Ok(request) = Message::from_vec(&buf[..len]) else {
                if let Some(reply) = malformed(&buf[..len]) {
                    let _ = socket.try_send_to(&reply, peer);
                }
                continue;
            };
            let limit = payload(&request);
            match self.reply(&request, "udp") {
                Reply::Never => {}
                Reply::Now(message) => {
                    let bytes = encode(message, usize::from(limit));
                    metrics::SECONDS
                        .with_label_values(&["cluster"])
                        .observe(begun.elapsed().as_secs_f64());
                    if socket.try_send_to(&bytes, peer).is_err() {
                        let _ = socket.send_to(&bytes, peer).await;
                    }
                }
                Reply::Later(message, name) => {
                    let (server, socket) = (self.clone(), socket.clone());
                    tokio::spawn(async move {
                        let message = server.forward(message, name).await;
                        metrics::SECONDS
                            .with_label_values(&["."])
                            .observe(begun.elapsed().as_secs_f64());
                        let bytes = encode(message, usize::from(limit));
                        let _ = socket.send_to(&bytes, peer).await;
                    });
                }
            }
        }
    }

    async fn serve_tcp(self, listener: TcpListener) {
        let permits = Arc::new(Semaphore::new(TCP_CONNECTIONS));
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let server = self.clone();
            tokio::spawn(async move {
                if let Err(error) = server.converse(stream, peer).await {
                    tracing::trace!(%peer, %error, "dns over tcp");
                }
                drop(permit);
            });
        }
    }

    async fn converse(&self, mut stream: TcpStream, _peer: SocketAddr) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        loop {
            let mut buf = Vec::new();
            let read = async {
                let len = stream.read_u16().await?;
                buf.resize(usize::from(len), 0);
                stream.read_exact(&mut buf).await
            };
            match timeout(TCP_PATIENCE, read).await {
                Ok(Ok(_)) => {}
                // Closed, or idle for too long.
                _ => return Ok(()),
            }
            let bytes = match Message::from_vec(&buf) {
                Err(_) => match malformed(&buf) {
                    Some(reply) => reply,
                    None => return Ok(()),
                },
                Ok(request) => {
                    let message = match self.reply(&request, "tcp") {
                        Reply::Never => return Ok(()),
                        Reply::Now(message) => message,
                        Reply::Later(message, name) => self.forward(message, name).await,
                    };
                    encode(message, usize::from(u16::MAX))
                }
            };
            let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
            let framed = [&len.to_be_bytes()[..], &bytes].concat();
            timeout(TCP_PATIENCE, stream.write_all(&framed)).await??;
        }
    }

    fn reply(&self, request: &Message, transport: &str) -> Reply {
        if request.metadata.message_type != MessageType::Query {
            // Never answer answers: two servers could keep each other busy for ever.
            return Reply::Never;
        }
        let mut message = Message::response(request.metadata.id, request.metadata.op_code);
        message.metadata.recursion_desired = request.metadata.recursion_desired;
        message.metadata.recursion_available = true;
        message.queries.clone_from(&request.queries);
        if let Some(edns) = &request.edns {
            let mut own = Edns::new();
            own.set_max_payload(MAX_PAYLOAD).set_dnssec_ok(edns.flags().dnssec_ok);
            message.set_edns(own);
            if edns.version() > 0 {
                message.metadata.response_code = ResponseCode::BADVERS;
                return Reply::Now(message);
            }
        }
        let refuse = |mut message: Message, code| {
            message.metadata.response_code = code;
            Reply::Now(message)
        };
        if request.metadata.op_code != OpCode::Query {
            return refuse(message, ResponseCode::NotImp);
        }
        let [query] = request.queries.as_slice() else {
            return refuse(message, ResponseCode::FormErr);
        };
        let kind = query.query_type();
        metrics::REQUESTS.with_label_values(&[transport, &label(kind)]).inc();
        if query.query_class() != DNSClass::IN {
            return refuse(message, ResponseCode::Refused);
        }
        if matches!(kind, RecordType::AXFR | RecordType::IXFR) {
            return refuse(message, ResponseCode::NotImp);
        }
        self.look_up(message, query.name().clone(), kind)
    }

    /// Answers from the zone, following aliases within it.
    fn look_up(
        &self,
        mut message: Message,
        mut name: hickory_proto::rr::Name,
        kind: RecordType,
    ) -> Reply {
        let serial = u32::try_from(self.clock.micros() / 1_000_000).unwrap_or(u32::MAX);
        let zone = self.zone.read();
        for _ in 0..ALIAS_DEPTH {
            match self.domain.answer(&zone, &name, kind, serial) {
                Outcome::Found { answers, additionals } => {
                    message.add_answers(answers);
                    message.add_additionals(additionals);
                    message.metadata.authoritative = true;
                    return Reply::Now(message);
                }
                Outcome::Alias(record, target) => {
                    message.metadata.authoritative = true;
                    message.add_answer(*record);
                    name = target;
                }
                Outcome::Outside => return Reply::Later(message, name),
                negative => {
                    if negative == Outcome::NoName && message.answers.is_empty() {
                        message.metadata.response_code = ResponseCode::NXDomain;
                    }
                    message.metadata.authoritative = true;
                    message.authorities.extend(self.domain.authority(serial));
                    return Reply::Now(message);
                }
            }
        }
        message.metadata.response_code = ResponseCode::ServFail;
        Reply::Now(message)
    }

    async fn forward(&self, mut message: Message, name: hickory_proto::rr::Name) -> Message {
        let Some(kind) = message.queries.first().map(|q| q.query_type()) else { return message };
        let dnssec = message.edns.as_ref().is_some_and(|e| e.flags().dnssec_ok);
        match self.forwarder.ask(&name, kind, dnssec).await {
            Ok(answer) => {
                message.add_answers(answer.answers.iter().cloned());
                message.add_authorities(answer.authorities.iter().cloned());
                message.add_additionals(answer.additionals.iter().cloned());
                message.metadata.response_code = answer.metadata.response_code;
            }
            // An alias of ours stands even where its target cannot be resolved.
            Err(_) if !message.answers.is_empty() => {}
            Err(error) => {
                tracing::debug!(%name, %error, "forwarding");
                message.metadata.response_code = ResponseCode::ServFail;
            }
        }
        message
    }
}

/// How much the client takes over UDP.
fn payload(request: &Message) -> u16 {
    let asked = request.edns.as_ref().map_or(PLAIN_PAYLOAD, Edns::max_payload);
    asked.clamp(PLAIN_PAYLOAD, MAX_PAYLOAD)
}

/// Bounded label values: what anybody may ask for must not grow the metric.
fn label(kind: RecordType) -> String {
    match kind {
        RecordType::A
        | RecordType::AAAA
        | RecordType::SRV
        | RecordType::PTR
        | RecordType::TXT
        | RecordType::NS
        | RecordType::SOA
        | RecordType::MX
        | RecordType::CNAME
        | RecordType::ANY => kind.to_string(),
        _ => "other".to_owned(),
    }
}

/// The bytes of an answer, cut to what the client takes: additional records go first, as nobody
/// depends on them; then the answer is marked as truncated and the client asks again over TCP.
fn encode(mut message: Message, limit: usize) -> Vec<u8> {
    let code = message.metadata.response_code;
    metrics::RESPONSES.with_label_values(&[code_name(code)]).inc();
    let fits = |message: &Message| message.to_vec().ok().filter(|bytes| bytes.len() <= limit);
    if let Some(bytes) = fits(&message) {
        return bytes;
    }
    message.additionals.clear();
    if let Some(bytes) = fits(&message) {
        return bytes;
    }
    message.metadata.truncation = true;
    message.authorities.clear();
    while !message.answers.is_empty() {
        message.answers.truncate(message.answers.len() / 2);
        if let Some(bytes) = fits(&message) {
            return bytes;
        }
    }
    message.to_vec().unwrap_or_default()
}

fn code_name(code: ResponseCode) -> &'static str {
    match code {
        ResponseCode::NoError => "NOERROR",
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::NotImp => "NOTIMP",
        ResponseCode::Refused => "REFUSED",
        _ => "other",
    }
}

/// The answer to what is no message: a format error, where at least the header of a query is there.
fn malformed(bytes: &[u8]) -> Option<Vec<u8>> {
    let head = bytes.get(..12)?;
    if head[2] & 0x80 != 0 {
        return None;
    }
    let id = u16::from_be_bytes([head[0], head[1]]);
    Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().ok()
}
