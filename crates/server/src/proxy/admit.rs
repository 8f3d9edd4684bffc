//! Admission of a connection: plugins, policies and webhooks see what is asked for as an object, the
//! options of the subresource.
//!
//! Not here: making the connection.

use std::sync::Arc;

use api::{ApiError, Map, Object, Value};

use crate::gate::Operation;
use crate::query::Params;
use crate::registry::write::Context;
use crate::server::{Request, Server, Target};

/// How an option stands in the query.
#[derive(Clone, Copy)]
enum Form {
    Flag,
    Text,
    Texts,
    Numbers,
}

/// The options of a kind that come by the query.
const OPTIONS: &[(&str, &[(&str, Form)])] = &[
    ("PodAttachOptions", STREAMS),
    ("PodExecOptions", STREAMS),
    ("PodPortForwardOptions", &[("ports", Form::Numbers)]),
];

const STREAMS: &[(&str, Form)] = &[
    ("stdin", Form::Flag),
    ("stdout", Form::Flag),
    ("stderr", Form::Flag),
    ("tty", Form::Flag),
    ("container", Form::Text),
    ("command", Form::Texts),
];

/// The object that stands for a connection; `path` is the one behind a proxy.
fn options(kind: &str, params: &Params, path: &str) -> Object {
    let mut map = Map::new();
    map.insert("kind".into(), kind.into());
    map.insert("apiVersion".into(), "v1".into());
    let fields = OPTIONS.iter().find(|(name, _)| *name == kind).map_or(&[][..], |(_, f)| f);
    for (key, form) in fields {
        let value = match form {
            Form::Flag => params.flag(key).then_some(Value::Bool(true)),
            Form::Text => Some(params.get(key)).filter(|t| !t.is_empty()).map(Value::from),
            Form::Texts => Some(params.all(key).map(Value::from).collect()),
            Form::Numbers => {
                let numbers = params.all(key).flat_map(|all| all.split(','));
                Some(
                    numbers.filter_map(|n| n.trim().parse::<i64>().ok()).map(Value::from).collect(),
                )
            }
        };
        let value = value.filter(|v| v.as_array().is_none_or(|list| !list.is_empty()));
        map.extend(value.map(|v| ((*key).to_owned(), v)));
    }
    if fields.is_empty() && !path.is_empty() {
        map.insert("path".into(), path.into());
    }
    Object(map)
}

/// Asks admission about a connection.
pub async fn admit(
    server: &Arc<Server>,
    request: &Request,
    target: &Target,
    path: &str,
) -> Result<(), ApiError> {
    let mut ctx = Context {
        server,
        user: &request.user,
        dry_run: false,
        manager: String::new(),
        options: Object::default(),
        warnings: Vec::new(),
        collection: false,
        applied: false,
        spaced: false,
    };
    let kind = target.kind.subresource(&target.sub).map_or("", |sub| sub.kind);
    let mut object = options(kind, &request.params, path);
    ctx.mutate(target, Operation::Connect, &mut object, None).await?;
    ctx.validate(target, Operation::Connect, Some(&mut object), None).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn connections_as_objects() {
        let of = |kind, query, path| Value::Object(options(kind, &Params::parse(query), path).0);
        assert_eq!(
            of("PodExecOptions", "command=ls&command=-l&stdin=true&tty=false&container=c", ""),
            json!({"kind": "PodExecOptions", "apiVersion": "v1", "stdin": true,
                "container": "c", "command": ["ls", "-l"]})
        );
        assert_eq!(
            of("PodAttachOptions", "stdout=1", ""),
            json!({"kind": "PodAttachOptions", "apiVersion": "v1", "stdout": true})
        );
        assert_eq!(
            of("PodPortForwardOptions", "ports=80&ports=81", ""),
            json!({"kind": "PodPortForwardOptions", "apiVersion": "v1", "ports": [80, 81]})
        );
        assert_eq!(
            of("ServiceProxyOptions", "path=other", "/a/b"),
            json!({"kind": "ServiceProxyOptions", "apiVersion": "v1", "path": "/a/b"})
        );
    }
}
