//! Commands in containers and connections to pods: what the client speaks, joined with what the
//! runtime's own streaming server speaks.
//!
//! Not here: framings (`client::stream`).

use std::sync::Arc;
use std::time::Duration;

use client::stream::handshake::{Handshake, Use, wants_upgrade};
use client::stream::portforward;
use client::stream::remotecommand::{self, Wanted};
use client::{Client, Io};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;

use super::route::{Place, values};
use super::{Body, Refusal, full, refuse, respond};
use crate::cri;
use crate::kubelet::Kubelet;
use crate::pod::observed::State;

/// The longest that `/run` waits.
const RUN: Duration = Duration::from_secs(120);

fn running(place: &Place) -> Result<String, Refusal> {
    match place.observed() {
        Some(c) if c.state == State::Running => Ok(c.id.clone()),
        Some(_) => Err(refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("container {} is not running", place.container),
        )),
        None => Err(refuse(
            StatusCode::NOT_FOUND,
            format!("container not found ({:?})", place.container),
        )),
    }
}

/// Negotiates the client's upgrade.
fn handshake(request: &Request<Incoming>, usage: Use) -> Result<Handshake, Refusal> {
    if !wants_upgrade(request.headers()) {
        return Err(refuse(StatusCode::BAD_REQUEST, "Upgrade request required"));
    }
    Handshake::negotiate(request.headers(), usage).map_err(|e| {
        let status = StatusCode::from_u16(e.error.code).unwrap_or(StatusCode::BAD_REQUEST);
        let mut response = refuse(status, e.error.message);
        response.headers_mut().extend(e.headers);
        response
    })
}

fn switching(handshake: &Handshake) -> Response<Body> {
    let (parts, ()) = handshake.response::<()>().into_parts();
    Response::from_parts(parts, full(""))
}

/// The runtime's streaming server, and the path that it gave.
fn streaming(url: &str) -> Result<(Client, String), Refusal> {
    let bad = |why: &dyn std::fmt::Display| {
        refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the runtime's streaming address {url:?}: {why}"),
        )
    };
    let uri: http::Uri = url.parse().map_err(|e| bad(&e))?;
    let authority = uri.authority().ok_or_else(|| bad(&"no host"))?;
    let server = format!("{}://{authority}", uri.scheme_str().unwrap_or("http"));
    let config = client::https::Config { server, insecure: true, ..Default::default() };
    let client = Client::from_config(config).map_err(|e| bad(&e))?;
    let path = uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
    Ok((client, path))
}

