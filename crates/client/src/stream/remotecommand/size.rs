//! The size of a terminal, and the stream of JSON that carries its changes.
//!
//! Not here: the terminal.

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// Columns and rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// More unread text than any size needs is not JSON to come.
const MAX: usize = 4096;

/// Reads sizes off a stream into a channel.
pub(super) fn receive(
    mut stream: impl AsyncRead + Send + Unpin + 'static,
) -> mpsc::Receiver<TerminalSize> {
    let (sender, sizes) = mpsc::channel(8);
    tokio::spawn(async move {
        let mut buffer = Vec::new();
        while stream.read_buf(&mut buffer).await.is_ok_and(|n| n > 0) {
            let mut parsed = serde_json::Deserializer::from_slice(&buffer).into_iter();
            while let Some(Ok(size)) = parsed.next() {
                if sender.send(size).await.is_err() {
                    return;
                }
            }
            let used = parsed.byte_offset();
            drop(buffer.drain(..used.min(buffer.len())));
            if buffer.len() > MAX {
                return;
            }
        }
    });
    sizes
}

/// Writes sizes from a channel onto a stream.
pub(super) fn send(
    mut stream: impl AsyncWrite + Send + Unpin + 'static,
) -> mpsc::Sender<TerminalSize> {
    let (sender, mut sizes) = mpsc::channel::<TerminalSize>(8);
    tokio::spawn(async move {
        while let Some(size) = sizes.recv().await {
            let Ok(mut text) = serde_json::to_vec(&size) else { return };
            text.push(b'\n');
            if stream.write_all(&text).await.is_err() {
                return;
            }
        }
        let _ = stream.shutdown().await;
    });
    sender
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sizes_arrive_however_the_bytes_are_cut() {
        let (mut a, b) = tokio::io::duplex(7);
        let mut sizes = receive(b);
        a.write_all(b"{\"Width\":80,\"Height\":24}{\"Width\":100,\"Height\":30}\n")
            .await
            .expect("writes");
        assert_eq!(sizes.recv().await, Some(TerminalSize { width: 80, height: 24 }));
        assert_eq!(sizes.recv().await, Some(TerminalSize { width: 100, height: 30 }));
        drop(a);
        assert_eq!(sizes.recv().await, None);
    }
}
