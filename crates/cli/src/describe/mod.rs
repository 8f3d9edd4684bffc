//! `describe`: an object for people, with its events.
//!
//! Kinds with a form of their own are in the table below; all others print their fields. Not here:
//! the forms (one file each).

mod common;
mod generic;
mod node;
mod pod;
mod workload;

use api::clock::Clock;
use api::resource::EVENTS;
use api::{Object, Resource};
use client::ListOptions;

use crate::args::Describe;
use crate::context::Context;
use crate::discover::Discovery;
use crate::manifest::targets;
use crate::text::{align, print};
use crate::{Error, Result};

/// What a describer has at hand.
pub struct Scene<'a> {
    /// The cluster.
    pub context: &'a Context,
    /// The resource.
    pub resource: &'a Resource,
    /// The object.
    pub object: &'a Object,
    /// For ages.
    pub clock: Clock,
}

/// Runs the command.
pub async fn run(context: &Context, args: Describe) -> Result<()> {
    let discovery = Discovery::load(&context.client).await?;
    let mut first = true;
    for target in targets(&args.what, &discovery)? {
        let resource = &target.resource;
        let namespace = match (resource.namespaced, args.all_namespaces) {
            (true, false) => context.namespace.as_str(),
            _ => "",
        };
        let objects: Vec<Object> = match &target.name {
            Some(name) => match context.client.get(resource, namespace, name).await {
                Ok(object) => vec![object],
                // As kubectl does, a name may be a prefix.
                Err(e) if e.is_not_found() => {
                    let all = context
                        .client
                        .list::<Object>(resource, namespace, &ListOptions::all())
                        .await?
                        .items;
                    let fits: Vec<Object> =
                        all.into_iter().filter(|o| o.name().starts_with(name.as_str())).collect();
                    if fits.is_empty() {
                        return Err(e.into());
                    }
                    fits
                }
                Err(error) => return Err(error.into()),
            },
            None => {
                let select = ListOptions::labels(&args.selector);
                context.client.list::<Object>(resource, namespace, &select).await?.items
            }
        };
        if objects.is_empty() {
            return Err(Error::usage(format!("no resources found in {namespace} namespace.")));
        }
        for mut object in objects {
            // Items of a list carry no type.
            object.set_type(&resource.api_version(), &resource.kind);
            if !first {
                print("\n\n");
            }
            first = false;
            let scene = Scene { context, resource, object: &object, clock: Clock::system() };
            print(&align(&describe(&scene).await?));
        }
    }
    Ok(())
}

async fn describe(scene: &Scene<'_>) -> Result<String> {
    let mut out = match &*scene.resource.kind {
        "Pod" => pod::describe(scene),
        "Node" => node::describe(scene).await?,
        "Deployment" => workload::deployment(scene).await?,
        "Service" => workload::service(scene).await?,
        _ => generic::describe(scene),
    };
    out.push_str(&events(scene).await?);
    Ok(out)
}

/// The object's events, oldest first.
async fn events(scene: &Scene<'_>) -> Result<String> {
    let object = scene.object;
    let mut select = vec![
        format!("involvedObject.name={}", object.name()),
        format!("involvedObject.kind={}", object.kind()),
    ];
    // Node events name the node as uid, too.
    if !object.uid().is_empty() && object.kind() != "Node" {
        select.push(format!("involvedObject.uid={}", object.uid()));
    }
    let select = ListOptions::fields(select.join(","));
    let list = scene.context.client.list::<Object>(&EVENTS, object.namespace(), &select).await;
    let Ok(list) = list else { return Ok(String::new()) };
    if list.items.is_empty() {
        return Ok("Events:\t<none>\n".to_owned());
    }
    let time = |e: &Object| {
        let all = ["series.lastObservedTime", "lastTimestamp", "eventTime"];
        all.iter().find_map(|p| e.text(p)).unwrap_or(e.creation_timestamp()).to_owned()
    };
    let mut items = list.items;
    items.sort_by_key(&time);
    let mut out = String::from(
        "Events:\n  Type\tReason\tAge\tFrom\tMessage\n  ----\t------\t----\t----\t-------\n",
    );
    for event in &items {
        let count = event.int("series.count").or(event.int("count")).unwrap_or(1);
        let mut age = crate::text::age(&time(event), &scene.clock);
        if count > 1 {
            let since = event.text("firstTimestamp").or(event.text("eventTime")).unwrap_or("");
            age = format!("{age} (x{count} over {})", crate::text::age(since, &scene.clock));
        }
        let text = |path| event.text(path).unwrap_or("");
        let from = [text("source.component"), text("reportingComponent")];
        let from = from.iter().find(|f| !f.is_empty()).unwrap_or(&"");
        let message = text("message").trim().replace('\n', "\n\t\t\t\t");
        out.push_str(&format!(
            "  {}\t{}\t{age}\t{from}\t{message}\n",
            text("type"),
            text("reason")
        ));
    }
    Ok(out)
}
