//! Agreeing on a framing: the upgrade headers of both ends.
//!
//! Not here: what is spoken after the upgrade.

use api::ApiError;
use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::client::Client;
use crate::error::Error;
use crate::transport::Upgraded;

/// Browsers carry their bearer token, base64, behind this in the name of a protocol beside the ones
/// that they speak.
pub const TOKEN_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// Which framing carries the streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// SPDY/3.1 on the connection itself, with the version of the stream protocol inside.
    Spdy {
        /// 1 to 4.
        version: u8,
    },
    /// Numbered channels in WebSocket messages.
    WebSocket {
        /// 1, 4 or 5.
        version: u8,
        /// Messages are text, their payload base64.
        base64: bool,
    },
    /// SPDY/3.1 in WebSocket messages.
    Tunnel,
}

/// What a stream is used for; the names of its protocols depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Exec and attach.
    RemoteCommand,
    /// Port-forward.
    PortForward,
    /// One stream of bytes to the client (logs).
    Bytes,
}

/// WebSocket subprotocols by use: name and framing.
const SUBPROTOCOLS: &[(Use, &str, Framing)] = &[
    (Use::RemoteCommand, "v5.channel.k8s.io", Framing::WebSocket { version: 5, base64: false }),
    (Use::RemoteCommand, "v4.channel.k8s.io", Framing::WebSocket { version: 4, base64: false }),
    (
        Use::RemoteCommand,
        "v4.base64.channel.k8s.io",
        Framing::WebSocket { version: 4, base64: true },
    ),
    (Use::RemoteCommand, "channel.k8s.io", Framing::WebSocket { version: 1, base64: false }),
    (Use::RemoteCommand, "base64.channel.k8s.io", Framing::WebSocket { version: 1, base64: true }),
    (Use::RemoteCommand, "", Framing::WebSocket { version: 1, base64: false }),
    (Use::PortForward, "SPDY/3.1+portforward.k8s.io", Framing::Tunnel),
    (Use::PortForward, "v4.channel.k8s.io", Framing::WebSocket { version: 4, base64: false }),
    (Use::PortForward, "v4.base64.channel.k8s.io", Framing::WebSocket { version: 4, base64: true }),
    (Use::PortForward, "portforward.k8s.io", Framing::WebSocket { version: 4, base64: false }),
    (Use::PortForward, "", Framing::WebSocket { version: 4, base64: false }),
    (Use::Bytes, "binary.k8s.io", Framing::WebSocket { version: 1, base64: false }),
    (Use::Bytes, "base64.binary.k8s.io", Framing::WebSocket { version: 1, base64: true }),
    (Use::Bytes, "", Framing::WebSocket { version: 1, base64: false }),
];

/// Stream protocols in SPDY by use.
const STREAM_PROTOCOLS: &[(Use, &str, u8)] = &[
    (Use::RemoteCommand, "v4.channel.k8s.io", 4),
    (Use::RemoteCommand, "v3.channel.k8s.io", 3),
    (Use::RemoteCommand, "v2.channel.k8s.io", 2),
    (Use::RemoteCommand, "channel.k8s.io", 1),
    (Use::PortForward, "portforward.k8s.io", 1),
];

const STREAM_VERSION: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED_VERSIONS: HeaderName =
    HeaderName::from_static("x-accepted-stream-protocol-versions");

/// Why a client's offer cannot be taken: the response to send.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub struct HandshakeError {
    /// The status to answer with.
    pub error: ApiError,
    /// Further headers of the answer.
    pub headers: HeaderMap,
}

/// A server's side of an upgrade.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// What both will speak.
    pub framing: Framing,
    headers: HeaderMap,
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(str::trim)
}

/// Whether a request asks for an upgrade at all.
pub fn wants_upgrade(headers: &HeaderMap) -> bool {
    tokens(headers, &CONNECTION).any(|t| t.eq_ignore_ascii_case("upgrade"))
        && headers.contains_key(UPGRADE)
}

/// Whether a request asks for a WebSocket.
pub fn is_websocket(headers: &HeaderMap) -> bool {
    wants_upgrade(headers) && tokens(headers, &UPGRADE).any(|t| t.eq_ignore_ascii_case("websocket"))
}

