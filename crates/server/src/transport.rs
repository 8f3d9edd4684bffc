//! The in-process transport: requests of this process's components, through the whole stack.
//!
//! Not here: the stack, or HTTPS.

use std::pin::Pin;
use std::sync::Arc;

use api::Resource;
use bytes::Bytes;
use client::{Body, Client, Error, ListOptions, LocalWatch, Transport, Upgraded};
use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};
use tokio::sync::oneshot;

use crate::gate::UserInfo;
use crate::registry::local;
use crate::server::{RequestBody, Server, Target};
use crate::stack::{self, Origin};

/// How an upgrade gets its connection: hyper's for requests from the wire, a pipe in process.
#[derive(Clone)]
pub struct LocalUpgrade(Arc<parking_lot::Mutex<Option<oneshot::Sender<Pipe>>>>);

type Pipe = tokio::io::DuplexStream;

/// Bytes in a pipe between a component and the proxy.
const PIPE: usize = 64 * 1024;

impl LocalUpgrade {
    /// Makes the connection; the other end goes to who asked.
    pub fn connect(&self) -> Option<Pipe> {
        let sender = self.0.lock().take()?;
        let (ours, theirs) = tokio::io::duplex(PIPE);
        sender.send(theirs).ok()?;
        Some(ours)
    }
}

/// Requests of one user, in process.
#[derive(Clone)]
pub struct Local {
    server: Arc<Server>,
    user: Arc<UserInfo>,
    agent: http::HeaderValue,
}

impl Local {
    /// A client that acts as a user of these groups. Authorization applies to it as to anyone.
    pub fn client(server: &Arc<Server>, user: &str, groups: &[&str]) -> Client {
        let mut info = UserInfo::new(user, groups);
        if !info.in_group("system:authenticated") {
            info.groups.push("system:authenticated".to_owned());
        }
        let agent = user.strip_prefix("system:").unwrap_or(user).replace(':', "-");
        let agent = http::HeaderValue::from_str(&agent)
            .unwrap_or_else(|_| http::HeaderValue::from_static("isopod"));
        Client::new(Arc::new(Self { server: server.clone(), user: Arc::new(info), agent }))
    }

    fn serve(
        &self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> {
        let (mut parts, body) = request.into_parts();
        parts.headers.entry(http::header::USER_AGENT).or_insert_with(|| self.agent.clone());
        let origin = Origin::Process(self.user.clone());
        Box::pin(stack::serve(self.server.clone(), origin, parts, RequestBody::Bytes(body)))
    }
}

impl Transport for Local {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Body>, Error>> {
        let reply = self.serve(request);
        Box::pin(async move { Ok(reply.await) })
    }

    fn upgrade(&self, mut request: Request<Bytes>) -> BoxFuture<'static, Result<Upgraded, Error>> {
        let (sender, receiver) = oneshot::channel();
        let slot = LocalUpgrade(Arc::new(parking_lot::Mutex::new(Some(sender))));
        request.extensions_mut().insert(slot);
        let reply = self.serve(request);
        Box::pin(async move {
            let reply = reply.await;
            if reply.status() != StatusCode::SWITCHING_PROTOCOLS {
                let code = reply.status().as_u16();
                let body = reply.into_body().bytes().await?;
                return Err(api::ApiError::from_response(code, &body).into());
            }
            let headers = reply.headers().clone();
            let io = receiver
                .await
                .map_err(|_| Error::transport("upgrade", "the connection was dropped"))?;
            Ok(Upgraded { io: Box::new(io), headers })
        })
    }

    fn local(&self, resource: &Resource, options: &ListOptions) -> Option<LocalWatch> {
        let server = &self.server;
        let target = Target::find(
            server,
            (&resource.group, &resource.version, &resource.plural),
            &options.namespace,
            "",
        )?;
        let kind = target.kind;
        let attributes = crate::gate::Attributes {
            user: std::borrow::Cow::Borrowed(&self.user),
            verb: "watch",
            resource_request: true,
            group: kind.group,
            version: kind.version,
            resource: kind.plural,
            namespace: &options.namespace,
            field_selector: &options.field_selector,
            label_selector: &options.label_selector,
            ..crate::gate::Attributes::default()
        };
        stack::check(server, &attributes).ok()?;
        local::watch(&target, options, server.shutdown.clone())
    }
}
