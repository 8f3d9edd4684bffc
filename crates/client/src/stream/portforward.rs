//! Port-forward: pairs of data and error streams to ports of a pod, over either framing.
//!
//! Not here: reaching the ports.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;

use super::handshake::{Framing, Use, request_spdy, request_websocket};
use super::spdy::{Session, Stream};
use super::websocket::{Channels, Style, tunnel, wrap};
use super::{BoxRead, BoxWrite};
use crate::client::Client;
use crate::error::Error;
use crate::transport::Io;

/// One forwarded connection, at the pod's end.
pub struct Forward {
    /// The pod's port.
    pub port: u16,
    /// What comes from the client.
    pub read: BoxRead,
    /// What goes to the client.
    pub write: BoxWrite,
    /// Tells what went wrong; empty is success.
    pub error: BoxWrite,
}

impl Forward {
    /// Copies between the client and a connection to the port, to the end of both directions.
    pub async fn serve(mut self, mut connection: impl Io) {
        let mut client = tokio::io::join(&mut self.read, &mut self.write);
        let copied = copy_bidirectional(&mut client, &mut connection).await;
        let _ = self.write.shutdown().await;
        if let Err(error) = copied {
            tracing::debug!(port = self.port, "port-forward ended: {error}");
        }
        let _ = self.error.shutdown().await;
    }

    /// Tells the client that the port cannot be reached.
    pub async fn fail(mut self, why: &str) {
        let _ = self.error.write_all(why.as_bytes()).await;
        let _ = self.error.shutdown().await;
        let _ = self.write.shutdown().await;
    }
}

/// The pod's end of a port-forward connection: an iterator of forwarded connections.
pub struct Forwards {
    queue: mpsc::Receiver<Forward>,
    closed: CancellationToken,
    link: Link,
}

enum Link {
    /// The session lives in the task that pairs its streams.
    Spdy,
    WebSocket {
        _channels: Channels,
    },
}

impl Forwards {
    /// The next forwarded connection; `None` when the client has gone.
    pub async fn next(&mut self) -> Option<Forward> {
        let next = self.queue.recv().await;
        if next.is_none() {
            // The queue of a WebSocket ends at once; its connections last as long as the socket.
            self.closed.cancelled().await;
        }
        next
    }

    /// A token that is cancelled when the client is gone.
    pub fn closed_token(&self) -> CancellationToken {
        self.closed.clone()
    }
}

impl Drop for Forwards {
    fn drop(&mut self) {
        if matches!(self.link, Link::Spdy) {
            self.closed.cancel();
        }
    }
}

/// Serves an upgraded connection; `ports` are those of the query, which WebSocket channels stand for.
pub async fn serve(io: Box<dyn Io>, framing: Framing, ports: &[u16]) -> Result<Forwards, Error> {
    let session = match framing {
        Framing::Spdy { .. } => Session::server(io)?,
        Framing::Tunnel => Session::server(tunnel(io, Role::Server).await?)?,
        Framing::WebSocket { base64, .. } => return websocket(io, base64, ports).await,
    };
    let (sender, queue) = mpsc::channel(16);
    let closed = session.closed_token();
    tokio::spawn(pair(session, sender));
    Ok(Forwards { queue, closed, link: Link::Spdy })
}

/// Pairs data and error streams of the same request.
async fn pair(session: Session, forwards: mpsc::Sender<Forward>) {
    let mut halves: HashMap<String, Stream> = HashMap::new();
    while let Some(stream) = session.accept().await {
        let port = stream.header("port").and_then(|p| p.parse::<u16>().ok()).filter(|p| *p > 0);
        let kind = stream.header("streamtype").unwrap_or_default().to_owned();
        let (Some(port), "data" | "error") = (port, kind.as_str()) else {
            tracing::debug!(headers = ?stream.headers(), "not a port-forward stream");
            continue;
        };
        let request = stream.header("requestid").unwrap_or_default().to_owned();
        // Before there were request ids, an error stream was followed by its data stream.
        let other = match halves.remove(&request) {
            Some(other) if other.header("streamtype") != Some(&kind) => other,
            _ => {
                halves.insert(request, stream);
                continue;
            }
        };
        let (data, error) = if kind == "data" { (stream, other) } else { (other, stream) };
        let (read, write) = tokio::io::split(data);
        let forward =
            Forward { port, read: Box::new(read), write: Box::new(write), error: Box::new(error) };
        if forwards.send(forward).await.is_err() {
            return;
        }
    }
    // Streams that are still in use end with the connection.
    session.closed().await;
}

