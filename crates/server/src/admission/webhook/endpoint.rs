//! Where a webhook is: at a URL, or behind a service.

use api::clock::Rng;
use api::{Map, Object, Value as Json, resource};

use super::super::lookup::{Lookup, maps, text};
use crate::proxy::{self, http};

/// Where to connect, and what to say there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// `https://host:port`.
    pub server: String,
    /// The name in the server's certificate, if it is not the host.
    pub server_name: Option<String>,
    /// Of the URL.
    pub path: String,
    /// The URL without its query, as messages show it.
    pub shown: String,
    /// `host:port` as messages show it.
    pub address: String,
}

/// Finds a webhook by its `clientConfig`. An error is told with the URL, if there is one.
pub(super) fn find(
    look: &Lookup,
    rng: &Rng,
    client: &Map<String, Json>,
) -> Result<Endpoint, (Option<String>, String)> {
    if let Some(service) = client.get("service").and_then(Json::as_object) {
        return of_service(look, rng, service);
    }
    let url = text(client, "url");
    let bad = || (None, "webhook configuration must have either service or URL".to_owned());
    let rest = url.strip_prefix("https://").ok_or_else(bad)?;
    let at = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at(at);
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let address = if has_port { host.to_owned() } else { format!("{host}:443") };
    Ok(Endpoint {
        server: format!("https://{address}"),
        server_name: None,
        path: if path.is_empty() { "/".into() } else { path.to_owned() },
        shown: url.to_owned(),
        address,
    })
}

fn of_service(
    look: &Lookup,
    rng: &Rng,
    service: &Map<String, Json>,
) -> Result<Endpoint, (Option<String>, String)> {
    let (namespace, name) = (text(service, "namespace"), text(service, "name"));
    let port = service.get("port").and_then(Json::as_i64).unwrap_or(443);
    let path = match text(service, "path") {
        "" => "/",
        path => path,
    };
    let server_name = format!("{name}.{namespace}.svc");
    let shown = format!("https://{server_name}:{port}{path}");
    let fail = |why: String| (Some(shown.clone()), why);
    let object = look
        .object(&resource::SERVICES, namespace, name)
        .ok_or_else(|| fail(format!("service {name:?} not found")))?;
    let address = resolve(look, rng, &object, port).map_err(fail)?;
    Ok(Endpoint {
        server: format!("https://{address}"),
        server_name: Some(server_name),
        path: path.to_owned(),
        shown,
        address,
    })
}

/// `host:port` behind a service's port.
fn resolve(look: &Lookup, rng: &Rng, service: &Object, port: i64) -> Result<String, String> {
    let name = service.name();
    maps(service.at("spec.ports"))
        .find(|p| p.get("port").and_then(Json::as_i64) == Some(port))
        .ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
    if let Some(external) = service
        .text("spec.externalName")
        .filter(|_| service.text("spec.type") == Some("ExternalName"))
    {
        return Ok(proxy::join(external, &port.to_string()));
    }
    let port_text = port.to_string();
    if let Some((host, number)) = http::endpoint(look.store(), rng, service, &port_text) {
        return Ok(proxy::join(&host, &number));
    }
    // Without endpoints of its own the service may still lead somewhere.
    match service.text("spec.clusterIP") {
        Some(ip) if !ip.is_empty() && ip != "None" => Ok(proxy::join(ip, &port.to_string())),
        _ => Err(format!("no endpoints available for service {name:?}")),
    }
}