impl Handshake {
    /// Chooses among what a request's headers offer.
    // Refusals are rare, and once a connection: their size does not matter.
    #[allow(clippy::result_large_err)]
    pub fn negotiate(headers: &HeaderMap, usage: Use) -> Result<Self, HandshakeError> {
        if is_websocket(headers) {
            return Self::websocket(headers, usage);
        }
        let spdy = tokens(headers, &UPGRADE).any(|t| t.eq_ignore_ascii_case("SPDY/3.1"));
        if !wants_upgrade(headers) || !spdy {
            return Err(refuse(ApiError::bad_request("Upgrade request required")));
        }
        let offered: Vec<&str> = tokens(headers, &STREAM_VERSION).collect();
        let known = STREAM_PROTOCOLS.iter().filter(|(u, _, _)| *u == usage);
        let chosen = offered.iter().find_map(|o| known.clone().find(|(_, name, _)| name == o));
        let mut answer = HeaderMap::new();
        answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        answer.insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
        let version = match chosen {
            Some((_, name, version)) => {
                answer.insert(STREAM_VERSION, HeaderValue::from_static(name));
                *version
            }
            // Clients from before there were versions.
            None if offered.is_empty() => 1,
            None => {
                let all: Vec<&str> = known.map(|(_, name, _)| *name).collect();
                let message = format!(
                    "unable to upgrade: unable to negotiate protocol: client supports {offered:?}, server accepts {all:?}"
                );
                let mut refused = refuse(ApiError::new(api::Reason::Forbidden, message));
                for name in all {
                    refused.headers.append(ACCEPTED_VERSIONS, HeaderValue::from_static(name));
                }
                return Err(refused);
            }
        };
        Ok(Self { framing: Framing::Spdy { version }, headers: answer })
    }

    #[allow(clippy::result_large_err)]
    fn websocket(headers: &HeaderMap, usage: Use) -> Result<Self, HandshakeError> {
        let key = headers.get(header::SEC_WEBSOCKET_KEY);
        let Some(key) =
            key.filter(|_| tokens(headers, &header::SEC_WEBSOCKET_VERSION).any(|v| v == "13"))
        else {
            return Err(refuse(ApiError::bad_request("not a WebSocket version 13 handshake")));
        };
        let offered: Vec<&str> = tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL)
            .filter(|p| !p.starts_with(TOKEN_PROTOCOL))
            .collect();
        let offered = if offered.is_empty() { vec![""] } else { offered };
        let known = SUBPROTOCOLS.iter().filter(|(u, _, _)| *u == usage);
        let chosen = offered.iter().find_map(|o| known.clone().find(|(_, name, _)| name == o));
        let Some((_, name, framing)) = chosen else {
            let message = format!("unable to upgrade: none of the protocols {offered:?} is known");
            return Err(refuse(ApiError::bad_request(message)));
        };
        let headers = accepted(key, name).map_err(|e| refuse(ApiError::internal(e)))?;
        Ok(Self { framing: *framing, headers })
    }

    /// Takes a WebSocket of one protocol, whichever it is, or of none, as watches do. Its client must
    /// say where it comes from. Otherwise: the status to answer with, which explains itself.
    pub fn any(headers: &HeaderMap) -> Result<Self, StatusCode> {
        let is = |name: HeaderName, value: &str| tokens(headers, &name).any(|v| v == value);
        let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or(StatusCode::BAD_REQUEST)?;
        if !is(header::SEC_WEBSOCKET_VERSION, "13") {
            return Err(StatusCode::BAD_REQUEST);
        }
        let origin = headers.get(header::ORIGIN).and_then(|v| v.to_str().ok()).unwrap_or("");
        if !origin.starts_with('/') && !origin.contains(':') {
            return Err(StatusCode::FORBIDDEN);
        }
        let offered: Vec<&str> = tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL)
            .filter(|p| !p.starts_with(TOKEN_PROTOCOL))
            .collect();
        let name = match offered[..] {
            [] => "",
            [one] => one,
            _ => return Err(StatusCode::BAD_REQUEST),
        };
        let headers = accepted(key, name).map_err(|_| StatusCode::BAD_REQUEST)?;
        Ok(Self { framing: Framing::WebSocket { version: 1, base64: false }, headers })
    }

    /// The `101` response; its body is empty.
    pub fn response<B: Default>(&self) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = self.headers.clone();
        response
    }
}

