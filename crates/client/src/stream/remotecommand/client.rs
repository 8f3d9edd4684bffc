//! The end that asked for a command.
//!
//! Not here: terminals, or printing what comes back.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{Outcome, TerminalSize, Wanted, channel, size};
use crate::client::Client;
use crate::error::Error;
use crate::stream::handshake::{Framing, Use, request_spdy, request_websocket};
use crate::stream::spdy::{Session, Stream};
use crate::stream::websocket::{Channels, Style, wrap};
use crate::stream::{BoxRead, BoxWrite};

/// The streams of a remote command.
pub struct ClientStreams {
    /// What it reads; shut down to end it.
    pub stdin: Option<BoxWrite>,
    /// What it prints.
    pub stdout: Option<BoxRead>,
    /// What it complains about.
    pub stderr: Option<BoxRead>,
    /// Tells the size of our terminal.
    pub resize: Option<mpsc::Sender<TerminalSize>>,
    /// Resolves when the command has ended; output may still be on its way then.
    pub outcome: BoxFuture<'static, Result<Outcome, Error>>,
    /// The connection; keep it until the outputs have ended.
    pub link: ClientLink,
}

/// Holds a connection open; dropping it hangs up.
pub struct ClientLink {
    _link: Link,
}

enum Link {
    Spdy { _session: Session },
    WebSocket { _channels: Channels },
}

/// No outcome is longer.
const MAX_OUTCOME: u64 = 1 << 20;

/// Runs a command at a path (with its query), over WebSocket where the server speaks version 5, else
/// over SPDY.
pub async fn connect(client: &Client, path: &str, wanted: Wanted) -> Result<ClientStreams, Error> {
    match connect_websocket(client, path, wanted, "v5.channel.k8s.io").await {
        // Refused, or upgraded to something older that cannot end stdin.
        Err(Error::Api(_) | Error::Protocol(_)) => connect_spdy(client, path, wanted).await,
        other => other,
    }
}

/// The same over WebSocket, with a given subprotocol.
pub async fn connect_websocket(
    client: &Client,
    path: &str,
    wanted: Wanted,
    subprotocol: &str,
) -> Result<ClientStreams, Error> {
    let (upgraded, framing) =
        request_websocket(client, path, Use::RemoteCommand, subprotocol).await?;
    let Framing::WebSocket { version, base64 } = framing else {
        return Err(Error::Protocol("not a channel protocol".into()));
    };
    let style = Style { base64, closes: version >= 5, may_close: version >= 5 };
    let read = [channel::STDOUT, channel::STDERR, channel::ERROR];
    let socket = wrap(upgraded.io, Role::Client).await;
    let mut channels = Channels::start(socket, style, &read);
    let stdout = channels.reader(channel::STDOUT).filter(|_| wanted.stdout);
    let stderr = channels.reader(channel::STDERR).filter(|_| wanted.stderr);
    let mut error = channels.reader(channel::ERROR);
    let stdin = wanted.stdin.then(|| Box::new(channels.writer(channel::STDIN)) as BoxWrite);
    let resize = wanted.tty.then(|| size::send(channels.writer(channel::RESIZE)));
    let outcome = async move {
        // One message is the whole outcome: older versions do not close the channel.
        let message = match &mut error {
            Some(error) => error.chunk().await,
            None => None,
        };
        let gone = || Error::transport("remote command", "the connection broke");
        message.ok_or_else(gone).map(|m| Outcome::parse(&m))
    };
    Ok(ClientStreams {
        stdin,
        stdout: stdout.map(|s| Box::new(s) as BoxRead),
        stderr: stderr.map(|s| Box::new(s) as BoxRead),
        resize,
        outcome: outcome.boxed(),
        link: ClientLink { _link: Link::WebSocket { _channels: channels } },
    })
}

/// The same over SPDY.
pub async fn connect_spdy(
    client: &Client,
    path: &str,
    wanted: Wanted,
) -> Result<ClientStreams, Error> {
    let (upgraded, version) = request_spdy(client, path, Use::RemoteCommand).await?;
    let session = Session::client(upgraded.io)?;
    let open = async |kind: &str, on: bool| -> Result<Option<Stream>, Error> {
        if !on {
            return Ok(None);
        }
        session.open(vec![("streamtype".into(), kind.into())]).await.map(Some)
    };
    let error = open("error", true).await?;
    let stdin = open("stdin", wanted.stdin).await?;
    let stdout = open("stdout", wanted.stdout).await?;
    let stderr = open("stderr", wanted.stderr && !wanted.tty).await?;
    let resize = open("resize", wanted.tty && version >= 3).await?;
    let outcome = async move {
        let mut text = Vec::new();
        if let Some(error) = error {
            error
                .take(MAX_OUTCOME)
                .read_to_end(&mut text)
                .await
                .map_err(|e| Error::transport("remote command", e))?;
        }
        // A status says that the command ended; silence may also be a connection that broke.
        if text.is_empty() && version >= 4 {
            return Err(Error::transport("remote command", "the connection broke"));
        }
        Ok(Outcome::parse(&text))
    };
    Ok(ClientStreams {
        stdin: stdin.map(|s| Box::new(s) as BoxWrite),
        stdout: stdout.map(|s| Box::new(s) as BoxRead),
        stderr: stderr.map(|s| Box::new(s) as BoxRead),
        resize: resize.map(size::send),
        outcome: outcome.boxed(),
        link: ClientLink { _link: Link::Spdy { _session: session } },
    })
}
