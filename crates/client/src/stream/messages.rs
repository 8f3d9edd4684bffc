//! One stream of bytes in WebSocket messages, from server to client.
//!
//! Not here: several streams on one connection (`websocket`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{SinkExt, Stream, StreamExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use super::websocket::wrap;
use crate::error::Error;
use crate::transport::Io;

/// How bytes are put into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapping {
    /// As they are.
    Binary,
    /// In text, as they are; they must be UTF-8.
    Text,
    /// In text, base64.
    Base64,
}

impl Wrapping {
    fn message(self, bytes: Bytes) -> Result<Message, Error> {
        Ok(match self {
            Self::Binary => Message::Binary(bytes),
            Self::Base64 => Message::Text(STANDARD.encode(&bytes).into()),
            Self::Text => {
                let text = bytes.try_into().map_err(|e| Error::transport("send messages", e))?;
                Message::Text(text)
            }
        })
    }
}

/// Sends what a stream yields, a message each, after an empty one that says the connection stands.
/// Ends with the stream, or with the client.
pub async fn send(
    io: Box<dyn Io>,
    wrapping: Wrapping,
    stream: impl Stream<Item = Result<Bytes, Error>>,
) -> Result<(), Error> {
    let greeting = futures_util::stream::iter([Ok(Bytes::new())]);
    send_only(io, wrapping, greeting.chain(stream)).await
}

/// The same without the empty message.
pub async fn send_only(
    io: Box<dyn Io>,
    wrapping: Wrapping,
    stream: impl Stream<Item = Result<Bytes, Error>>,
) -> Result<(), Error> {
    let lost = |e: tokio_tungstenite::tungstenite::Error| Error::transport("send messages", e);
    let normal = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let mut socket = wrap(io, Role::Server).await;
    let mut stream = std::pin::pin!(stream);
    loop {
        tokio::select! {
            next = stream.next() => match next {
                Some(bytes) => socket.send(wrapping.message(bytes?)?).await.map_err(lost)?,
                None => break,
            },
            // What the client says does not matter, but that it is there.
            heard = socket.next() => match heard {
                Some(Ok(Message::Close(_))) => {
                    // Its close is answered with the next flush.
                    return socket.flush().await.or(Ok(()));
                }
                Some(Err(_)) | None => return Ok(()),
                Some(Ok(_)) => socket.flush().await.map_err(lost)?,
            },
        }
    }
    // Clients take an end without a status for a fault.
    socket.close(Some(normal)).await.map_err(lost)?;
    // The client may still be reading; it hangs up when it has read the end.
    let _ = tokio::time::timeout(super::LINGER, async {
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn received(wrapping: Wrapping) -> Vec<Message> {
        let (here, there) = tokio::io::duplex(1024);
        let parts = [Bytes::from_static(b"one"), Bytes::from_static(b"two")].map(Ok);
        let sent = tokio::spawn(send(Box::new(there), wrapping, futures_util::stream::iter(parts)));
        let mut client = wrap(Box::new(here), Role::Client).await;
        let mut all = Vec::new();
        while let Some(Ok(message)) = client.next().await {
            all.push(message);
        }
        drop(client);
        sent.await.expect("ends").expect("is sent");
        all
    }

    #[tokio::test]
    async fn bytes_in_messages() {
        let plain = received(Wrapping::Binary).await;
        let text = |m: &Message| String::from_utf8_lossy(&m.clone().into_data()).into_owned();
        assert_eq!(plain.iter().map(text).collect::<Vec<_>>()[..3], ["", "one", "two"]);
        assert!(plain[..3].iter().all(Message::is_binary) && plain[3].is_close());
        let coded = received(Wrapping::Base64).await;
        assert_eq!(coded.iter().map(text).collect::<Vec<_>>()[..3], ["", "b25l", "dHdv"]);
        assert!(coded[..3].iter().all(Message::is_text));
    }
}