/// The headers that accept a WebSocket.
fn accepted(key: &HeaderValue, protocol: &str) -> Result<HeaderMap, http::Error> {
    let mut answer = HeaderMap::new();
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let accept = derive_accept_key(key.as_bytes());
    answer.insert(header::SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&accept)?);
    if !protocol.is_empty() {
        answer.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(protocol)?);
    }
    Ok(answer)
}

fn refuse(error: ApiError) -> HandshakeError {
    HandshakeError { error, headers: HeaderMap::new() }
}

/// Asks a server for SPDY; the version agreed on comes back.
pub(super) async fn request_spdy(
    client: &Client,
    path: &str,
    usage: Use,
) -> Result<(Upgraded, u8), Error> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "SPDY/3.1");
    for (_, name, _) in STREAM_PROTOCOLS
        .iter()
        .filter(|(u, _, v)| *u == usage && (*v > 1 || usage == Use::PortForward))
    {
        request = request.header(STREAM_VERSION, *name);
    }
    let request = request.body(Bytes::new()).map_err(|e| Error::Config(e.to_string()))?;
    let upgraded = client.upgrade(request).await?;
    let chosen = tokens(&upgraded.headers, &STREAM_VERSION).next().unwrap_or("");
    let known = STREAM_PROTOCOLS.iter().find(|(u, name, _)| *u == usage && *name == chosen);
    match known {
        Some((_, _, version)) => Ok((upgraded, *version)),
        None if chosen.is_empty() => Ok((upgraded, 1)),
        None => Err(Error::Protocol(format!("server chose {chosen:?}"))),
    }
}

/// Asks a server for a WebSocket with one of these subprotocols; the framing comes back.
pub(super) async fn request_websocket(
    client: &Client,
    path: &str,
    usage: Use,
    offer: &str,
) -> Result<(Upgraded, Framing), Error> {
    let request = Request::builder()
        .method(Method::GET)
        .uri(path)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, generate_key())
        .header(header::SEC_WEBSOCKET_PROTOCOL, offer)
        .body(Bytes::new())
        .map_err(|e| Error::Config(e.to_string()))?;
    let upgraded = client.upgrade(request).await?;
    let chosen = tokens(&upgraded.headers, &header::SEC_WEBSOCKET_PROTOCOL).next().unwrap_or("");
    let known = SUBPROTOCOLS.iter().find(|(u, name, _)| *u == usage && *name == chosen);
    match known {
        Some((_, _, framing)) => Ok((upgraded, *framing)),
        None => Err(Error::Protocol(format!("server chose the subprotocol {chosen:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn the_clients_order_decides() {
        let spdy = headers(&[
            ("connection", "Upgrade"),
            ("upgrade", "SPDY/3.1"),
            ("x-stream-protocol-version", "v9.channel.k8s.io"),
            ("x-stream-protocol-version", "v3.channel.k8s.io"),
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
        ]);
        let chosen = Handshake::negotiate(&spdy, Use::RemoteCommand).expect("agrees");
        assert_eq!(chosen.framing, Framing::Spdy { version: 3 });
        let response: Response<()> = chosen.response();
        assert_eq!(response.headers()["x-stream-protocol-version"], "v3.channel.k8s.io");
        let refused = Handshake::negotiate(&spdy, Use::PortForward).expect_err("refuses");
        assert_eq!(refused.error.code, 403);
    }

    #[test]
    fn websockets() {
        let mut ws = headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "v6.channel.k8s.io, v5.channel.k8s.io,v4.channel.k8s.io"),
        ]);
        let chosen = Handshake::negotiate(&ws, Use::RemoteCommand).expect("agrees");
        assert_eq!(chosen.framing, Framing::WebSocket { version: 5, base64: false });
        let response: Response<()> = chosen.response();
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        ws.insert("sec-websocket-protocol", HeaderValue::from_static("soap"));
        assert!(Handshake::negotiate(&ws, Use::RemoteCommand).is_err());
        let plain = Handshake::negotiate(&HeaderMap::new(), Use::RemoteCommand);
        assert_eq!(plain.expect_err("refuses").error.message, "Upgrade request required");
    }
}
