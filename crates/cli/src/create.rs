//! `create`: objects from files, or the common kinds from flags. Not here: merging with what exists
//! (`apply`).

use std::path::Path;

use api::{Object, Resource, Value};
use base64::Engine as _;
use bytes::Bytes;
use http::{Method, Request, header};
use serde_json::json;

use crate::args::{Create, CreateKind};
use crate::context::Context;
use crate::discover::Discovery;
use crate::manifest::{self, shown};
use crate::printer::Format;
use crate::text::{duration, print};
use crate::{Error, Result};

/// Runs the command.
pub async fn run(context: &Context, args: Create) -> Result<()> {
    if let Some(CreateKind::Token { name, duration, audience }) = &args.kind {
        return token(context, name, duration, audience).await;
    }
    let objects = match &args.kind {
        Some(kind) => vec![from_flags(kind)?],
        None => manifest::load(&args.files)?,
    };
    let discovery = Discovery::load(&context.client).await?;
    let mut failed = false;
    for object in objects {
        if let Err(error) = create(context, &args, &discovery, object).await {
            eprintln!("{error}");
            failed = true;
        }
    }
    if failed { Err(Error::Printed) } else { Ok(()) }
}

async fn create(
    context: &Context,
    args: &Create,
    discovery: &Discovery,
    mut object: Object,
) -> Result<()> {
    let resource = discovery.of_kind(object.api_version(), object.kind())?.clone();
    let namespace = place(context, &resource, &mut object)?;
    let made = if args.dry_run == "client" {
        object
    } else {
        let query = write_query(&args.validate, args.dry_run == "server", "kubectl-create");
        let path = format!("{}?{query}", resource.path(Some(&namespace), None, None));
        send(context, Method::POST, &path, "application/json", &object).await?
    };
    report(&resource, &made, "created", &args.output, &args.dry_run)
}

/// The namespace of an object: its own, or the command's, which it gets. A conflict is an error.
pub fn place(context: &Context, resource: &Resource, object: &mut Object) -> Result<String> {
    if !resource.namespaced {
        return Ok(String::new());
    }
    if object.namespace().is_empty() {
        object.set_meta("namespace", context.namespace.clone());
    } else if context.explicit_namespace && object.namespace() != context.namespace {
        return Err(Error::usage(format!(
            "the namespace from the provided object \"{}\" does not match the namespace \"{}\". You must pass '--namespace={}' to perform this operation.",
            object.namespace(),
            context.namespace,
            object.namespace()
        )));
    }
    Ok(object.namespace().to_owned())
}

/// The query of a write: field validation, dry run, manager.
pub fn write_query(validate: &str, dry_run: bool, manager: &str) -> String {
    let level = match validate.to_lowercase().as_str() {
        "ignore" | "false" => "Ignore",
        "warn" => "Warn",
        _ => "Strict",
    };
    let dry_run = if dry_run { "&dryRun=All" } else { "" };
    format!("fieldManager={manager}&fieldValidation={level}{dry_run}")
}

/// Sends an object and reads one back; warnings of the server go to stderr.
pub async fn send(
    context: &Context,
    method: Method,
    path: &str,
    media: &str,
    body: &impl serde::Serialize,
) -> Result<Object> {
    let bytes: Bytes = serde_json::to_vec(body).map_err(|e| Error::usage(e.to_string()))?.into();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, media)
        .header(header::ACCEPT, "application/json")
        .body(bytes)
        .map_err(|e| Error::usage(e.to_string()))?;
    let response = context.client.request(request).await?;
    for warning in response.headers().get_all("warning") {
        // `299 - "text"`
        let text = warning.to_str().unwrap_or("");
        let text = text.splitn(3, ' ').nth(2).unwrap_or(text).trim_matches('"');
        eprintln!("Warning: {}", text.replace("\\\"", "\""));
    }
    let bytes = response.into_body().bytes().await?;
    serde_json::from_slice(&bytes).map_err(|e| Error::usage(format!("cannot read the answer: {e}")))
}

/// Says what was done: `pod/web created`, or the object itself with `-o`.
pub fn report(
    resource: &Resource,
    object: &Object,
    verb: &str,
    output: &str,
    dry_run: &str,
) -> Result<()> {
    if output.is_empty() {
        let suffix = match dry_run {
            "client" => " (dry run)",
            "server" => " (server dry run)",
            _ => "",
        };
        print(&format!("{} {verb}{suffix}\n", shown(resource, object.name())));
        return Ok(());
    }
    let mut object = object.clone();
    object.set_meta("managedFields", Value::Null);
    print(&Format::parse(output)?.print(resource, &object)?);
    Ok(())
}

async fn token(context: &Context, name: &str, span: &str, audiences: &[String]) -> Result<()> {
    let mut spec = json!({ "audiences": audiences });
    if !span.is_empty() {
        spec["expirationSeconds"] = duration(span)?.as_secs().into();
    }
    let body =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
    let answer: Value = context
        .client
        .create_sub(&api::resource::SERVICE_ACCOUNTS, &context.namespace, name, "token", &body)
        .await?;
    print(&format!("{}\n", answer["status"]["token"].as_str().unwrap_or("")));
    Ok(())
}

