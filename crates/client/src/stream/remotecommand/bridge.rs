//! Joins the two ends where this process stands between them: the API server's proxy, and the
//! kubelet before its runtime.
//!
//! Not here: either end.

use tokio::io::{AsyncWriteExt, copy};

use super::{ClientStreams, Outcome, ServerStreams};
use crate::stream::{BoxRead, BoxWrite};

/// Copies everything between a client that we serve and a server that we asked, until the command
/// has ended or the client has gone; returns how it ended.
pub async fn bridge(server: ServerStreams, client: ClientStreams) -> Outcome {
    let ServerStreams { stdin, stdout, stderr, resize, end } = server;
    let _link = client.link;
    let gone = end.closed_token();
    let input = tokio::spawn(pump(stdin, client.stdin));
    let sizes = tokio::spawn(async move {
        let (Some(mut from), Some(to)) = (resize, client.resize) else { return };
        while let Some(size) = from.recv().await {
            if to.send(size).await.is_err() {
                return;
            }
        }
    });
    let run = async {
        let outputs = async {
            tokio::join!(pump(client.stdout, stdout), pump(client.stderr, stderr));
        };
        let ((), outcome) = tokio::join!(outputs, client.outcome);
        outcome
    };
    let outcome = tokio::select! {
        outcome = run => outcome.unwrap_or_else(|e| Outcome::failed(e.to_string())),
        () = gone.cancelled() => Outcome::failed("the client hung up"),
    };
    input.abort();
    sizes.abort();
    end.finish(&outcome).await;
    outcome
}

async fn pump(from: Option<BoxRead>, to: Option<BoxWrite>) {
    match (from, to) {
        (Some(mut from), Some(mut to)) => {
            // Either end may go at any time; the outcome tells what matters.
            let _ = copy(&mut from, &mut to).await;
            let _ = to.shutdown().await;
        }
        // Nobody wants it, but the other side must not block.
        (Some(mut from), None) => {
            let _ = copy(&mut from, &mut tokio::io::sink()).await;
        }
        (None, Some(mut to)) => {
            let _ = to.shutdown().await;
        }
        (None, None) => {}
    }
}