async fn websocket(io: Box<dyn Io>, base64: bool, ports: &[u16]) -> Result<Forwards, Error> {
    let count = u8::try_from(ports.len() * 2).ok().filter(|c| *c > 0 && *c < 250);
    let count = count.ok_or_else(|| Error::Protocol("no ports, or too many".into()))?;
    let read: Vec<u8> = (0..count).collect();
    let style = Style { base64, closes: false, may_close: false };
    let mut channels = Channels::start(wrap(io, Role::Server).await, style, &read);
    let (sender, queue) = mpsc::channel(ports.len());
    for (port, channel) in ports.iter().zip((0..count).step_by(2)) {
        let (mut write, mut error) = (channels.writer(channel), channels.writer(channel + 1));
        let Some(read) = channels.reader(channel) else { continue };
        // The first two bytes of each channel repeat the port.
        for writer in [&mut write, &mut error] {
            writer
                .write_all(&port.to_le_bytes())
                .await
                .map_err(|e| Error::transport("port-forward", e))?;
        }
        let forward = Forward {
            port: *port,
            read: Box::new(read),
            write: Box::new(write),
            error: Box::new(error),
        };
        let _ = sender.try_send(forward);
    }
    Ok(Forwards {
        queue,
        closed: channels.closed_token(),
        link: Link::WebSocket { _channels: channels },
    })
}

/// The ports in a request's query (`ports=80&ports=81` or `port=80`).
pub fn ports_of_query(query: &str) -> Vec<u16> {
    let values = query.split('&').filter_map(|pair| pair.split_once('='));
    let values = values.filter(|(name, _)| matches!(*name, "ports" | "port"));
    values.flat_map(|(_, v)| v.split(',')).filter_map(|p| p.parse().ok()).collect()
}

/// The end that asked for a port-forward.
pub struct Forwarder {
    session: Session,
    requests: AtomicU64,
}

/// Asks for a port-forward at a path, through a WebSocket where the server can, else over SPDY.
pub async fn connect(client: &Client, path: &str) -> Result<Forwarder, Error> {
    let offer = "SPDY/3.1+portforward.k8s.io";
    let session = match request_websocket(client, path, Use::PortForward, offer).await {
        Ok((upgraded, Framing::Tunnel)) => {
            Session::client(tunnel(upgraded.io, Role::Client).await?)?
        }
        Ok(_) | Err(Error::Api(_) | Error::Protocol(_)) => return connect_spdy(client, path).await,
        Err(error) => return Err(error),
    };
    Ok(Forwarder { session, requests: AtomicU64::new(0) })
}

/// The same over SPDY only.
pub async fn connect_spdy(client: &Client, path: &str) -> Result<Forwarder, Error> {
    let (upgraded, _) = request_spdy(client, path, Use::PortForward).await?;
    Ok(Forwarder { session: Session::client(upgraded.io)?, requests: AtomicU64::new(0) })
}

impl Forwarder {
    /// Opens a connection to a port: the data stream, and the one that tells errors.
    pub async fn open(&self, port: u16) -> Result<(Stream, BoxRead), Error> {
        let id = self.requests.fetch_add(1, Ordering::Relaxed).to_string();
        let headers = |kind: &str| {
            vec![
                ("streamtype".into(), kind.into()),
                ("port".into(), port.to_string()),
                ("requestid".into(), id.clone()),
            ]
        };
        let mut error = self.session.open(headers("error")).await?;
        // Nothing is ever written to it.
        let _ = error.shutdown().await;
        let data = self.session.open(headers("data")).await?;
        Ok((data, Box::new(error)))
    }

    /// Completes when the connection is gone.
    pub async fn closed(&self) {
        self.session.closed().await;
    }
}

/// Joins a client that we serve with a server that we asked, until either has gone.
pub async fn bridge(mut forwards: Forwards, forwarder: Forwarder) {
    let forwarder = std::sync::Arc::new(forwarder);
    loop {
        let next = tokio::select! {
            next = forwards.next() => next,
            () = forwarder.closed() => None,
        };
        let Some(forward) = next else { return };
        let forwarder = forwarder.clone();
        tokio::spawn(async move {
            let (data, mut error) = match forwarder.open(forward.port).await {
                Ok(streams) => streams,
                Err(why) => return forward.fail(&why.to_string()).await,
            };
            let Forward { mut read, mut write, error: mut told, .. } = forward;
            let telling = async {
                let mut why = Vec::new();
                let _ = (&mut error).take(64 * 1024).read_to_end(&mut why).await;
                let _ = told.write_all(&why).await;
                let _ = told.shutdown().await;
            };
            let copying = async {
                let mut client = tokio::io::join(&mut read, &mut write);
                let mut data = data;
                let _ = copy_bidirectional(&mut client, &mut data).await;
            };
            tokio::join!(telling, copying);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        assert_eq!(ports_of_query("ports=80&x=1&ports=81,82&port=83&ports=x"), [80, 81, 82, 83]);
    }
}
