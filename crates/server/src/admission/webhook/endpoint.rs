//! Where a webhook is: at a URL, or behind a service.

use api::{Map, Object, Resource, Value as Json, resource};

use super::super::lookup::{Lookup, maps, text};

const SLICES: Resource =
    Resource::namespaced("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice");

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
    client: &Map<String, Json>,
) -> Result<Endpoint, (Option<String>, String)> {
    if let Some(service) = client.get("service").and_then(Json::as_object) {
        return of_service(look, service);
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
    let address = resolve(look, &object, port).map_err(fail)?;
    Ok(Endpoint {
        server: format!("https://{address}"),
        server_name: Some(server_name),
        path: path.to_owned(),
        shown,
        address,
    })
}

/// `host:port` behind a service's port.
fn resolve(look: &Lookup, service: &Object, port: i64) -> Result<String, String> {
    let name = service.name();
    let join = |host: &str, port: i64| {
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    };
    let wanted = maps(service.at("spec.ports"))
        .find(|p| p.get("port").and_then(Json::as_i64) == Some(port))
        .ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
    if let Some(external) = service
        .text("spec.externalName")
        .filter(|_| service.text("spec.type") == Some("ExternalName"))
    {
        return Ok(join(external, port));
    }
    let port_name = text(wanted, "name");
    for entry in look.entries(&SLICES, Some(service.namespace())) {
        if entry.card.label("kubernetes.io/service-name") != Some(name) {
            continue;
        }
        let Ok(slice) = entry.object() else { continue };
        let number = maps(slice.at("ports"))
            .find(|p| text(p, "name") == port_name)
            .and_then(|p| p.get("port").and_then(Json::as_i64));
        let Some(number) = number else { continue };
        for endpoint in maps(slice.at("endpoints")) {
            if endpoint.get("conditions").is_some_and(|c| c["ready"] == false) {
                continue;
            }
            let addresses = endpoint.get("addresses").and_then(Json::as_array);
            if let Some(address) = addresses.and_then(|a| a.first()).and_then(Json::as_str) {
                return Ok(join(address, number));
            }
        }
    }
    // Without endpoints of its own the service may still lead somewhere.
    match service.text("spec.clusterIP") {
        Some(ip) if !ip.is_empty() && ip != "None" => Ok(join(ip, port)),
        _ => Err(format!("no endpoints available for service {name:?}")),
    }
}
