//! `logs`: the logs of a pod, of a workload's first pod, or of all selected pods.
//!
//! Not here: reading log files (the kubelet).

use api::resource::PODS;
use api::selector::LabelSelectorSpec;
use api::{Object, Value};
use bytes::Bytes;
use client::ListOptions;
use client::options::Query;
use futures_util::StreamExt;
use http::Method;

use crate::args::Logs;
use crate::context::Context;
use crate::discover::Discovery;
use crate::text::duration;
use crate::{Error, Result};

/// Runs the command.
pub async fn run(context: &Context, args: Logs) -> Result<()> {
    let pods = if args.selector.is_empty() {
        let what = args.what.as_deref().ok_or_else(|| {
            Error::usage("expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or TYPE/NAME is a required argument for the logs command")
        })?;
        vec![find_pod(context, what).await?]
    } else {
        let select = ListOptions::labels(&args.selector);
        context.client.list::<Object>(&PODS, &context.namespace, &select).await?.items
    };
    let mut streams = Vec::new();
    for pod in &pods {
        for container in containers(pod, &args)? {
            streams.push(open(context, &args, pod, &container).await?);
        }
    }
    if args.follow {
        // All at once, line by line.
        let mut joined = futures_util::stream::select_all(streams.into_iter().map(Box::pin));
        while let Some(line) = joined.next().await {
            write(&line?);
        }
        return Ok(());
    }
    for stream in streams {
        let mut stream = std::pin::pin!(stream);
        while let Some(line) = stream.next().await {
            write(&line?);
        }
    }
    Ok(())
}

fn write(bytes: &[u8]) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// The pod that `POD`, `pod/POD` or `TYPE/NAME` means; of a workload, its first pod, running ones
/// first.
pub async fn find_pod(context: &Context, what: &str) -> Result<Object> {
    let Some((kind, name)) = what.split_once('/') else {
        return Ok(context.client.get(&PODS, &context.namespace, what).await?);
    };
    let discovery = Discovery::load(&context.client).await?;
    let resource = discovery.find(kind)?;
    let object: Object = context.client.get(resource, &context.namespace, name).await?;
    if resource.kind == "Pod" {
        return Ok(object);
    }
    let selector =
        selector(&object).ok_or_else(|| Error::usage(format!("cannot find the pods of {what}")))?;
    let list = context
        .client
        .list::<Object>(&PODS, &context.namespace, &ListOptions::labels(selector))
        .await?;
    let mut pods = list.items;
    pods.sort_by_key(|p| (p.text("status.phase") != Some("Running"), p.name().to_owned()));
    if pods.len() > 1 {
        eprintln!("Found {} pods, using pod/{}", pods.len(), pods[0].name());
    }
    pods.into_iter().next().ok_or_else(|| Error::usage(format!("no pods found for {what}")))
}

/// A workload's or service's selector as a query takes it.
fn selector(object: &Object) -> Option<String> {
    let value = object.at("spec.selector")?;
    if object.kind() == "Service" || object.kind() == "ReplicationController" {
        let pairs = value.as_object()?.iter();
        return Some(
            pairs
                .filter_map(|(k, v)| Some(format!("{k}={}", v.as_str()?)))
                .collect::<Vec<_>>()
                .join(","),
        );
    }
    let spec: LabelSelectorSpec = serde_json::from_value(value.clone()).ok()?;
    let mut parts: Vec<String> =
        spec.match_labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    for e in &spec.match_expressions {
        parts.push(match e.operator.as_str() {
            "In" => format!("{} in ({})", e.key, e.values.join(",")),
            "NotIn" => format!("{} notin ({})", e.key, e.values.join(",")),
            "Exists" => e.key.clone(),
            _ => format!("!{}", e.key),
        });
    }
    Some(parts.join(","))
}

/// Names of a pod's containers, in order.
pub fn container_names(pod: &Object, field: &str) -> Vec<String> {
    let list = pod.at(field).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(|c| Some(c["name"].as_str()?.to_owned())).collect()
}

