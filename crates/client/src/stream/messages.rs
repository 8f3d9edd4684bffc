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

/// Sends what a stream yields, a message each, after an empty one that says the connection stands.
/// Ends with the stream, or with the client.
pub async fn send(
    io: Box<dyn Io>,
    base64: bool,
    stream: impl Stream<Item = Result<Bytes, Error>>,
) -> Result<(), Error> {
    let lost = |e: tokio_tungstenite::tungstenite::Error| Error::transport("send messages", e);
    let message = |bytes: Bytes| match base64 {
        true => Message::Text(STANDARD.encode(&bytes).into()),
        false => Message::Binary(bytes),
    };
    let mut socket = wrap(io, Role::Server).await;
    socket.send(message(Bytes::new())).await.map_err(lost)?;
    let mut stream = std::pin::pin!(stream);
    loop {
        tokio::select! {
            next = stream.next() => match next {
                Some(bytes) => socket.send(message(bytes?)).await.map_err(lost)?,
                None => break,
            },
            // What the client says does not matter, but that it is there.
            heard = socket.next() => match heard {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
                Some(Ok(_)) => {}
            },
        }
    }
    // Clients take an end without a status for a fault.
    let normal = CloseFrame { code: CloseCode::Normal, reason: "".into() };
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

    async fn received(base64: bool) -> Vec<Message> {
        let (here, there) = tokio::io::duplex(1024);
        let parts = [Bytes::from_static(b"one"), Bytes::from_static(b"two")].map(Ok);
        let sent = tokio::spawn(send(Box::new(there), base64, futures_util::stream::iter(parts)));
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
        let plain = received(false).await;
        let text = |m: &Message| String::from_utf8_lossy(&m.clone().into_data()).into_owned();
        assert_eq!(plain.iter().map(text).collect::<Vec<_>>()[..3], ["", "one", "two"]);
        assert!(plain[..3].iter().all(Message::is_binary) && plain[3].is_close());
        let coded = received(true).await;
        assert_eq!(coded.iter().map(text).collect::<Vec<_>>()[..3], ["", "b25l", "dHdv"]);
        assert!(coded[..3].iter().all(Message::is_text));
    }
}
