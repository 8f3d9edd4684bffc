//! Everything that is no resource: discovery, OpenAPI, version, health, metrics, token keys.
//!
//! Not here: resources (`registry`).

pub mod discovery;
pub mod health;
pub mod kept;
pub mod openapi;
pub mod served;

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use crate::edge::Media;
use crate::edge::respond::{self, Reply};
use crate::metrics::scrape;
use crate::server::{Request, Server};

/// Serves a GET; `None` where nothing is served.
pub fn serve(server: &Arc<Server>, request: &Request) -> Option<Reply> {
    let path = request.info.path.as_str();
    let trimmed = if path.len() > 1 { path.trim_end_matches('/') } else { path };
    let json = |value: &Value| respond::value(StatusCode::OK, Media::Json, value);
    match trimmed {
        "/" | "/index.html" => Some(json(&json!({ "paths": paths(server) }))),
        "/version" => {
            let pretty = format!("{:#}", version());
            Some(respond::bytes(StatusCode::OK, "application/json", pretty))
        }
        "/metrics" => {
            server.flow.tell();
            Some(scrape::all(server))
        }
        "/metrics/slis" => Some(scrape::slis(server)),
        "/statusz" => Some(respond::text(StatusCode::OK, status(server))),
        "/flagz" => Some(respond::text(StatusCode::OK, flags(server))),
        "/.well-known/openid-configuration" => Some(json(&server.guards.tokens.discovery())),
        "/openid/v1/jwks" => {
            let body = crate::codec::json_line(&server.guards.tokens.keys());
            Some(respond::bytes(StatusCode::OK, "application/jwk-set+json", body))
        }
        path if path.starts_with("/debug/") => {
            let details = !request.params.get("includeRequestDetails").is_empty();
            let table = crate::flow::dump::table(&server.flow, &server.clock, path, details);
            table.map(|table| respond::text(StatusCode::OK, table))
        }
        _ => health::serve(server, request, trimmed)
            .or_else(|| openapi::serve(server, request, trimmed))
            .or_else(|| discovery::serve(server, request, trimmed)),
    }
}

/// What `/version` says: the version of Kubernetes that is implemented.
pub fn version() -> Value {
    json!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": concat!("v1.36.2+isopod-", env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": concat!("linux/", "amd64"),
    })
}

/// `/statusz`, for people.
fn status(server: &Server) -> String {
    let version = version();
    let paths = paths(server).join(" ");
    format!("kube-apiserver statusz\n\nBinary version: {}\nPaths: {paths}\n", version["gitVersion"])
}

/// `/flagz`, for people: how the server was started.
fn flags(server: &Server) -> String {
    let config = &server.config;
    let switches = |list: &[(String, bool)]| {
        list.iter().map(|(key, on)| format!("{key}={on}")).collect::<Vec<_>>().join(",")
    };
    let flags = [
        ("bind-address", config.bind_address.to_string()),
        ("feature-gates", switches(&config.feature_gates)),
        ("runtime-config", switches(&config.runtime_config)),
        ("secure-port", config.secure_port.to_string()),
        ("service-cluster-ip-range", config.service_cidr.clone()),
    ];
    let lines: String = flags.iter().map(|(flag, value)| format!("{flag}={value}\n")).collect();
    format!("kube-apiserver flagz\n\n{lines}")
}

fn paths(server: &Server) -> Vec<String> {
    let mut paths: Vec<String> = [
        "/.well-known/openid-configuration",
        "/api",
        "/api/v1",
        "/apis",
        "/apis/",
        "/flagz",
        "/healthz",
        "/livez",
        "/metrics",
        "/metrics/slis",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/",
        "/openid/v1/jwks",
        "/readyz",
        "/statusz",
        "/version",
    ]
    .map(str::to_owned)
    .to_vec();
    for group in server.served.groups().into_iter().filter(|g| !g.is_empty()) {
        paths.push(format!("/apis/{group}"));
        let versions = server.served.versions(group);
        paths.extend(versions.into_iter().map(|v| format!("/apis/{group}/{v}")));
    }
    let customs = server.customs.table();
    for group in customs.groups().filter(|g| !server.served.has_group(g)) {
        paths.push(format!("/apis/{group}"));
        let versions = customs.versions(group).iter();
        paths.extend(versions.map(|v| format!("/apis/{group}/{v}")));
    }
    paths.extend(health::paths());
    paths.sort();
    paths
}
