//! The end where the command runs.
//!
//! Not here: choosing the framing (`handshake`).

use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;

use super::{Outcome, TerminalSize, Wanted, channel, size};
use crate::error::Error;
use crate::stream::handshake::Framing;
use crate::stream::spdy::{Session, Stream};
use crate::stream::websocket::{Channels, Style, wrap};
use crate::stream::{BoxRead, BoxWrite};
use crate::transport::Io;

/// How long the client has to open its streams.
const OPENING: Duration = Duration::from_secs(30);

/// The streams of a command, where it runs.
pub struct ServerStreams {
    /// What the client types.
    pub stdin: Option<BoxRead>,
    /// What the command prints.
    pub stdout: Option<BoxWrite>,
    /// What it complains about.
    pub stderr: Option<BoxWrite>,
    /// Sizes of the client's terminal.
    pub resize: Option<mpsc::Receiver<TerminalSize>>,
    /// Tells the outcome and hangs up.
    pub end: ServerEnd,
}

/// The connection's end: tells the outcome and hangs up. Dropping it cuts the connection.
pub struct ServerEnd {
    error: BoxWrite,
    version: u8,
    link: Link,
}

enum Link {
    Spdy(Session),
    WebSocket(Channels),
}

impl ServerEnd {
    /// Tells how the command ended, after its output has been written, and closes the connection.
    pub async fn finish(mut self, outcome: &Outcome) {
        let text = match outcome {
            Outcome::Success if self.version < 4 => String::new(),
            Outcome::Exit(code) if self.version < 4 => {
                format!("error executing command in container: exit status {code}")
            }
            Outcome::Failed(error) if self.version < 4 => error.message.clone(),
            outcome => outcome.to_status().to_string(),
        };
        // A client that is gone needs no outcome.
        let _ = self.error.write_all(text.as_bytes()).await;
        let _ = self.error.shutdown().await;
        match self.link {
            Link::Spdy(session) => session.close().await,
            Link::WebSocket(channels) => channels.close().await,
        }
    }

    /// A token that is cancelled when the client is gone.
    pub fn closed_token(&self) -> CancellationToken {
        match &self.link {
            Link::Spdy(session) => session.closed_token(),
            Link::WebSocket(channels) => channels.closed_token(),
        }
    }
}

fn boxed(writer: impl AsyncWrite + Send + Unpin + 'static) -> BoxWrite {
    Box::new(writer)
}

/// Takes the streams of an upgraded connection.
pub async fn serve(
    io: Box<dyn Io>,
    framing: Framing,
    wanted: Wanted,
) -> Result<ServerStreams, Error> {
    match framing {
        Framing::Spdy { version } => {
            let opening = spdy(Session::server(io)?, version, wanted);
            tokio::time::timeout(OPENING, opening)
                .await
                .map_err(|_| Error::Protocol("timed out waiting for the client's streams".into()))?
        }
        Framing::WebSocket { version, base64 } => {
            let style = Style { base64, closes: version >= 5, may_close: false };
            let read = [channel::STDIN, channel::RESIZE];
            let mut channels = Channels::start(wrap(io, Role::Server).await, style, &read);
            // An empty message tells the client that the connection stands.
            channels
                .announce(match wanted {
                    Wanted { stdout: true, .. } => channel::STDOUT,
                    Wanted { stderr: true, .. } => channel::STDERR,
                    _ => channel::ERROR,
                })
                .await;
            let stdin = channels.reader(channel::STDIN).filter(|_| wanted.stdin);
            let resize = channels.reader(channel::RESIZE).filter(|_| wanted.tty);
            Ok(ServerStreams {
                stdin: stdin.map(|s| Box::new(s) as BoxRead),
                stdout: wanted.stdout.then(|| boxed(channels.writer(channel::STDOUT))),
                stderr: wanted.stderr.then(|| boxed(channels.writer(channel::STDERR))),
                resize: resize.map(size::receive),
                end: ServerEnd {
                    error: boxed(channels.writer(channel::ERROR)),
                    version,
                    link: Link::WebSocket(channels),
                },
            })
        }
        Framing::Tunnel => Err(Error::Protocol("a tunnel carries no command".into())),
    }
}

async fn spdy(session: Session, version: u8, wanted: Wanted) -> Result<ServerStreams, Error> {
    let resizes = wanted.tty && version >= 3;
    let expected = [wanted.stdin, wanted.stdout, wanted.stderr, resizes, true];
    let missing = expected.iter().filter(|e| **e).count();
    let (mut stdin, mut stdout, mut stderr, mut resize, mut error) = (None, None, None, None, None);
    for _ in 0..missing {
        let stream = session.accept().await;
        let stream: Stream = stream
            .ok_or_else(|| Error::Protocol("the client hung up before its streams".into()))?;
        let slot = match stream.header("streamtype") {
            Some("stdin") => &mut stdin,
            Some("stdout") => &mut stdout,
            Some("stderr") => &mut stderr,
            Some("resize") => &mut resize,
            Some("error") => &mut error,
            other => return Err(Error::Protocol(format!("stream type {other:?}"))),
        };
        *slot = Some(stream);
    }
    let error = error.ok_or_else(|| Error::Protocol("the client opened no error stream".into()))?;
    Ok(ServerStreams {
        stdin: stdin.map(|s| Box::new(s) as BoxRead),
        stdout: stdout.map(boxed),
        stderr: stderr.map(boxed),
        resize: resize.map(size::receive),
        end: ServerEnd { error: boxed(error), version, link: Link::Spdy(session) },
    })
}
