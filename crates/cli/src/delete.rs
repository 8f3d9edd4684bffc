//! `delete`: objects by name, selector or file; waits until they are gone.
//!
//! Not here: what deletion does (the server and its collectors).

use std::time::Duration;

use api::{Object, Resource};
use client::{DeleteOptions, ListOptions, Propagation, WatchEvent};

use crate::args::Delete;
use crate::context::Context;
use crate::discover::Discovery;
use crate::manifest::{self, shown};
use crate::text::{duration, print};
use crate::{Error, Result};

/// One object to delete.
struct Victim {
    resource: Resource,
    namespace: String,
    name: String,
}

/// Runs the command.
pub async fn run(context: &Context, args: Delete) -> Result<()> {
    let discovery = Discovery::load(&context.client).await?;
    let victims = collect(context, &args, &discovery).await?;
    let options = options(&args)?;
    if args.force && args.grace_period <= 0 {
        eprintln!(
            "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely."
        );
    }
    let (mut failed, mut gone) = (false, Vec::new());
    for victim in &victims {
        match delete(context, &args, victim, &options).await {
            Ok(Some(uid)) => gone.push((victim, uid)),
            Ok(None) => {}
            Err(error) => {
                eprintln!("{error}");
                failed = true;
            }
        }
    }
    if victims.is_empty() {
        print("No resources found\n");
    }
    if args.wait && !(args.force && args.grace_period == 0) {
        let limit = duration(&args.timeout)?;
        let all = async {
            for (victim, uid) in &gone {
                wait_gone(context, victim, uid).await?;
            }
            Ok::<(), Error>(())
        };
        if limit.is_zero() {
            all.await?;
        } else {
            tokio::time::timeout(limit, all)
                .await
                .map_err(|_| Error::usage("timed out waiting for the condition"))??;
        }
    }
    if failed { Err(Error::Printed) } else { Ok(()) }
}

fn options(args: &Delete) -> Result<DeleteOptions> {
    let propagation = match args.cascade.as_str() {
        "background" | "true" => Propagation::Background,
        "foreground" => Propagation::Foreground,
        "orphan" | "false" => Propagation::Orphan,
        other => {
            return Err(Error::usage(format!(
                "invalid cascade value ({other}). Must be \"background\", \"foreground\", or \"orphan\""
            )));
        }
    };
    let grace = match args.grace_period {
        _ if args.now => 1,
        -1 if args.force => 0,
        0 if !args.force => 1,
        seconds => seconds,
    };
    let options = DeleteOptions::new().propagation(propagation);
    Ok(if grace >= 0 { options.grace(grace) } else { options })
}

async fn collect(context: &Context, args: &Delete, discovery: &Discovery) -> Result<Vec<Victim>> {
    let mut out = Vec::new();
    if !args.files.filename.is_empty() {
        for mut object in manifest::load(&args.files)? {
            let resource = discovery.of_kind(object.api_version(), object.kind())?.clone();
            let namespace = crate::create::place(context, &resource, &mut object)?;
            out.push(Victim { resource, namespace, name: object.name().to_owned() });
        }
        return Ok(out);
    }
    let selecting = args.all || !args.selector.is_empty() || !args.field_selector.is_empty();
    for target in manifest::targets(&args.what, discovery)? {
        let namespace = match (target.resource.namespaced, args.all_namespaces) {
            (true, false) => context.namespace.clone(),
            _ => String::new(),
        };
        if let Some(name) = target.name {
            out.push(Victim { resource: target.resource, namespace, name });
            continue;
        }
        if !selecting {
            return Err(Error::usage("resource(s) were provided, but no name was specified"));
        }
        let select = ListOptions {
            label_selector: args.selector.clone(),
            field_selector: args.field_selector.clone(),
            ..ListOptions::default()
        };
        let list = context.client.list::<Object>(&target.resource, &namespace, &select).await?;
        out.extend(list.items.iter().map(|o| Victim {
            resource: target.resource.clone(),
            namespace: o.namespace().to_owned(),
            name: o.name().to_owned(),
        }));
    }
    Ok(out)
}

/// Deletes one object; its uid where it may still be there.
async fn delete(
    context: &Context,
    args: &Delete,
    victim: &Victim,
    options: &DeleteOptions,
) -> Result<Option<String>> {
    let Victim { resource, namespace, name } = victim;
    let answer: Object = match context.client.delete_as(resource, namespace, name, options).await {
        Ok(answer) => answer,
        Err(e) if e.is_not_found() && args.ignore_not_found => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let verb = if args.force { "force deleted" } else { "deleted" };
    if args.output == "name" {
        print(&format!("{}\n", shown(resource, name)));
    } else {
        let kind = shown(resource, "");
        let place = if namespace.is_empty() {
            String::new()
        } else {
            format!(" from {namespace} namespace")
        };
        print(&format!("{} \"{name}\" {verb}{place}\n", kind.trim_end_matches('/')));
    }
    // The answer is the object while it terminates, or a status naming its uid.
    let uid = if answer.uid().is_empty() {
        answer.text("details.uid").unwrap_or("")
    } else {
        answer.uid()
    };
    Ok(Some(uid.to_owned()))
}

/// Waits until the object with that uid is gone.
async fn wait_gone(context: &Context, victim: &Victim, uid: &str) -> Result<()> {
    let Victim { resource, namespace, name } = victim;
    loop {
        let live: Object = match context.client.get(resource, namespace, name).await {
            Ok(live) => live,
            Err(e) if e.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if !uid.is_empty() && live.uid() != uid {
            return Ok(());
        }
        let options = ListOptions {
            resource_version: live.resource_version().to_owned(),
            ..ListOptions::fields(format!("metadata.name={name}"))
        };
        let mut events = context.client.watch(resource, namespace, &options).await?;
        while let Some(event) = events.next_event().await {
            match event {
                Ok(WatchEvent::Deleted(_)) => return Ok(()),
                Ok(_) => {}
                Err(_) => {
                    // The watch is too old or broke; look again, not at once.
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    break;
                }
            }
        }
    }
}
