//! Small changes to objects: `patch`, `label`, `annotate`, `set image`, `cordon`, `uncordon`.
//!
//! Not here: replacing whole objects (`apply`).

use api::{Object, Resource, Value};
use client::Patch as Kind;
use serde_json::json;

use crate::args::{Label, Patch, SetImage};
use crate::context::Context;
use crate::discover::Discovery;
use crate::manifest::{Target, shown, targets};
use crate::text::print;
use crate::{Error, Result};

/// The namespace that a request for the resource names.
pub fn place<'c>(context: &'c Context, resource: &Resource) -> &'c str {
    if resource.namespaced { &context.namespace } else { "" }
}

/// The name of a target that has to have one.
pub fn name(target: &Target) -> Result<&str> {
    target
        .name
        .as_deref()
        .ok_or_else(|| Error::usage("resource(s) were provided, but no name was specified"))
}

/// Patches one object and says so: `verb`, or that nothing changed.
async fn change(
    context: &Context,
    target: &Target,
    kind: Kind<'_>,
    body: &Value,
    verb: &str,
    same: &str,
) -> Result<()> {
    let (resource, name) = (&target.resource, name(target)?);
    let namespace = place(context, resource);
    let before: Object = context.client.get(resource, namespace, name).await?;
    let after: Object = context.client.patch(resource, namespace, name, None, kind, body).await?;
    let verb = if before.resource_version() == after.resource_version() { same } else { verb };
    print(&format!("{} {verb}\n", shown(resource, name)));
    Ok(())
}

/// `patch`.
pub async fn patch(context: &Context, args: Patch) -> Result<()> {
    let discovery = Discovery::load(&context.client).await?;
    let body: Value = yaml_serde::from_str(&args.patch)
        .map_err(|e| Error::usage(format!("unable to parse {:?}: {e}", args.patch)))?;
    for target in targets(&args.what, &discovery)? {
        let kind = match args.r#type.as_str() {
            "strategic" => Kind::Strategic,
            "merge" => Kind::Merge,
            "json" => Kind::Json,
            other => {
                return Err(Error::usage(format!(
                    "--type must be one of [json merge strategic], not {other:?}"
                )));
            }
        };
        change(context, &target, kind, &body, "patched", "patched (no change)").await?;
    }
    Ok(())
}

/// Takes `key=value` and `key-` off the words' end: what to set (null to remove), and the other
/// words.
fn changes(words: &[String]) -> Result<(Vec<String>, api::Map<String, Value>)> {
    let (mut what, mut set) = (Vec::new(), api::Map::new());
    for word in words {
        let (key, value) = match word.split_once('=') {
            Some((key, value)) => (key, Value::from(value)),
            None => match word.strip_suffix('-') {
                Some(key) => (key, Value::Null),
                None if set.is_empty() => {
                    what.push(word.clone());
                    continue;
                }
                None => {
                    return Err(Error::usage(format!("expected key=value or key-, not {word:?}")));
                }
            },
        };
        set.insert(key.to_owned(), value);
    }
    if set.is_empty() {
        return Err(Error::usage("at least one key=value or key- is required"));
    }
    Ok((what, set))
}

/// `label` and `annotate`: one field of the metadata, and how kubectl says that it changed.
pub async fn mark(context: &Context, args: Label, field: &str, verb: &str) -> Result<()> {
    let discovery = Discovery::load(&context.client).await?;
    let (what, set) = changes(&args.what)?;
    for target in expand(context, targets(&what, &discovery)?, args.all, &args.selector).await? {
        let namespace = place(context, &target.resource);
        let object: Object =
            context.client.get(&target.resource, namespace, name(&target)?).await?;
        let clash = set.iter().find_map(|(key, value)| {
            let old = object.meta()?.get(field)?.get(key)?.as_str()?;
            (value.as_str().is_some_and(|new| new != old)).then(|| (key.clone(), old.to_owned()))
        });
        if let Some((key, old)) = clash.filter(|_| !args.overwrite) {
            return Err(Error::usage(format!(
                "'{key}' already has a value ({old}), and --overwrite is false"
            )));
        }
        let removes = set.values().all(Value::is_null);
        let verb = if removes && field == "labels" { "unlabeled" } else { verb };
        let body = json!({"metadata": {field: set}});
        change(context, &target, Kind::Merge, &body, verb, &format!("not {verb}")).await?;
    }
    Ok(())
}

/// Whole resources become their objects, where all or selected ones are meant.
pub async fn expand(
    context: &Context,
    targets: Vec<Target>,
    all: bool,
    selector: &str,
) -> Result<Vec<Target>> {
    let mut out = Vec::new();
    for target in targets {
        if target.name.is_some() || (!all && selector.is_empty()) {
            out.push(target);
            continue;
        }
        let options = client::ListOptions::labels(selector);
        let namespace = place(context, &target.resource);
        let list = context.client.list::<Object>(&target.resource, namespace, &options).await?;
        out.extend(list.items.iter().map(|object| Target {
            resource: target.resource.clone(),
            name: Some(object.name().to_owned()),
        }));
    }
    Ok(out)
}

/// `set image`.
pub async fn set_image(context: &Context, args: SetImage) -> Result<()> {
    let discovery = Discovery::load(&context.client).await?;
    let (what, images) = changes(&args.what)?;
    for target in targets(&what, &discovery)? {
        let resource = &target.resource;
        let namespace = place(context, resource);
        let object: Object = context.client.get(resource, namespace, name(&target)?).await?;
        let spec = match object.kind() {
            "Pod" => "spec",
            "CronJob" => "spec.jobTemplate.spec.template.spec",
            _ => "spec.template.spec",
        };
        let containers = crate::logs::container_names(&object, &format!("{spec}.containers"));
        let wanted: Vec<Value> = containers
            .iter()
            .filter_map(|c| {
                images.get(c).or_else(|| images.get("*")).map(|i| json!({"name": c, "image": i}))
            })
            .collect();
        if let Some(unknown) = images.keys().find(|k| *k != "*" && !containers.contains(k)) {
            return Err(Error::usage(format!("unable to find container named \"{unknown}\"")));
        }
        let mut body = json!({ "containers": wanted });
        for field in spec.rsplit('.') {
            body = json!({ field: body });
        }
        change(context, &target, Kind::Strategic, &body, "image updated", "image not changed")
            .await?;
    }
    Ok(())
}

/// `cordon` and `uncordon`.
pub async fn cordon(context: &Context, nodes: &[String], closed: bool) -> Result<()> {
    let (verb, resource) = (if closed { "cordoned" } else { "uncordoned" }, api::resource::NODES);
    for node in nodes {
        let node = node.rsplit('/').next().unwrap_or(node);
        let body = json!({"spec": {"unschedulable": closed.then_some(true)}});
        let target = Target { resource: resource.clone(), name: Some(node.to_owned()) };
        change(context, &target, Kind::Merge, &body, verb, &format!("already {verb}")).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_changes() {
        let words = ["pod", "web", "a=b", "c-"].map(ToOwned::to_owned);
        let (what, set) = changes(&words).expect("changes");
        assert_eq!(what, ["pod", "web"]);
        assert_eq!(Value::Object(set), json!({"a": "b", "c": null}));
        assert!(changes(&words[..2]).is_err());
    }
}
