//! `expose` and `run`: a service for a workload, a pod of one image. Not here: other objects made
//! from flags (`create`).

use api::resource::{PODS, SERVICES};
use api::{Map, Object, Value};
use serde_json::json;

use crate::args::{Expose, Run};
use crate::change::{name, place};
use crate::context::Context;
use crate::discover::Discovery;
use crate::manifest::{shown, targets};
use crate::text::print;
use crate::{Error, Result};

/// `expose`.
pub async fn expose(context: &Context, args: Expose) -> Result<()> {
    let discovery = Discovery::load(&context.client).await?;
    for target in targets(&args.what, &discovery)? {
        let namespace = place(context, &target.resource);
        let object: Object =
            context.client.get(&target.resource, namespace, name(&target)?).await?;
        let service = service(&object, &args)?;
        let made: Object = context.client.create(&SERVICES, &context.namespace, &service).await?;
        print(&format!("{} exposed\n", shown(&SERVICES, made.name())));
    }
    Ok(())
}

/// The service of a workload: its selector, and its labels.
fn service(object: &Object, args: &Expose) -> Result<Value> {
    let selector = match object.kind() {
        "Pod" => Some(
            object.labels().map(|(k, v)| (k.to_owned(), v.into())).collect::<Map<_, _>>().into(),
        ),
        "Service" | "ReplicationController" => object.at("spec.selector").cloned(),
        _ => object.at("spec.selector.matchLabels").cloned(),
    };
    let selector =
        selector.filter(|s| s.as_object().is_some_and(|m| !m.is_empty())).ok_or_else(|| {
            Error::usage(format!(
                "couldn't find a selector of {} {:?}",
                object.kind(),
                object.name()
            ))
        })?;
    let labels = object.meta().and_then(|m| m.get("labels")).cloned();
    Ok(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": args.name.as_deref().unwrap_or(object.name()), "labels": labels},
        "spec": {"type": args.r#type, "selector": selector,
            "ports": ports(object, args)?},
    }))
}

/// The service's ports: the one asked for, else each that the workload's containers name.
fn ports(object: &Object, args: &Expose) -> Result<Vec<Value>> {
    let target = |port: u16| match &args.target_port {
        Some(target) => target.parse::<u16>().map_or_else(|_| json!(target), |n| json!(n)),
        None => json!(port),
    };
    if let Some(port) = args.port {
        return Ok(vec![
            json!({"port": port, "targetPort": target(port), "protocol": args.protocol}),
        ]);
    }
    let own = match object.kind() {
        "Pod" => object.at("spec.containers"),
        "Service" => object.at("spec"),
        _ => object.at("spec.template.spec.containers"),
    };
    let holders = match own {
        Some(Value::Array(containers)) => containers.as_slice(),
        Some(service) => std::slice::from_ref(service),
        None => &[],
    };
    let found: Vec<(u16, &Value)> = holders
        .iter()
        .filter_map(|holder| holder["ports"].as_array())
        .flatten()
        .filter_map(|port| {
            let number =
                if port["port"].is_null() { &port["containerPort"] } else { &port["port"] };
            Some((u16::try_from(number.as_u64()?).ok()?, &port["protocol"]))
        })
        .collect();
    if found.is_empty() {
        return Err(Error::usage("couldn't find port via --port flag or introspection"));
    }
    let several = found.len() > 1;
    let port = |(at, (port, protocol)): (usize, &(u16, &Value))| {
        let protocol = protocol.as_str().unwrap_or(&args.protocol);
        let mut port = json!({"port": port, "targetPort": target(*port), "protocol": protocol});
        if several {
            port["name"] = json!(format!("port-{}", at + 1));
        }
        port
    };
    Ok(found.iter().enumerate().map(port).collect())
}

/// `run`.
pub async fn run(context: &Context, args: Run) -> Result<()> {
    let pod = pod(&args)?;
    let made: Object = context.client.create(&PODS, &context.namespace, &pod).await?;
    print(&format!("{} created\n", shown(&PODS, made.name())));
    Ok(())
}

fn pod(args: &Run) -> Result<Value> {
    let split = |pair: &String, flag: &str| {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            Error::usage(format!("invalid --{flag} {pair:?}, expected KEY=VALUE"))
        })?;
        Ok::<_, Error>((key.to_owned(), value.to_owned()))
    };
    let mut labels = Map::new();
    for pair in &args.labels {
        let (key, value) = split(pair, "labels")?;
        labels.insert(key, value.into());
    }
    if labels.is_empty() {
        labels.insert("run".to_owned(), args.name.clone().into());
    }
    let mut container = json!({"name": args.name, "image": args.image});
    if !args.args.is_empty() {
        container[if args.command { "command" } else { "args" }] = json!(args.args);
    }
    if let Some(port) = args.port {
        container["ports"] = json!([{"containerPort": port}]);
    }
    let env: Result<Vec<Value>> = args
        .env
        .iter()
        .map(|pair| split(pair, "env").map(|(name, value)| json!({"name": name, "value": value})))
        .collect();
    let env = env?;
    if !env.is_empty() {
        container["env"] = env.into();
    }
    Ok(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": args.name, "labels": labels},
        "spec": {"containers": [container], "restartPolicy": args.restart},
    }))
}
