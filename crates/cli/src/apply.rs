//! `apply`: objects become what files say, merged by the client (three-way, with the
//! `last-applied-configuration` annotation) or by the server.
//!
//! Not here: the merge itself (`diff`).

use api::{Object, Resource, Value, schema};
use http::Method;

use crate::args::Apply;
use crate::context::Context;
use crate::create::{place, report, send, write_query};
use crate::diff::three_way;
use crate::discover::Discovery;
use crate::manifest;
use crate::{Error, Result};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Tries against writers in between.
const TRIES: usize = 5;

/// Runs the command.
pub async fn run(context: &Context, args: Apply) -> Result<()> {
    let objects = manifest::load(&args.files)?;
    let mut discovery = Discovery::load(&context.client).await?;
    let mut failed = false;
    for mut object in objects {
        let found = discovery.of_kind(object.api_version(), object.kind());
        let resource = match found {
            Ok(resource) => resource.clone(),
            // An earlier object may have defined the kind.
            Err(_) => {
                discovery = Discovery::load(&context.client).await?;
                match discovery.of_kind(object.api_version(), object.kind()) {
                    Ok(resource) => resource.clone(),
                    Err(error) => {
                        eprintln!("{error}");
                        failed = true;
                        continue;
                    }
                }
            }
        };
        let done = match place(context, &resource, &mut object) {
            Err(error) => Err(error),
            Ok(_) if args.server_side => server_side(context, &args, &resource, &object).await,
            Ok(_) => client_side(context, &args, &resource, object).await,
        };
        if let Err(error) = done {
            eprintln!("{error}");
            failed = true;
        }
    }
    if failed { Err(Error::Printed) } else { Ok(()) }
}

fn object_path(resource: &Resource, object: &Object) -> String {
    resource.path(Some(object.namespace()), Some(object.name()), None)
}

async fn server_side(
    context: &Context,
    args: &Apply,
    resource: &Resource,
    object: &Object,
) -> Result<()> {
    let manager = if args.field_manager.is_empty() { "kubectl" } else { &args.field_manager };
    let query = write_query(&args.validate, args.dry_run == "server", manager);
    let path = format!("{}?{query}&force={}", object_path(resource, object), args.force_conflicts);
    let made = send(context, Method::PATCH, &path, "application/apply-patch+yaml", object).await?;
    report(resource, &made, "serverside-applied", &args.output, &args.dry_run)
}

async fn client_side(
    context: &Context,
    args: &Apply,
    resource: &Resource,
    mut object: Object,
) -> Result<()> {
    if object.name().is_empty() {
        return Err(Error::usage("resource name may not be empty: apply needs names, use create"));
    }
    remember(&mut object)?;
    let manager = if args.field_manager.is_empty() {
        "kubectl-client-side-apply"
    } else {
        &args.field_manager
    };
    let query = write_query(&args.validate, args.dry_run == "server", manager);
    for attempt in 1.. {
        let live: Object = match context
            .client
            .get(resource, object.namespace(), object.name())
            .await
        {
            Ok(live) => live,
            Err(e) if e.is_not_found() => {
                if args.dry_run == "client" {
                    return report(resource, &object, "created", &args.output, "client");
                }
                let path =
                    format!("{}?{query}", resource.path(Some(object.namespace()), None, None));
                match send(context, Method::POST, &path, "application/json", &object).await {
                    Err(Error::Client(e)) if e.is_already_exists() && attempt < TRIES => {
                        continue;
                    }
                    made => {
                        return report(resource, &made?, "created", &args.output, &args.dry_run);
                    }
                }
            }
            Err(error) => return Err(error.into()),
        };
        let last: Value = live
            .annotation(LAST_APPLIED)
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or(Value::Null);
        if live.annotation(LAST_APPLIED).is_none() {
            eprintln!(
                "Warning: resource {}/{} is missing the {LAST_APPLIED} annotation which is required by kubectl apply. kubectl apply should only be used on resources created declaratively by either kubectl create --save-config or kubectl apply. The missing annotation will be patched automatically.",
                resource.plural,
                object.name()
            );
        }
        let kind = api::kinds::find(&resource.group, &resource.version, &resource.plural);
        let ty = kind.and_then(|k| schema::type_of(k.type_name));
        let current = Value::Object(live.0.clone());
        let patch = three_way(&last, &Value::Object(object.0.clone()), &current, ty);
        if patch.is_null() {
            return report(resource, &live, "unchanged", &args.output, &args.dry_run);
        }
        if args.dry_run == "client" {
            return report(resource, &object, "configured", &args.output, "client");
        }
        let media = if ty.is_some() {
            "application/strategic-merge-patch+json"
        } else {
            "application/merge-patch+json"
        };
        let path = format!("{}?{query}", object_path(resource, &object));
        match send(context, Method::PATCH, &path, media, &patch).await {
            Err(Error::Client(e)) if e.is_conflict() && attempt < TRIES => {}
            Ok(made) => {
                let same = made.resource_version() == live.resource_version();
                let verb = if same { "unchanged" } else { "configured" };
                return report(resource, &made, verb, &args.output, &args.dry_run);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Puts the object's own text into its annotation, as the next apply needs it.
fn remember(object: &mut Object) -> Result<()> {
    if let Some(Value::Object(map)) = object.meta_mut().get_mut("annotations") {
        map.remove(LAST_APPLIED);
    } else {
        object.set_meta("annotations", api::Map::new());
    }
    let mut text = serde_json::to_string(object).map_err(|e| Error::usage(e.to_string()))?;
    text.push('\n');
    object.set_annotation(LAST_APPLIED, &text);
    Ok(())
}
