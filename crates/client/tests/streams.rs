//! Exec and port-forward end to end: our client end, a proxy that bridges, and our server end, over
//! in-memory connections and every framing.

use std::sync::Arc;

use api::ApiError;
use bytes::Bytes;
use isopod_client as client;

use client::stream::handshake::Use;
use client::stream::remotecommand::{self, Outcome, ServerStreams, TerminalSize, Wanted};
use client::stream::{Handshake, portforward};
use client::{Body, Client, Error, Io, Transport, Upgraded};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type Serve = dyn Fn(Box<dyn Io>, Handshake, String) + Send + Sync;

/// Upgrades every request onto an in-memory connection that `serve` gets the other end of.
struct Direct {
    usage: Use,
    serve: Box<Serve>,
}

impl Transport for Direct {
    fn send(&self, _: Request<Bytes>) -> BoxFuture<'static, Result<Response<Body>, Error>> {
        unreachable!("only upgrades")
    }

    fn upgrade(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Upgraded, Error>> {
        let handshake = match Handshake::negotiate(request.headers(), self.usage) {
            Ok(handshake) => handshake,
            Err(refused) => return async move { Err(refused.error.into()) }.boxed(),
        };
        let headers = handshake.response::<()>().headers().clone();
        let (ours, theirs) = tokio::io::duplex(8192);
        let query = request.uri().query().unwrap_or_default().to_owned();
        (self.serve)(Box::new(theirs), handshake, query);
        async move { Ok(Upgraded { io: Box::new(ours), headers }) }.boxed()
    }
}

fn client(
    usage: Use,
    serve: impl Fn(Box<dyn Io>, Handshake, String) + Send + Sync + 'static,
) -> Client {
    Client::new(Arc::new(Direct { usage, serve: Box::new(serve) }))
}

/// A "command": says its terminal's size if it has one, echoes its input, complains, exits with 3.
async fn command(streams: ServerStreams) {
    let ServerStreams { stdin, stdout, stderr, resize, end } = streams;
    let mut stdout = stdout.expect("stdout was asked for");
    if let Some(mut sizes) = resize {
        let size = sizes.recv().await.expect("a size");
        stdout
            .write_all(format!("{}x{}\n", size.width, size.height).as_bytes())
            .await
            .expect("writes");
    }
    if let Some(mut stdin) = stdin {
        let mut line = [0; 1000];
        let mut left = 100_000;
        while left > 0 {
            let n = stdin.read(&mut line).await.expect("reads");
            assert!(n > 0, "input ended early");
            stdout.write_all(&line[..n]).await.expect("writes");
            left -= n;
        }
    }
    if let Some(mut stderr) = stderr {
        stderr.write_all(b"sorry").await.expect("writes");
        stderr.shutdown().await.expect("ends");
    }
    stdout.shutdown().await.expect("ends");
    end.finish(&Outcome::Exit(3)).await;
}

fn runtime() -> Client {
    client(Use::RemoteCommand, |io, handshake, query| {
        tokio::spawn(async move {
            let wanted = Wanted::from_query(&query);
            let streams = remotecommand::serve(io, handshake.framing, wanted).await;
            command(streams.expect("serves")).await;
        });
    })
}

/// Stands between: serves its client, and asks the runtime over SPDY, as a kubelet does.
fn proxy() -> Client {
    client(Use::RemoteCommand, |io, handshake, query| {
        tokio::spawn(async move {
            let wanted = Wanted::from_query(&query);
            let path = format!("/exec?{query}");
            let behind = remotecommand::connect_spdy(&runtime(), &path, wanted).await;
            let front = remotecommand::serve(io, handshake.framing, wanted).await.expect("serves");
            remotecommand::bridge(front, behind.expect("connects")).await;
        });
    })
}

async fn run(mut streams: remotecommand::ClientStreams, tty: bool) {
    let input = vec![b'a'; 100_000];
    let mut stdin = streams.stdin.take().expect("stdin");
    if tty {
        let size = TerminalSize { width: 132, height: 43 };
        streams.resize.as_ref().expect("resize").send(size).await.expect("sent");
    }
    let sent = input.clone();
    let writing = tokio::spawn(async move {
        stdin.write_all(&sent).await.expect("writes");
        stdin
    });
    let mut out = Vec::new();
    streams.stdout.take().expect("stdout").read_to_end(&mut out).await.expect("reads");
    let head: &[u8] = if tty { b"132x43\n" } else { b"" };
    assert_eq!(out, [head, &input].concat());
    if !tty {
        let mut err = String::new();
        streams.stderr.take().expect("stderr").read_to_string(&mut err).await.expect("reads");
        assert_eq!(err, "sorry");
    }
    assert_eq!(streams.outcome.await.expect("an outcome"), Outcome::Exit(3));
    drop(writing.await.expect("joins"));
}

#[tokio::test]
async fn exec_over_every_framing_direct_and_bridged() {
    for tty in [false, true] {
        let wanted = Wanted { stdin: true, stdout: true, stderr: !tty, tty };
        let path = format!("/exec?stdin=1&stdout=1&stderr=1&tty={}", u8::from(tty));
        for server in [runtime, proxy] {
            run(remotecommand::connect_spdy(&server(), &path, wanted).await.expect("SPDY"), tty)
                .await;
            for protocol in ["v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io"] {
                let server = server();
                let streams =
                    remotecommand::connect_websocket(&server, &path, wanted, protocol).await;
                run(streams.expect(protocol), tty).await;
            }
        }
    }
}

