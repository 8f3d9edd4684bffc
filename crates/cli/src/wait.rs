//! `wait`: until objects have a condition, a value, exist or are gone.
//!
//! Not here: JSONPath itself (`jsonpath`).

use api::{Object, Value};
use client::{ListOptions, WatchEvent};

use crate::args::Wait;
use crate::change::{expand, name, place};
use crate::context::Context;
use crate::discover::Discovery;
use crate::jsonpath::Template;
use crate::manifest::{Target, shown, targets};
use crate::text::{duration, print};
use crate::{Error, Result};

/// What is waited for.
enum Goal {
    Deleted,
    Exists,
    Condition { kind: String, status: String },
    Path { template: Template, value: Option<String> },
}

impl Goal {
    fn parse(text: &str) -> Result<Self> {
        let bad = || Error::usage(format!("unrecognized condition: {text:?}"));
        match text {
            "delete" => return Ok(Self::Deleted),
            "create" => return Ok(Self::Exists),
            _ => {}
        }
        let (how, rest) = text.split_once('=').ok_or_else(bad)?;
        match how {
            "condition" => {
                let (kind, status) = rest.split_once('=').unwrap_or((rest, "True"));
                Ok(Self::Condition { kind: kind.to_lowercase(), status: status.to_lowercase() })
            }
            "jsonpath" => {
                // The path ends with its brace; a value may hold `=`.
                let end = rest.find('}').ok_or_else(bad)? + 1;
                let (path, value) = rest.split_at(end);
                let value = value.strip_prefix('=').map(|v| v.trim_matches(['\'', '"']).to_owned());
                Ok(Self::Path { template: Template::parse(path)?, value })
            }
            _ => Err(bad()),
        }
    }

    fn reached(&self, object: Option<&Object>) -> bool {
        let Some(object) = object else { return matches!(self, Self::Deleted) };
        match self {
            Self::Deleted => false,
            Self::Exists => true,
            Self::Condition { kind, status } => {
                let same = |c: &Value, key: &str, wanted: &str| {
                    c[key].as_str().is_some_and(|s| s.eq_ignore_ascii_case(wanted))
                };
                // A condition about an older generation says nothing yet.
                let fresh = |c: &Value| {
                    c["observedGeneration"].as_i64().is_none_or(|g| g >= object.generation())
                };
                let all = object.at("status.conditions").and_then(Value::as_array);
                all.into_iter()
                    .flatten()
                    .any(|c| same(c, "type", kind) && same(c, "status", status) && fresh(c))
            }
            Self::Path { template, value } => {
                let found = template.print(&Value::Object(object.0.clone()));
                value.as_ref().map_or(!found.is_empty(), |v| *v == found)
            }
        }
    }
}

/// Runs the command.
pub async fn run(context: &Context, args: Wait) -> Result<()> {
    let goal = Goal::parse(&args.r#for)?;
    let discovery = Discovery::load(&context.client).await?;
    let found = targets(&args.what, &discovery)?;
    let limit = tokio::time::Instant::now() + duration(&args.timeout)?;
    let all = expand(context, found, args.all, &args.selector).await?;
    if all.is_empty() && !matches!(goal, Goal::Deleted) {
        return Err(Error::usage("no matching resources found"));
    }
    for target in &all {
        let shown = shown(&target.resource, name(target)?);
        match tokio::time::timeout_at(limit, one(context, target, &goal)).await {
            Ok(done) => done?,
            Err(_) => {
                return Err(Error::usage(format!(
                    "timed out waiting for the condition on {}/{}",
                    target.resource.plural,
                    name(target)?
                )));
            }
        }
        print(&format!("{shown} condition met\n"));
    }
    Ok(())
}

async fn one(context: &Context, target: &Target, goal: &Goal) -> Result<()> {
    let (resource, name) = (&target.resource, name(target)?);
    let namespace = place(context, resource);
    loop {
        let by_name = ListOptions::fields(format!("metadata.name={name}"));
        let list = context.client.list::<Object>(resource, namespace, &by_name).await?;
        let object = list.items.first();
        if goal.reached(object) {
            return Ok(());
        }
        if object.is_none() && !matches!(goal, Goal::Exists) {
            return Err(Error::usage(format!("{} \"{name}\" not found", resource.plural)));
        }
        let options = ListOptions { resource_version: list.resource_version.clone(), ..by_name };
        let mut events = context.client.watch(resource, namespace, &options).await?;
        // Where the watch ends, look again.
        while let Some(Ok(event)) = events.next_event().await {
            let gone = matches!(event, WatchEvent::Deleted(_));
            let Some(object) = event.object::<Object>() else { continue };
            let object = object?;
            if goal.reached(if gone { None } else { Some(&object) }) {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn goals() {
        let pod =
            Object::from_value(json!({"kind": "Pod", "metadata": {"name": "web"}, "status": {
            "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}))
            .expect("a map");
        let cases = [
            ("condition=ready", true),
            ("condition=Ready=false", false),
            ("condition=Initialized", false),
            ("jsonpath={.status.phase}=Running", true),
            ("jsonpath={.status.phase}=Pending", false),
            ("jsonpath={.status.podIP}", false),
            ("create", true),
            ("delete", false),
        ];
        for (text, reached) in cases {
            assert_eq!(Goal::parse(text).expect(text).reached(Some(&pod)), reached, "{text}");
        }
        assert!(Goal::parse("delete").expect("known").reached(None));
        assert!(Goal::parse("nonsense").is_err());
    }
}
