//! `port-forward`: local ports that end in a pod.
//!
//! Not here: the protocol (`client::stream`).

use std::sync::Arc;

use api::resource::PODS;
use api::{Object, Value};
use client::stream::portforward::{Forwarder, connect};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::args::PortForward;
use crate::context::Context;
use crate::discover::Discovery;
use crate::logs::find_pod;
use crate::text::print;
use crate::{Error, Result};

/// Runs the command; ends when the connection to the cluster does.
pub async fn run(context: &Context, args: PortForward) -> Result<()> {
    let service = service(context, &args.what).await?;
    let pod = find_pod(context, &args.what).await?;
    let mut listeners = Vec::new();
    for text in &args.ports {
        let (local, remote) = text.split_once(':').unwrap_or((text, text));
        let remote = remote_port(&pod, service.as_ref(), remote).ok_or_else(|| {
            Error::usage(format!("Pod '{}' does not have a port {remote:?}", pod.name()))
        })?;
        let local = match local {
            "" => 0,
            text => text.parse::<u16>().unwrap_or(remote),
        };
        for address in &args.address {
            let address = if address == "localhost" { "127.0.0.1" } else { address };
            let fail = |e| Error::Io(format!("unable to listen on {address}:{local}"), e);
            let listener = TcpListener::bind((address, local)).await.map_err(fail)?;
            let bound = listener.local_addr().map_err(fail)?;
            print(&format!("Forwarding from {bound} -> {remote}\n"));
            listeners.push((listener, remote));
        }
    }
    let path = PODS.path(Some(pod.namespace()), Some(pod.name()), Some("portforward"));
    let forwarder = Arc::new(connect(&context.client, &path).await?);
    for (listener, port) in listeners {
        tokio::spawn(accept(listener, port, forwarder.clone()));
    }
    forwarder.closed().await;
    Err(Error::usage("lost connection to pod"))
}

/// The service that is meant, where one is.
async fn service(context: &Context, what: &str) -> Result<Option<Object>> {
    let Some((kind, name)) = what.split_once('/') else { return Ok(None) };
    let discovery = Discovery::load(&context.client).await?;
    let resource = discovery.find(kind)?;
    if resource.kind != "Service" {
        return Ok(None);
    }
    Ok(Some(context.client.get(resource, &context.namespace, name).await?))
}

/// The pod's port that a number or name means; of a service, the target of its port.
fn remote_port(pod: &Object, service: Option<&Object>, text: &str) -> Option<u16> {
    let named = |name: &str| {
        let containers = pod.at("spec.containers")?.as_array()?;
        let mut ports = containers.iter().filter_map(|c| c["ports"].as_array()).flatten();
        let port = ports.find(|p| p["name"] == name)?;
        u16::try_from(port["containerPort"].as_u64()?).ok()
    };
    let number = |value: &Value| u16::try_from(value.as_u64()?).ok();
    let Some(service) = service else { return text.parse().ok().or_else(|| named(text)) };
    let ports = service.at("spec.ports")?.as_array()?;
    let port = ports
        .iter()
        .find(|p| p["name"] == text || number(&p["port"]).is_some_and(|n| text.parse() == Ok(n)))?;
    let target = &port["targetPort"];
    number(target).or_else(|| named(target.as_str()?)).or_else(|| number(&port["port"]))
}

async fn accept(listener: TcpListener, port: u16, forwarder: Arc<Forwarder>) {
    while let Ok((connection, _)) = listener.accept().await {
        if let Ok(local) = listener.local_addr() {
            print(&format!("Handling connection for {}\n", local.port()));
        }
        tokio::spawn(handle(connection, port, forwarder.clone()));
    }
}

async fn handle(mut connection: TcpStream, port: u16, forwarder: Arc<Forwarder>) {
    let (mut data, mut error) = match forwarder.open(port).await {
        Ok(streams) => streams,
        Err(error) => return eprintln!("error: {error}"),
    };
    // Either end may just go away, which is no news.
    let _ = copy_bidirectional(&mut connection, &mut data).await;
    let _ = data.shutdown().await;
    let mut why = String::new();
    let _ = error.read_to_string(&mut why).await;
    if !why.is_empty() {
        eprintln!("error: forwarding to port {port}: {why}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_by_number_name_and_service() {
        let object = |v| Object::from_value(v).expect("a map");
        let pod = object(
            json!({"spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8080}]}]}}),
        );
        let service =
            object(json!({"spec": {"ports": [{"name": "web", "port": 80, "targetPort": "http"}]}}));
        assert_eq!(remote_port(&pod, None, "9000"), Some(9000));
        assert_eq!(remote_port(&pod, None, "http"), Some(8080));
        assert_eq!(remote_port(&pod, None, "ftp"), None);
        assert_eq!(remote_port(&pod, Some(&service), "80"), Some(8080));
        assert_eq!(remote_port(&pod, Some(&service), "web"), Some(8080));
        assert_eq!(remote_port(&pod, Some(&service), "81"), None);
    }
}