#[tokio::test]
async fn a_client_falls_back_to_spdy() {
    let old = client(Use::RemoteCommand, |io, handshake, query| {
        let wanted = Wanted::from_query(&query);
        tokio::spawn(async move {
            command(remotecommand::serve(io, handshake.framing, wanted).await.expect("serves"))
                .await;
        });
    });
    struct NoWebSocket(Client);
    impl Transport for NoWebSocket {
        fn send(&self, _: Request<Bytes>) -> BoxFuture<'static, Result<Response<Body>, Error>> {
            unreachable!("only upgrades")
        }
        fn upgrade(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Upgraded, Error>> {
            if client::stream::handshake::is_websocket(request.headers()) {
                return async { Err(ApiError::bad_request("no WebSockets here").into()) }.boxed();
            }
            self.0.transport().upgrade(request)
        }
    }
    let old = Client::new(Arc::new(NoWebSocket(old)));
    let wanted = Wanted { stdin: true, stdout: true, stderr: true, tty: false };
    let path = "/exec?stdin=1&stdout=1&stderr=1";
    run(remotecommand::connect(&old, path, wanted).await.expect("connects"), false).await;
}

/// A command that prints much more than any buffer holds, and ends.
const MUCH: usize = 4 << 20;

fn talkative() -> Client {
    client(Use::RemoteCommand, |io, handshake, query| {
        let wanted = Wanted::from_query(&query);
        tokio::spawn(async move {
            let streams = remotecommand::serve(io, handshake.framing, wanted).await;
            let ServerStreams { stdout, end, .. } = streams.expect("serves");
            let mut stdout = stdout.expect("stdout was asked for");
            stdout.write_all(&vec![b'a'; MUCH]).await.expect("writes");
            stdout.shutdown().await.expect("ends");
            end.finish(&Outcome::Success).await;
        });
    })
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_late_gets_all() {
    let wanted = Wanted { stdin: false, stdout: true, stderr: false, tty: false };
    let path = "/exec?stdout=1";
    for streams in [
        remotecommand::connect_spdy(&talkative(), path, wanted).await.expect("SPDY"),
        remotecommand::connect_websocket(&talkative(), path, wanted, "v5.channel.k8s.io")
            .await
            .expect("WebSocket"),
    ] {
        let mut stdout = streams.stdout.expect("stdout");
        let mut got = 0;
        let mut buffer = vec![0; 64 * 1024];
        // As a pager does: a screen now and then.
        loop {
            tokio::time::sleep(std::time::Duration::from_secs(30)).await;
            match stdout.read(&mut buffer).await.expect("reads") {
                0 => break,
                n => got += n,
            }
        }
        assert_eq!(got, MUCH);
        assert_eq!(streams.outcome.await.expect("an outcome"), Outcome::Success);
    }
}

/// Answers every port but 81 with an echo that names the port.
fn pod() -> Client {
    client(Use::PortForward, |io, handshake, query| {
        let ports = portforward::ports_of_query(&query);
        tokio::spawn(async move {
            let mut forwards =
                portforward::serve(io, handshake.framing, &ports).await.expect("serves");
            while let Some(forward) = forwards.next().await {
                if forward.port == 81 {
                    tokio::spawn(forward.fail("connection refused"));
                    continue;
                }
                let (ours, mut theirs) = tokio::io::duplex(100);
                let port = forward.port;
                tokio::spawn(forward.serve(ours));
                tokio::spawn(async move {
                    let mut all = Vec::new();
                    theirs.read_to_end(&mut all).await.expect("reads");
                    theirs.write_all(format!("{port}:").as_bytes()).await.expect("writes");
                    theirs.write_all(&all).await.expect("writes");
                });
            }
        });
    })
}

fn pod_proxy() -> Client {
    client(Use::PortForward, |io, handshake, query| {
        let ports = portforward::ports_of_query(&query);
        tokio::spawn(async move {
            let behind = portforward::connect_spdy(&pod(), "/portforward").await.expect("connects");
            let front = portforward::serve(io, handshake.framing, &ports).await.expect("serves");
            portforward::bridge(front, behind).await;
        });
    })
}

#[tokio::test]
async fn port_forward_over_spdy_and_through_a_tunnel() {
    for server in [pod, pod_proxy] {
        for forwarder in [
            portforward::connect(&server(), "/portforward").await.expect("a tunnel"),
            portforward::connect_spdy(&server(), "/portforward").await.expect("SPDY"),
        ] {
            for port in [80, 8080] {
                let (mut data, mut error) = forwarder.open(port).await.expect("opens");
                let sent = vec![b'z'; 50_000];
                data.write_all(&sent).await.expect("writes");
                data.shutdown().await.expect("ends");
                let mut got = Vec::new();
                data.read_to_end(&mut got).await.expect("reads");
                assert_eq!(got, [format!("{port}:").as_bytes(), &sent].concat());
                let mut why = String::new();
                error.read_to_string(&mut why).await.expect("reads");
                assert_eq!(why, "");
            }
            let (_data, mut error) = forwarder.open(81).await.expect("opens");
            let mut why = String::new();
            error.read_to_string(&mut why).await.expect("reads");
            assert_eq!(why, "connection refused");
        }
    }
}
