//! `/api`, `/apis` and what is under them, in the old and the aggregated form.
//!
//! Not here: the documents' contents (`api::discovery`).

use api::discovery::{self, Group};
use api::{ApiError, Value};
use http::{HeaderValue, StatusCode, header};

use crate::aggregate;
use crate::edge::respond::{self, Reply};
use crate::edge::{Media, accept};
use crate::server::{Request, Server};

fn groups(server: &Server) -> Vec<Group> {
    let serves = |kind: &api::kinds::Kind| {
        server.served.find(kind.group, kind.version, kind.plural).is_some()
    };
    let mut groups = discovery::builtin(serves);
    let table = server.customs.table();
    for group in api::crd::documents::groups(table.definitions()) {
        // A built-in group has no room for definitions.
        if !groups.iter().any(|g| g.name == group.name) {
            groups.push(group);
        }
    }
    aggregate::merge(server, groups)
}

/// Serves a discovery document; `None` for other paths.
pub fn serve(server: &Server, request: &Request, path: &str) -> Option<Reply> {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let all = groups(server);
    let document = match parts.as_slice() {
        ["api"] | ["apis"] => return Some(root(request, &all, parts[0] == "api", server)),
        ["api", version] => {
            let group = all.iter().find(|g| g.name.is_empty())?;
            let version = group.versions.iter().find(|v| v.version == *version);
            match version {
                Some(version) => discovery::resource_list("", version),
                None => return Some(respond::error(&respond::no_resource(), request.media)),
            }
        }
        ["apis", name] => discovery::group(all.iter().find(|g| g.name == *name)?),
        ["apis", name, version] => {
            let group = all.iter().find(|g| g.name == *name)?;
            match group.versions.iter().find(|v| v.version == *version) {
                Some(version) => discovery::resource_list(&group.name, version),
                None => return Some(respond::error(&respond::no_resource(), request.media)),
            }
        }
        _ => return None,
    };
    Some(negotiated(request, &document))
}

/// Whether a path has a discovery document.
pub fn knows(server: &Server, path: &str) -> bool {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match parts.as_slice() {
        ["api"] | ["apis"] => true,
        ["api", version] => server.served.versions("").contains(version),
        ["apis", group] => {
            server.served.has_group(group) || !server.customs.table().versions(group).is_empty()
        }
        ["apis", group, version] => {
            server.served.versions(group).contains(version)
                || server.customs.table().versions(group).contains(version)
        }
        _ => false,
    }
}

fn negotiated(request: &Request, document: &Value) -> Reply {
    if let Err(error) = accept::route(&request.accept(), false) {
        return respond::error(&error, request.media);
    }
    match accept::negotiate(&request.accept(), false, true) {
        Ok(accept) => respond::value(StatusCode::OK, accept.media, document),
        Err(error) => respond::error(&error, request.media),
    }
}

/// The aggregated form's versions.
const AGGREGATED: [(&str, &str); 1] =
    [("v2", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")];

/// The aggregated form that a client prefers to the old one, by version and content type.
fn wants_aggregated(accept: &str) -> Option<(&'static str, &'static str)> {
    for clause in accept.split(',') {
        let mut parts = clause.split(';').map(str::trim);
        let media = parts.next().unwrap_or("");
        let params: Vec<&str> = parts.collect();
        let is = |text: &str| params.contains(&text);
        if !is("as=APIGroupDiscoveryList") {
            if matches!(media, "application/json" | "application/yaml" | "*/*" | "application/*")
                || media == Media::Protobuf.content_type()
            {
                return None;
            }
            continue;
        }
        if media != "application/json" || !is("g=apidiscovery.k8s.io") {
            continue;
        }
        let found = AGGREGATED.iter().find(|(v, _)| is(&format!("v={v}")));
        if found.is_some() {
            return found.copied();
        }
    }
    None
}

fn root(request: &Request, all: &[Group], core: bool, server: &Server) -> Reply {
    let of: Vec<Group> = all.iter().filter(|g| g.name.is_empty() == core).cloned().collect();
    let accept = request.accept();
    if let Some((version, content_type)) = wants_aggregated(&accept) {
        let mut document = discovery::aggregated(&of);
        aggregate::complete(server, &mut document);
        document["apiVersion"] = format!("apidiscovery.k8s.io/{version}").into();
        let body = crate::codec::json_line(&document);
        return tagged(request, respond::bytes(StatusCode::OK, content_type, body.clone()), &body);
    }
    let document = if core {
        discovery::api_versions(&of, &server_address(server))
    } else {
        discovery::group_list(&of)
    };
    let mut reply = match accept::negotiate(&accept, false, true) {
        Ok(form) => respond::value(StatusCode::OK, form.media, &document),
        Err(error) => respond::error(&error, request.media),
    };
    if reply.status() == StatusCode::NOT_ACCEPTABLE && accept.contains("APIGroupDiscoveryList") {
        let error: ApiError = ApiError::new(
            api::Reason::NotAcceptable,
            "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf",
        );
        reply = respond::error(&error, request.media);
    }
    reply.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    reply
}

fn server_address(server: &Server) -> String {
    let address = server.config.advertise_address.unwrap_or(server.config.bind_address);
    std::net::SocketAddr::new(address, server.config.secure_port).to_string()
}

/// Adds the document's hash as its tag, and leaves the document out where the client has it.
fn tagged(request: &Request, mut reply: Reply, body: &[u8]) -> Reply {
    use sha2::{Digest, Sha256};
    let hash: String = Sha256::digest(body).iter().map(|b| format!("{b:02X}")).collect();
    let tag = format!("\"{hash}\"");
    if request.header(header::IF_NONE_MATCH) == tag {
        *reply.body_mut() = client::Body::empty();
        *reply.status_mut() = StatusCode::NOT_MODIFIED;
    }
    if let Ok(value) = HeaderValue::from_str(&tag) {
        reply.headers_mut().insert(header::ETAG, value);
    }
    reply.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    let public = HeaderValue::from_static("public");
    reply.headers_mut().insert(header::CACHE_CONTROL, public);
    reply
}
