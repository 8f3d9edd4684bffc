//! exec, attach and port-forward: the client's framing on one side, the kubelet's on the other.
//!
//! Not here: the framings (`client::stream`).

use std::sync::Arc;

use api::ApiError;
use client::stream::handshake::Use;
use client::stream::{Handshake, portforward, remotecommand};
use client::{Body, Client, Io};
use hyper_util::rt::TokioIo;

use super::admit::admit;
use super::{container_of, escape, failed, kubelet_of, pod_of};
use crate::edge::respond::{self, Reply};
use crate::server::{Request, Server, Target};
use crate::transport::LocalUpgrade;

/// Serves a request that asks for streams of a pod.
pub async fn serve(
    server: &Arc<Server>,
    mut request: Request,
    target: &Target,
) -> Result<Reply, ApiError> {
    let pod = pod_of(target)?;
    let forward = target.sub == "portforward";
    let container =
        if forward { String::new() } else { container_of(&pod, request.params.get("container"))? };
    let node = pod.text("spec.nodeName").unwrap_or("");
    if node.is_empty() {
        let message = format!("pod {} does not have a host assigned", target.name);
        return Err(ApiError::bad_request(message));
    }
    admit(server, &request, target, "").await?;
    let usage = if forward { Use::PortForward } else { Use::RemoteCommand };
    let handshake = match Handshake::negotiate(&request.parts.headers, usage) {
        Ok(handshake) => handshake,
        Err(refused) => {
            let mut reply = respond::error(&refused.error, request.media);
            reply.headers_mut().extend(refused.headers);
            return Ok(reply);
        }
    };
    let (kubelet, _) = kubelet_of(server, node)?;
    let io = upgraded(&mut request)?;
    let reply: Reply = handshake.response::<EmptyBody>().map(|_| Body::empty());
    let query = request.parts.uri.query().unwrap_or("").to_owned();
    let stop = server.shutdown.clone();
    if forward {
        let path = format!("/portForward/{}/{}", target.namespace, target.name);
        let forwarder = portforward::connect(&kubelet, &path).await.map_err(|e| failed(&e))?;
        tokio::spawn(async move {
            let served = async {
                let ports = portforward::ports_of_query(&query);
                let forwards = portforward::serve(io.await?, handshake.framing, &ports).await?;
                portforward::bridge(forwards, forwarder).await;
                Ok::<_, client::Error>(())
            };
            end(tokio::select! { served = served => served, () = stop.cancelled() => Ok(()) });
        });
        return Ok(reply);
    }
    let wanted = remotecommand::Wanted::from_query(&query);
    let command = connect(&kubelet, &request, target, &container, wanted).await?;
    tokio::spawn(async move {
        let served = async {
            let streams = remotecommand::serve(io.await?, handshake.framing, wanted).await?;
            remotecommand::bridge(streams, command).await;
            Ok::<_, client::Error>(())
        };
        end(tokio::select! { served = served => served, () = stop.cancelled() => Ok(()) });
    });
    Ok(reply)
}

/// What the answer to a handshake holds.
pub type EmptyBody = http_body_util::Empty<bytes::Bytes>;

fn end(outcome: Result<(), client::Error>) {
    if let Err(error) = outcome {
        tracing::debug!(%error, "a proxied stream ended");
    }
}

/// Runs the command at the kubelet.
async fn connect(
    kubelet: &Client,
    request: &Request,
    target: &Target,
    container: &str,
    wanted: remotecommand::Wanted,
) -> Result<remotecommand::ClientStreams, ApiError> {
    let (sub, namespace, name) = (&target.sub, &target.namespace, &target.name);
    let mut path = format!("/{sub}/{namespace}/{name}/{}?", escape(container));
    for command in request.params.all("command") {
        path.push_str(&format!("command={}&", escape(command)));
    }
    for (key, on) in [
        ("input", wanted.stdin),
        ("output", wanted.stdout),
        ("error", wanted.stderr),
        ("tty", wanted.tty),
    ] {
        if on {
            path.push_str(&format!("{key}=1&"));
        }
    }
    path.pop();
    remotecommand::connect(kubelet, &path, wanted).await.map_err(|e| failed(&e))
}

/// The connection behind the request, once the response is out.
pub fn upgraded(
    request: &mut Request,
) -> Result<impl Future<Output = Result<Box<dyn Io>, client::Error>> + Send + 'static, ApiError> {
    let extensions = &mut request.parts.extensions;
    let local = extensions.remove::<LocalUpgrade>();
    let wire = extensions.remove::<hyper::upgrade::OnUpgrade>();
    if local.is_none() && wire.is_none() {
        return Err(ApiError::bad_request("Upgrade request required"));
    }
    Ok(async move {
        let gone = || client::Error::transport("upgrade", "the client has gone");
        if let Some(local) = local {
            let io = local.connect().ok_or_else(gone)?;
            return Ok(Box::new(io) as Box<dyn Io>);
        }
        let io = wire.ok_or_else(gone)?.await;
        let io = io.map_err(|e| client::Error::transport("upgrade", e))?;
        Ok(Box::new(TokioIo::new(io)) as Box<dyn Io>)
    })
}