fn failed(error: &dyn std::fmt::Display) -> Refusal {
    refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

fn or<T>(result: Result<T, Refusal>, then: impl FnOnce(T) -> Response<Body>) -> Response<Body> {
    match result {
        Ok(value) => then(value),
        Err(response) => *response,
    }
}

/// Joins the upgraded connection of a client with a command at the runtime.
async fn join_command(
    request: Request<Incoming>,
    handshake: Handshake,
    url: &str,
    wanted: Wanted,
) -> Result<Response<Body>, Refusal> {
    let (client, path) = streaming(url)?;
    // SPDY, which every runtime speaks and which can end standard input.
    let there =
        remotecommand::connect_spdy(&client, &path, wanted).await.map_err(|e| failed(&e))?;
    let response = switching(&handshake);
    tokio::spawn(async move {
        let io = match hyper::upgrade::on(request).await {
            Ok(upgraded) => Box::new(TokioIo::new(upgraded)) as Box<dyn Io>,
            Err(error) => {
                tracing::debug!(%error, "a connection is not upgraded");
                return;
            }
        };
        match remotecommand::serve(io, handshake.framing, wanted).await {
            Ok(here) => {
                remotecommand::bridge(here, there).await;
            }
            Err(error) => tracing::debug!(%error, "a client's streams do not open"),
        }
    });
    Ok(response)
}

/// `/exec`.
pub async fn exec(
    kubelet: Arc<Kubelet>,
    rest: &[&str],
    request: Request<Incoming>,
) -> Response<Body> {
    let query = request.uri().query().unwrap_or("").to_owned();
    let wanted = Wanted::from_query(&query);
    let prepared = async {
        let place = Place::find(&kubelet, rest, true)?;
        let id = running(&place)?;
        let cmd = values(&query, "command");
        if cmd.is_empty() {
            return Err(refuse(StatusCode::BAD_REQUEST, "you must specify at least 1 command"));
        }
        if !(wanted.stdin || wanted.stdout || wanted.stderr) {
            return Err(refuse(
                StatusCode::BAD_REQUEST,
                "you must specify at least 1 of stdin, stdout, stderr",
            ));
        }
        let handshake = handshake(&request, Use::RemoteCommand)?;
        let ask = cri::ExecRequest {
            container_id: id,
            cmd,
            tty: wanted.tty,
            stdin: wanted.stdin,
            stdout: wanted.stdout,
            stderr: wanted.stderr,
        };
        let url = kubelet.cri.exec(ask).await.map_err(|e| failed(&e))?.url;
        Ok((handshake, url))
    };
    match prepared.await {
        Ok((handshake, url)) => or(join_command(request, handshake, &url, wanted).await, |r| r),
        Err(response) => *response,
    }
}

/// `/attach`.
pub async fn attach(
    kubelet: Arc<Kubelet>,
    rest: &[&str],
    request: Request<Incoming>,
) -> Response<Body> {
    let mut wanted = Wanted::from_query(request.uri().query().unwrap_or(""));
    let prepared = async {
        let place = Place::find(&kubelet, rest, true)?;
        let id = running(&place)?;
        // The container itself says whether it has a terminal.
        let spec = place.snapshot.pod.by_name(&place.container).map(|(_, c)| c.clone());
        let tty = spec.is_some_and(|c| c.tty == Some(true));
        let handshake = handshake(&request, Use::RemoteCommand)?;
        Ok::<_, Refusal>((handshake, id, tty))
    };
    let (handshake, id, tty) = match prepared.await {
        Ok(prepared) => prepared,
        Err(response) => return *response,
    };
    wanted.tty = tty;
    wanted.stderr &= !tty;
    let ask = cri::AttachRequest {
        container_id: id,
        stdin: wanted.stdin,
        tty,
        stdout: wanted.stdout,
        stderr: wanted.stderr,
    };
    match kubelet.cri.attach(ask).await {
        Ok(answer) => or(join_command(request, handshake, &answer.url, wanted).await, |r| r),
        Err(e) => *failed(&e),
    }
}

/// `/portForward`.
pub async fn port_forward(
    kubelet: Arc<Kubelet>,
    rest: &[&str],
    request: Request<Incoming>,
) -> Response<Body> {
    let ports = portforward::ports_of_query(request.uri().query().unwrap_or(""));
    let prepared = async {
        let place = Place::find(&kubelet, rest, false)?;
        let sandbox = place.snapshot.observed.sandbox().filter(|s| s.ready);
        let Some(sandbox) = sandbox else {
            return Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, "the pod is not running"));
        };
        let handshake = handshake(&request, Use::PortForward)?;
        let ask = cri::PortForwardRequest { pod_sandbox_id: sandbox.id.clone(), port: Vec::new() };
        let url = kubelet.cri.port_forward(ask).await.map_err(|e| failed(&e))?.url;
        let (client, path) = streaming(&url)?;
        let there = portforward::connect_spdy(&client, &path).await.map_err(|e| failed(&e))?;
        Ok((handshake, there))
    };
    let (handshake, there) = match prepared.await {
        Ok(prepared) => prepared,
        Err(response) => return *response,
    };
    let response = switching(&handshake);
    tokio::spawn(async move {
        let io = match hyper::upgrade::on(request).await {
            Ok(upgraded) => Box::new(TokioIo::new(upgraded)) as Box<dyn Io>,
            Err(error) => {
                tracing::debug!(%error, "a connection is not upgraded");
                return;
            }
        };
        match portforward::serve(io, handshake.framing, &ports).await {
            Ok(here) => portforward::bridge(here, there).await,
            Err(error) => tracing::debug!(%error, "a client's streams do not open"),
        }
    });
    response
}

/// `/run`: a command's output in one answer.
pub async fn run(kubelet: &Kubelet, rest: &[&str], query: &str) -> Response<Body> {
    let place = match Place::find(kubelet, rest, true) {
        Ok(place) => place,
        Err(response) => return *response,
    };
    let id = match running(&place) {
        Ok(id) => id,
        Err(response) => return *response,
    };
    let cmd: Vec<String> =
        values(query, "cmd").iter().flat_map(|c| c.split_whitespace()).map(str::to_owned).collect();
    match kubelet.cri.exec_sync(&id, cmd, RUN).await {
        Ok(mut out) => {
            out.stdout.extend(out.stderr);
            let status =
                if out.exit_code == 0 { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
            respond(status, "text/plain; charset=utf-8", out.stdout)
        }
        Err(e) => *failed(&e),
    }
}
