//! `exec` and `attach`: a command in a container, with its streams and, on request, a terminal.
//!
//! Not here: the protocol (`client::stream`).

use std::io::IsTerminal as _;

use api::resource::PODS;
use client::options::Query;
use client::stream::remotecommand::{ClientStreams, Outcome, TerminalSize, Wanted, connect};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use crate::args::{Attach, Exec, Streams};
use crate::context::Context;
use crate::logs::{default_container, find_pod};
use crate::{Error, Result};

/// Runs the command.
pub async fn run(context: &Context, args: Exec) -> Result<()> {
    session(context, &args.streams, "exec", &args.command).await
}

/// `attach`: the streams of a container's own command.
pub async fn attach(context: &Context, args: Attach) -> Result<()> {
    session(context, &args.streams, "attach", &[]).await
}

/// Connects to a container's `exec` or `attach` and copies to the end.
async fn session(
    context: &Context,
    of: &Streams,
    subresource: &str,
    command: &[String],
) -> Result<()> {
    let pod = find_pod(context, &of.what).await?;
    let container = match &of.container {
        Some(name) => name.clone(),
        None => default_container(&pod)?,
    };
    let (stdin, mut tty) = (of.stdin, of.tty);
    if tty && !std::io::stdin().is_terminal() {
        eprintln!("Unable to use a TTY - input is not a terminal or the right kind of file");
        tty = false;
    }
    let wanted = Wanted { stdin, stdout: true, stderr: !tty, tty };
    let mut query = Query::default();
    query.add("container", &container);
    for word in command {
        query.add("command", word);
    }
    let flags =
        [("stdin", wanted.stdin), ("stdout", true), ("stderr", wanted.stderr), ("tty", tty)];
    for (name, _) in flags.iter().filter(|(_, on)| *on) {
        query.add(name, "true");
    }
    let path = query.onto(&PODS.path(Some(pod.namespace()), Some(pod.name()), Some(subresource)));
    let streams = connect(&context.client, &path, wanted).await?;
    let raw = tty.then(RawMode::enter).flatten();
    let outcome = pump(streams).await;
    drop(raw);
    match outcome? {
        Outcome::Success => Ok(()),
        Outcome::Exit(code) => Err(Error::Exit(u8::try_from(code).unwrap_or(1))),
        Outcome::Failed(error) => Err(Error::usage(error.message)),
    }
}

/// Copies all streams until the command has ended and its output is here.
async fn pump(streams: ClientStreams) -> Result<Outcome> {
    let ClientStreams { stdin, stdout, stderr, resize, outcome, link } = streams;
    if let Some(mut to) = stdin {
        tokio::spawn(async move {
            // Errors mean that the command has ended, which its outcome tells.
            let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut to).await;
            let _ = to.shutdown().await;
        });
    }
    if let Some(sizes) = resize {
        tokio::spawn(follow_size(sizes));
    }
    let (out, err, outcome) =
        tokio::join!(copy(stdout, tokio::io::stdout()), copy(stderr, tokio::io::stderr()), outcome);
    drop(link);
    for copied in [out, err] {
        copied.map_err(|e| Error::Io("copying output".into(), e))?;
    }
    Ok(outcome?)
}

async fn copy(
    from: Option<impl AsyncRead + Unpin>,
    mut to: impl AsyncWrite + Unpin,
) -> std::io::Result<()> {
    if let Some(mut from) = from {
        tokio::io::copy(&mut from, &mut to).await?;
        to.flush().await?;
    }
    Ok(())
}

/// Tells the terminal's size now and whenever it changes.
async fn follow_size(sizes: mpsc::Sender<TerminalSize>) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut changed) = signal(SignalKind::window_change()) else { return };
    loop {
        if let Ok(size) = tcgetwinsize(std::io::stdout()) {
            let size = TerminalSize { width: size.ws_col, height: size.ws_row };
            if sizes.send(size).await.is_err() {
                return;
            }
        }
        if changed.recv().await.is_none() {
            return;
        }
    }
}

/// Standard input's terminal without line editing and echo; put back on drop.
struct RawMode(Termios);

impl RawMode {
    fn enter() -> Option<Self> {
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