fn object(value: Value) -> Object {
    Object::from_value(value).unwrap_or_default()
}

fn from_flags(kind: &CreateKind) -> Result<Object> {
    Ok(object(match kind {
        CreateKind::Namespace { name } => {
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        }
        CreateKind::Serviceaccount { name } => {
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
        }
        CreateKind::Deployment { name, image, replicas, port, command } => {
            deployment(name, image, *replicas, *port, command)
        }
        CreateKind::Configmap { name, from_literal, from_file } => {
            let (mut text, mut binary) = (api::Map::new(), api::Map::new());
            for (key, bytes) in pairs(from_literal, from_file)? {
                match String::from_utf8(bytes) {
                    Ok(value) => text.insert(key, value.into()),
                    Err(e) => binary.insert(key, encode(e.as_bytes()).into()),
                };
            }
            let mut map =
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
            for (field, data) in [("data", text), ("binaryData", binary)] {
                if !data.is_empty() {
                    map[field] = data.into();
                }
            }
            map
        }
        CreateKind::Secret { kind, name, from_literal, from_file, r#type, cert, key } => {
            let (kind, mut content) = match kind.as_str() {
                "generic" => (if r#type.is_empty() { "Opaque" } else { r#type }, Vec::new()),
                "tls" => {
                    let (Some(cert), Some(key)) = (cert, key) else {
                        return Err(Error::usage("key and cert must be specified"));
                    };
                    (
                        "kubernetes.io/tls",
                        vec![("tls.crt".into(), read(cert)?), ("tls.key".into(), read(key)?)],
                    )
                }
                other => {
                    return Err(Error::usage(format!(
                        "unknown secret type {other:?}: generic or tls"
                    )));
                }
            };
            content.extend(pairs(from_literal, from_file)?);
            let data: api::Map<String, Value> =
                content.into_iter().map(|(k, v)| (k, encode(&v).into())).collect();
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": kind, "data": data})
        }
        CreateKind::Service { kind, name, tcp } => service(kind, name, tcp)?,
        CreateKind::Token { .. } => return Err(Error::usage("a token is not an object")),
    }))
}

fn deployment(
    name: &str,
    images: &[String],
    replicas: u32,
    port: Option<u16>,
    command: &[String],
) -> Value {
    let containers: Vec<Value> = images
        .iter()
        .map(|image| {
            let base = image.rsplit('/').next().unwrap_or(image);
            let base = base.split([':', '@']).next().unwrap_or(base);
            let mut container = json!({"name": base, "image": image});
            if let Some(port) = port {
                container["ports"] = json!([{"containerPort": port}]);
            }
            if !command.is_empty() {
                container["command"] = json!(command);
            }
            container
        })
        .collect();
    let labels = json!({ "app": name });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
        },
    })
}

fn service(kind: &str, name: &str, tcp: &[String]) -> Result<Value> {
    let kind = match kind {
        "clusterip" => "ClusterIP",
        "nodeport" => "NodePort",
        "loadbalancer" => "LoadBalancer",
        other => return Err(Error::usage(format!("unknown service type {other:?}"))),
    };
    let ports: Result<Vec<Value>> = tcp
        .iter()
        .map(|text| {
            let (port, target) = text.split_once(':').unwrap_or((text, text));
            let number: u16 = port
                .parse()
                .map_err(|_| Error::usage(format!("invalid port {port:?}, as in --tcp=80:8080")))?;
            let target = target.parse::<u16>().map_or_else(|_| json!(target), |n| json!(n));
            Ok(json!({"name": text.replace(':', "-"), "port": number, "protocol": "TCP", "targetPort": target}))
        })
        .collect();
    Ok(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"type": kind, "selector": {"app": name}, "ports": ports?},
    }))
}

fn encode(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Error::Io(format!("reading {}", path.display()), e))
}

/// `key=value` literals, and `[key=]file` files or folders.
fn pairs(literals: &[String], files: &[String]) -> Result<Vec<(String, Vec<u8>)>> {
    let mut out = Vec::new();
    for literal in literals {
        let (key, value) = literal.split_once('=').ok_or_else(|| {
            Error::usage(format!("invalid literal source {literal}, expected key=value"))
        })?;
        out.push((key.to_owned(), value.as_bytes().to_vec()));
    }
    for file in files {
        let (key, path) = match file.split_once('=') {
            Some((key, path)) => (Some(key), Path::new(path)),
            None => (None, Path::new(file.as_str())),
        };
        let name =
            |p: &Path| p.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if key.is_none() && path.is_dir() {
            let entries = std::fs::read_dir(path)
                .and_then(|d| d.map(|e| e.map(|e| e.path())).collect::<std::io::Result<Vec<_>>>())
                .map_err(|e| Error::Io(format!("reading {}", path.display()), e))?;
            for entry in entries.iter().filter(|e| e.is_file()) {
                out.push((name(entry), read(entry)?));
            }
        } else {
            out.push((key.map_or_else(|| name(path), ToOwned::to_owned), read(path)?));
        }
    }
    Ok(out)
}
