//! `/api`, `/apis` and what is under them, in the old and the aggregated form.
//!
//! Not here: the documents' contents (`api::discovery`).

use std::sync::LazyLock;

use api::discovery::{self, Group};
use api::{ApiError, Value};
use http::{HeaderValue, StatusCode, header};
use prometheus::{IntCounter, register_int_counter};

use super::kept::{Document, Mark};
use crate::aggregate;
use crate::edge::respond::{self, Reply};
use crate::edge::{Media, accept};
use crate::server::{Request, Server};

/// Times that the aggregated form was made, by upstream's name.
static MADE: LazyLock<Option<IntCounter>> = LazyLock::new(|| {
    register_int_counter!(
        "aggregator_discovery_aggregation_count_total",
        "Counter of number of times discovery was aggregated"
    )
    .ok()
});

/// What is wanted of custom resources.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted<'a> {
    /// Of all groups their versions alone.
    Versions,
    /// All of one group.
    Group(&'a str),
    /// All of it.
    All,
}

fn groups(server: &Server, wanted: Wanted<'_>) -> Vec<Group> {
    let one = match wanted {
        Wanted::Group(name) => Some(name),
        Wanted::Versions | Wanted::All => None,
    };
    let serves = |kind: &api::kinds::Kind| {
        one.is_none_or(|name| kind.group == name)
            && server.served.find(kind.group, kind.version, kind.plural).is_some()
    };
    let mut groups = discovery::builtin(serves);
    let table = server.customs.table();
    // A built-in group has no room for definitions.
    let room = |name: &str| !server.served.has_group(name);
    match wanted {
        Wanted::Versions => groups.extend(table.groups().filter(|name| room(name)).map(|name| {
            let version = |v: &&str| (*v).to_owned();
            Group::bare(name, table.versions(name).iter().map(version))
        })),
        Wanted::Group(name) if room(name) => {
            groups.extend(api::crd::documents::groups(table.definitions_of(name)));
        }
        Wanted::Group(_) => {}
        Wanted::All => {
            let all = api::crd::documents::groups(table.definitions());
            groups.extend(all.into_iter().filter(|group| room(&group.name)));
        }
    }
    aggregate::merge(server, groups)
}

/// Serves a discovery document; `None` for other paths.
pub fn serve(server: &Server, request: &Request, path: &str) -> Option<Reply> {
    let parts: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    let (name, version) = match parts.as_slice() {
        ["api"] | ["apis"] => return Some(root(request, parts[0] == "api", server)),
        ["api", version] => ("", Some(*version)),
        ["apis", name] => (*name, None),
        ["apis", name, version] => (*name, Some(*version)),
        _ => return None,
    };
    let all = groups(server, Wanted::Group(name));
    let group = all.iter().find(|g| g.name == name)?;
    let Some(version) = version else {
        return Some(negotiated(request, &discovery::group(group)));
    };
    match group.versions.iter().find(|v| v.version == version) {
        Some(version) => Some(negotiated(request, &discovery::resource_list(&group.name, version))),
        None => Some(respond::error(&respond::no_resource(), request.media)),
    }
}

/// Whether a path has a discovery document.
pub fn knows(server: &Server, path: &str) -> bool {
    let parts: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
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
    match accept::negotiate(&request.accept(), accept::Shapes::Own, true) {
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

fn root(request: &Request, core: bool, server: &Server) -> Reply {
    let accept = request.accept();
    if let Some((version, content_type)) = wants_aggregated(&accept) {
        let document = match core {
            true => aggregated(server, Wanted::Group(""), version),
            false => {
                let mark = Mark::now(server);
                server.documents.discovery.get(mark, || aggregated(server, Wanted::All, version))
            }
        };
        let reply = respond::bytes(StatusCode::OK, content_type, document.body);
        return tagged(request, reply, &document.tag);
    }
    let document = if core {
        discovery::api_versions(&groups(server, Wanted::Group("")), &server_address(server))
    } else {
        discovery::group_list(&groups(server, Wanted::Versions))
    };
    let mut reply = match accept::negotiate(&accept, accept::Shapes::Own, true) {
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

/// The aggregated form of the core group, or of the others.
fn aggregated(server: &Server, wanted: Wanted<'_>, version: &str) -> Document {
    use sha2::{Digest, Sha256};
    if let (Some(made), Wanted::All) = (&*MADE, wanted) {
        made.inc();
    }
    let mut of = groups(server, wanted);
    of.retain(|group| group.name.is_empty() == (wanted != Wanted::All));
    let mut document = discovery::aggregated(&of);
    aggregate::complete(server, &mut document);
    document["apiVersion"] = format!("apidiscovery.k8s.io/{version}").into();
    let body = crate::codec::json_line(&document);
    let tag = Sha256::digest(&body).iter().map(|b| format!("{b:02X}")).collect();
    Document { body, tag }
}

/// Adds a document's tag, and leaves the document out where the client has it.
fn tagged(request: &Request, mut reply: Reply, tag: &str) -> Reply {
    let tag = format!("\"{tag}\"");
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