/// The container that a command means where none is named: the annotated one, else the first, with a
/// word about it where there are several.
pub fn default_container(pod: &Object) -> Result<String> {
    let all = container_names(pod, "spec.containers");
    if let Some(named) = pod.annotation("kubectl.kubernetes.io/default-container")
        && all.iter().any(|c| c == named)
    {
        return Ok(named.to_owned());
    }
    let first = all.first().cloned().ok_or_else(|| Error::usage("the pod has no containers"))?;
    if all.len() > 1 {
        let inits =
            container_names(pod, "spec.initContainers").into_iter().map(|c| format!("{c} (init)"));
        let names: Vec<String> = all.into_iter().chain(inits).collect();
        eprintln!("Defaulted container \"{first}\" out of: {}", names.join(", "));
    }
    Ok(first)
}

fn containers(pod: &Object, args: &Logs) -> Result<Vec<String>> {
    if args.all_containers {
        let mut all = container_names(pod, "spec.initContainers");
        all.extend(container_names(pod, "spec.containers"));
        return Ok(all);
    }
    match args.container.as_ref().or(args.container_name.as_ref()) {
        Some(name) => Ok(vec![name.clone()]),
        None => Ok(vec![default_container(pod)?]),
    }
}

async fn open(
    context: &Context,
    args: &Logs,
    pod: &Object,
    container: &str,
) -> Result<impl futures_util::Stream<Item = Result<Bytes>> + use<>> {
    let mut query = Query::default();
    let flag = |on: bool| if on { "true" } else { "" };
    query.add("container", container);
    query.add("follow", flag(args.follow));
    query.add("previous", flag(args.previous));
    query.add("timestamps", flag(args.timestamps));
    query.add("sinceTime", &args.since_time);
    let tail = args.tail.or((!args.selector.is_empty()).then_some(10)).filter(|t| *t >= 0);
    if let Some(tail) = tail {
        query.add("tailLines", &tail.to_string());
    }
    if args.limit_bytes > 0 {
        query.add("limitBytes", &args.limit_bytes.to_string());
    }
    if !args.since.is_empty() {
        query.add("sinceSeconds", &duration(&args.since)?.as_secs().max(1).to_string());
    }
    let path = query.onto(&PODS.path(Some(pod.namespace()), Some(pod.name()), Some("log")));
    let body = context.client.raw(Method::GET, &path, Bytes::new()).await?.into_body();
    let prefix = args.prefix.then(|| format!("[pod/{}/{container}] ", pod.name()));
    Ok(lines(body, prefix))
}

/// The stream in whole lines, each with the prefix.
fn lines(
    body: client::Body,
    prefix: Option<String>,
) -> impl futures_util::Stream<Item = Result<Bytes>> {
    let state = (body, Vec::<u8>::new(), false);
    futures_util::stream::unfold(
        (state, prefix),
        |((mut body, mut rest, mut ended), prefix)| async move {
            loop {
                let end = if ended {
                    rest.len()
                } else {
                    rest.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1)
                };
                if end > 0 {
                    let tail = rest.split_off(end);
                    let whole = std::mem::replace(&mut rest, tail);
                    let out = match &prefix {
                        None => whole,
                        Some(prefix) => whole
                            .split_inclusive(|b| *b == b'\n')
                            .flat_map(|line| [prefix.as_bytes(), line].concat())
                            .collect(),
                    };
                    return Some((Ok(out.into()), ((body, rest, ended), prefix)));
                }
                if ended {
                    return None;
                }
                match body.next().await {
                    Some(Ok(bytes)) => rest.extend_from_slice(&bytes),
                    Some(Err(error)) => {
                        return Some((Err(error.into()), ((body, Vec::new(), true), prefix)));
                    }
                    None => ended = true,
                }
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors() {
        let object = Object::from_value(serde_json::json!({
            "kind": "Deployment",
            "spec": {"selector": {"matchLabels": {"a": "b"},
                "matchExpressions": [{"key": "t", "operator": "In", "values": ["x", "y"]}, {"key": "z", "operator": "DoesNotExist"}]}},
        }))
        .expect("a map");
        assert_eq!(selector(&object).as_deref(), Some("a=b,t in (x,y),!z"));
    }

    #[tokio::test]
    async fn prefixed_lines_stay_whole() {
        let chunks = ["one\ntw", "o\nthree"].map(|s| Ok(Bytes::from_static(s.as_bytes())));
        let body = client::Body::stream(futures_util::stream::iter(chunks));
        let text: Vec<u8> = lines(body, Some("> ".into()))
            .map(|b| b.expect("no errors").to_vec())
            .collect::<Vec<_>>()
            .await
            .concat();
        assert_eq!(String::from_utf8_lossy(&text), "> one\n> two\n> three");
    }
}
