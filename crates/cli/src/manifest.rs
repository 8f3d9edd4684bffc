//! Objects out of files, folders and standard input; and the words of a command line that name
//! objects. Not here: what is done with them.

use std::io::Read;
use std::path::Path;

use api::{Object, Resource, Value};
use serde::Deserialize;

use crate::args::Files;
use crate::discover::Discovery;
use crate::{Error, Result};

/// Objects of all files, in order; lists are taken apart.
pub fn load(files: &Files) -> Result<Vec<Object>> {
    if files.filename.is_empty() {
        return Err(Error::usage("must specify --filename"));
    }
    let mut out = Vec::new();
    for name in &files.filename {
        if name == "-" {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|e| Error::Io("reading standard input".into(), e))?;
            parse("STDIN", &text, &mut out)?;
        } else {
            walk(Path::new(name), files.recursive, true, &mut out)?;
        }
    }
    if out.is_empty() {
        return Err(Error::usage("no objects passed"));
    }
    Ok(out)
}

fn walk(path: &Path, recursive: bool, top: bool, out: &mut Vec<Object>) -> Result<()> {
    let shown = path.display().to_string();
    let fail = |e| match e {
        e if std::io::Error::kind(&e) == std::io::ErrorKind::NotFound => {
            Error::usage(format!("the path \"{shown}\" does not exist"))
        }
        e => Error::Io(format!("reading {shown}"), e),
    };
    if !path.is_dir() {
        let text = std::fs::read_to_string(path).map_err(fail)?;
        return parse(&shown, &text, out);
    }
    if !top && !recursive {
        return Ok(());
    }
    let mut entries = std::fs::read_dir(path)
        .and_then(|d| d.map(|e| e.map(|e| e.path())).collect::<std::io::Result<Vec<_>>>())
        .map_err(fail)?;
    entries.sort();
    for entry in entries {
        let manifest = entry.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
        if entry.is_dir() || manifest {
            walk(&entry, recursive, false, out)?;
        }
    }
    Ok(())
}

fn parse(source: &str, text: &str, out: &mut Vec<Object>) -> Result<()> {
    let fail = |e: &dyn std::fmt::Display| Error::usage(format!("error parsing {source}: {e}"));
    for document in yaml_serde::Deserializer::from_str(text) {
        let value = Value::deserialize(document).map_err(|e| fail(&e))?;
        if value.is_null() {
            continue;
        }
        let object =
            Object::from_value(value).ok_or_else(|| fail(&"a document is not an object"))?;
        if object.kind().is_empty() || object.api_version().is_empty() {
            return Err(Error::usage(format!(
                "error validating \"{source}\": error validating data: [apiVersion not set, kind not set]"
            )));
        }
        let items = object.0.get("items").and_then(Value::as_array);
        match items {
            Some(items) if object.kind().ends_with("List") => {
                out.extend(items.iter().cloned().filter_map(Object::from_value));
            }
            _ => out.push(object),
        }
    }
    Ok(())
}

/// One thing that the command line names: a whole resource, or one object of it.
#[derive(Clone, Debug)]
pub struct Target {
    /// The resource.
    pub resource: Resource,
    /// The object's name; `None` for the whole resource.
    pub name: Option<String>,
}

/// Reads `TYPE[,TYPE] [NAME…]` and `TYPE/NAME …`.
pub fn targets(words: &[String], discovery: &Discovery) -> Result<Vec<Target>> {
    let Some(first) = words.first() else {
        return Err(Error::usage(
            "You must specify the type of resource, as in `pods` or `deployment/web`",
        ));
    };
    if words.iter().any(|w| w.contains('/')) {
        return words
            .iter()
            .map(|word| match word.split_once('/') {
                Some((kind, name)) if !kind.is_empty() && !name.is_empty() => Ok(Target {
                    resource: discovery.find(kind)?.clone(),
                    name: Some(name.to_owned()),
                }),
                _ => Err(Error::usage(
                    "there is no need to specify a resource type as a separate argument when passing arguments in resource/name form",
                )),
            })
            .collect();
    }
    let mut resources = Vec::new();
    for word in first.split(',').filter(|w| !w.is_empty()) {
        resources.extend(discovery.find_all(word)?);
    }
    let mut out = Vec::new();
    for resource in resources {
        if words.len() == 1 {
            out.push(Target { resource: resource.clone(), name: None });
        }
        out.extend(
            words[1..]
                .iter()
                .map(|name| Target { resource: resource.clone(), name: Some(name.clone()) }),
        );
    }
    Ok(out)
}

/// `pod/web`, `deployment.apps/web`: how commands name what they did.
pub fn shown(resource: &Resource, name: &str) -> String {
    let kind = resource.kind.to_lowercase();
    if resource.group.is_empty() {
        format!("{kind}/{name}")
    } else {
        format!("{kind}.{}/{name}", resource.group)
    }
}
