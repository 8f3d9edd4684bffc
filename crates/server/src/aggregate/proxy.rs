//! Requests passed on to other servers, with the user in headers that the front proxy's certificate
//! vouches for.
//!
//! Not here: which server (`super`), the way to nodes, pods and services (`crate::proxy`).

use std::sync::Arc;

use api::{ApiError, percent};
use http::{
    HeaderMap, HeaderName, HeaderValue, Request as HttpRequest, StatusCode, header, request,
};

use super::Remote;
use crate::edge::respond::{self, Reply};
use crate::gate::UserInfo;
use crate::proxy::http::{HOP, upgraded};
use crate::server::{Request, Server};

const USER: HeaderName = HeaderName::from_static("x-remote-user");
const UID: HeaderName = HeaderName::from_static("x-remote-uid");
const GROUP: HeaderName = HeaderName::from_static("x-remote-group");
const EXTRA: &str = "x-remote-extra-";

/// Passes a request on.
pub async fn serve(
    server: &Arc<Server>,
    mut request: Request,
    remote: &Remote,
    available: bool,
) -> Result<Reply, ApiError> {
    let refuse = |why: String| respond::text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"));
    if !available {
        return Ok(refuse("service unavailable".to_owned()));
    }
    let backend = match remote.client(server) {
        Ok(backend) => backend,
        Err(why) => {
            tracing::debug!(api = remote.name, why, "no way to the server of an API");
            return Ok(refuse("service unavailable".to_owned()));
        }
    };
    let upgrade = client::stream::handshake::wants_upgrade(&request.parts.headers);
    let uri = request.parts.uri.path_and_query().map_or("/", |p| p.as_str());
    let mut onward = HttpRequest::builder().method(request.parts.method.clone()).uri(uri);
    for (name, value) in &request.parts.headers {
        let ours = [header::AUTHORIZATION, header::HOST, header::CONTENT_LENGTH].contains(name)
            || name.as_str().starts_with("x-remote-");
        let kept = upgrade && [header::UPGRADE, header::CONNECTION].contains(name);
        if !ours && (kept || !HOP.contains(name)) {
            onward = onward.header(name, value);
        }
    }
    if let Some(headers) = onward.headers_mut() {
        identify(headers, &request.user);
    }
    let body = request.take_body();
    let onward = onward.body(body.bytes().await?).map_err(ApiError::internal)?;
    if upgrade {
        return upgraded(server, &mut request, &backend, onward).await;
    }
    match backend.send(onward).await {
        Ok(response) => {
            let (mut parts, body) = response.into_parts();
            for name in HOP {
                parts.headers.remove(name);
            }
            Ok(Reply::from_parts(parts, body))
        }
        Err(error) => {
            remote.forget();
            Ok(refuse(format!("error trying to reach service: {error}")))
        }
    }
}

/// Says who asks. What no header can hold is left out.
fn identify(headers: &mut HeaderMap, user: &UserInfo) {
    let mut add = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.append(name, value);
        }
    };
    add(USER, &user.name);
    if !user.uid.is_empty() {
        add(UID, &user.uid);
    }
    for group in &user.groups {
        add(GROUP, group);
    }
    for (key, values) in &user.extra {
        let Ok(name) =
            HeaderName::try_from(format!("{EXTRA}{}", percent::encode(key, percent::HEADER_NAME)))
        else {
            continue;
        };
        for value in values {
            add(name.clone(), value);
        }
    }
}

/// A request of the aggregator's own.
pub fn as_aggregator(builder: request::Builder) -> request::Builder {
    builder.header(USER, "system:kube-aggregator").header(GROUP, "system:masters")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_in_headers() {
        let mut user = UserInfo::new("alice", &["dev", "ops"]);
        user.uid = "7".into();
        user.extra.insert("example.com/a%b".into(), vec!["x".into(), "y".into()]);
        let mut headers = HeaderMap::new();
        identify(&mut headers, &user);
        let all = |name: &str| -> Vec<&str> {
            headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect()
        };
        assert_eq!(all("x-remote-user"), ["alice"]);
        assert_eq!(all("x-remote-uid"), ["7"]);
        assert_eq!(all("x-remote-group"), ["dev", "ops"]);
        assert_eq!(all("x-remote-extra-example.com%2fa%25b"), ["x", "y"]);
    }
}
