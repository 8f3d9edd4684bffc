//! `get`: the server's tables, or whole objects; once or as they change.
//!
//! Not here: what the columns are; the server says.

use api::{Object, Resource, Value};
use bytes::Bytes;
use client::{ListOptions, WatchStream};
use futures_util::StreamExt as _;
use http::{Method, Request, header};
use tokio::io::AsyncWriteExt as _;

use crate::args::Get;
use crate::context::Context;
use crate::discover::Discovery;
use crate::jsonpath::{Template, compare};
use crate::manifest::{self, Target};
use crate::printer::{Format, hide_managed_fields, list};
use crate::text::{columns, print};
use crate::{Error, Result};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// Runs the command.
pub async fn run(context: &Context, args: Get) -> Result<()> {
    if let Some(path) = &args.raw {
        return raw(context, path).await;
    }
    let format = Format::parse(&args.output)?;
    let discovery = Discovery::load(&context.client).await?;
    let targets = if args.files.filename.is_empty() {
        manifest::targets(&args.what, &discovery)?
    } else {
        from_files(&args, &discovery)?
    };
    if args.watch || args.watch_only {
        let [target] = targets.as_slice() else {
            return Err(Error::usage("you may only specify a single resource type when watching"));
        };
        return watch(context, &args, &format, target).await;
    }
    match format {
        Format::Table { wide } => tables(context, &args, &targets, wide).await,
        _ => objects(context, &args, &targets, &format).await,
    }
}

async fn raw(context: &Context, path: &str) -> Result<()> {
    let mut body = context.client.raw(Method::GET, path, Bytes::new()).await?.into_body();
    let mut out = tokio::io::stdout();
    let failed = |e| Error::Io("standard output".into(), e);
    while let Some(bytes) = body.next().await {
        out.write_all(&bytes?).await.map_err(failed)?;
        out.flush().await.map_err(failed)?;
    }
    Ok(())
}

fn from_files(args: &Get, discovery: &Discovery) -> Result<Vec<Target>> {
    manifest::load(&args.files)?
        .iter()
        .map(|o| {
            let resource = discovery.of_kind(o.api_version(), o.kind())?.clone();
            Ok(Target { resource, name: Some(o.name().to_owned()) })
        })
        .collect()
}

fn namespace<'c>(context: &'c Context, args: &Get, resource: &Resource) -> &'c str {
    if args.all_namespaces || !resource.namespaced { "" } else { &context.namespace }
}

fn options(args: &Get, limit: u32) -> ListOptions {
    ListOptions {
        label_selector: args.selector.clone(),
        field_selector: args.field_selector.clone(),
        limit: (limit > 0).then_some(limit),
        ..ListOptions::default()
    }
}

/// The path of what a target names, with its query. A watched or listed single object is selected by
/// its name.
fn path(context: &Context, args: &Get, target: &Target, extra: &str) -> String {
    let namespace = namespace(context, args, &target.resource);
    let base = target.resource.path(Some(namespace), target.name.as_deref(), None);
    if extra.is_empty() { base } else { format!("{base}?{extra}") }
}

async fn fetch(context: &Context, path: &str, accept: &str) -> Result<Value> {
    let request = Request::builder()
        .method(Method::GET)
        .uri(path)
        .header(header::ACCEPT, accept)
        .body(Bytes::new())
        .map_err(|e| Error::usage(e.to_string()))?;
    let bytes = context.client.request(request).await?.into_body().bytes().await?;
    serde_json::from_slice(&bytes).map_err(|e| Error::usage(format!("cannot read the answer: {e}")))
}

/// All pages of a collection, or the one object, as the accepted form; `merge` joins pages.
async fn pages(
    context: &Context,
    args: &Get,
    target: &Target,
    accept: &str,
    rows: &str,
) -> Result<Value> {
    let object_query = if accept == TABLE { "includeObject=Metadata" } else { "" };
    if target.name.is_some() {
        return fetch(context, &path(context, args, target, object_query), accept).await;
    }
    let mut options = options(args, args.chunk_size);
    let mut whole: Option<Value> = None;
    loop {
        let mut query = options.query(false);
        if !object_query.is_empty() {
            if !query.is_empty() {
                query.push('&');
            }
            query.push_str(object_query);
        }
        let mut page = fetch(context, &path(context, args, target, &query), accept).await?;
        options.continue_token = page["metadata"]["continue"].as_str().unwrap_or("").to_owned();
        match &mut whole {
            None => whole = Some(page),
            Some(whole) => {
                if let (Some(all), Some(more)) =
                    (whole[rows].as_array_mut(), page[rows].as_array_mut())
                {
                    all.append(more);
                }
            }
        }
        if options.continue_token.is_empty() {
            return whole.ok_or_else(|| Error::usage("the server sent nothing"));
        }
    }
}

async fn tables(context: &Context, args: &Get, targets: &[Target], wide: bool) -> Result<()> {
    let mut failed = false;
    let mut found = 0;
    let several = targets.windows(2).any(|w| w[0].resource != w[1].resource);
    let mut blocks: Vec<(Resource, Value)> = Vec::new();
    for target in targets {
        let table = match pages(context, args, target, TABLE, "rows").await {
            Ok(table) => table,
            Err(Error::Client(e)) if args.ignore_not_found && e.is_not_found() => continue,
            Err(error) if targets.len() > 1 => {
                eprintln!("{error}");
                failed = true;
                continue;
            }
            Err(error) => return Err(error),
        };
        match blocks.last_mut() {
            Some((resource, block)) if *resource == target.resource => {
                let more = table["rows"].as_array().cloned().unwrap_or_default();
                if let Some(rows) = block["rows"].as_array_mut() {
                    rows.extend(more);
                }
            }
            _ => blocks.push((target.resource.clone(), table)),
        }
    }
    let mut first = true;
    for (resource, mut table) in blocks {
        sort(&mut table, "rows", "object", &args.sort_by)?;
        let rows = table["rows"].as_array().map_or(0, Vec::len);
        found += rows;
        if rows == 0 {
            continue;
        }
        if !first {
            print("\n");
        }
        first = false;
        let layout =
            Layout { args, wide, prefix: several.then_some(&resource), resource: &resource };
        print(&layout.text(&table, !args.no_headers));
    }
    if found == 0 && !failed && !args.ignore_not_found {
        let cluster = targets.iter().all(|t| !t.resource.namespaced);
        if args.all_namespaces || cluster {
            eprintln!("No resources found");
        } else {
            eprintln!("No resources found in {} namespace.", context.namespace);
        }
    }
    if failed { Err(Error::Printed) } else { Ok(()) }
}

/// How a table's rows become text.
struct Layout<'a> {
    args: &'a Get,
    wide: bool,
    /// Set where several kinds are printed: names carry the kind.
    prefix: Option<&'a Resource>,
    resource: &'a Resource,
}

impl Layout<'_> {
    fn text(&self, table: &Value, header: bool) -> String {
        let definitions =
            table["columnDefinitions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let shown: Vec<usize> = (0..definitions.len())
            .filter(|i| self.wide || definitions[*i]["priority"].as_i64().unwrap_or(0) == 0)
            .collect();
        let with_namespace = self.args.all_namespaces && self.resource.namespaced;
        let mut lines = Vec::new();
        if header {
            let mut line: Vec<String> = Vec::new();
            if with_namespace {
                line.push("NAMESPACE".into());
            }
            let name = |i: &usize| definitions[*i]["name"].as_str().unwrap_or("").to_uppercase();
            line.extend(shown.iter().map(name));
            line.extend(
                self.args
                    .label_columns
                    .iter()
                    .map(|l| l.rsplit('/').next().unwrap_or(l).to_uppercase()),
            );
            if self.args.show_labels {
                line.push("LABELS".into());
            }
            lines.push(line);
        }
        for row in table["rows"].as_array().into_iter().flatten() {
            let meta = &row["object"]["metadata"];
            let mut line = Vec::new();
            if with_namespace {
                line.push(meta["namespace"].as_str().unwrap_or("").to_owned());
            }
            for i in &shown {
                let cell = cell(&row["cells"][*i]);
                match self.prefix {
                    Some(resource) if definitions[*i]["format"] == "name" => {
                        line.push(manifest::shown(resource, &cell));
                    }
                    _ => line.push(cell),
                }
            }
            let labels = &meta["labels"];
            for label in &self.args.label_columns {
                line.push(labels[label.as_str()].as_str().unwrap_or("").to_owned());
            }
            if self.args.show_labels {
                let all: Vec<String> = labels
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or("")))
                    .collect();
                line.push(if all.is_empty() { "<none>".into() } else { all.join(",") });
            }
            lines.push(line);
        }
        columns(&lines)
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(s) => s.replace('\n', "\\n"),
        Value::Null => "<none>".to_owned(),
        other => other.to_string(),
    }
}

async fn objects(context: &Context, args: &Get, targets: &[Target], format: &Format) -> Result<()> {
    let single =
        matches!(targets, [Target { name: Some(_), .. }]) && args.files.filename.is_empty();
    let mut all: Vec<(Resource, Value)> = Vec::new();
    for target in targets {
        match pages(context, args, target, "application/json", "items").await {
            Ok(mut answer) if target.name.is_none() => {
                sort(&mut answer, "items", "", &args.sort_by)?;
                let (version, kind) =
                    (target.resource.api_version(), target.resource.kind.to_string());
                let items = answer["items"].as_array().cloned().unwrap_or_default();
                all.extend(items.into_iter().map(|mut item| {
                    // Items of a list may leave their type out.
                    if let Some(map) = item.as_object_mut() {
                        map.entry("apiVersion").or_insert_with(|| version.clone().into());
                        map.entry("kind").or_insert_with(|| kind.clone().into());
                    }
                    (target.resource.clone(), item)
                }));
            }
            Ok(object) => all.push((target.resource.clone(), object)),
            Err(Error::Client(e)) if args.ignore_not_found && e.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    if !args.show_managed_fields {
        all.iter_mut().for_each(|(_, v)| hide_managed_fields(v));
    }
    if matches!(format, Format::Name) {
        for (resource, value) in &all {
            let name = value["metadata"]["name"].as_str().unwrap_or("");
            print(&format!("{}\n", manifest::shown(resource, name)));
        }
        return Ok(());
    }
    let mut values: Vec<Value> = all.into_iter().map(|(_, v)| v).collect();
    if single && values.is_empty() {
        return Ok(());
    }
    let value = if single && values.len() == 1 { values.remove(0) } else { list(values) };
    print(&format.print_value(&value)?);
    Ok(())
}

/// Sorts rows or items by a JSONPath into the object (under `inner` in each row).
fn sort(answer: &mut Value, rows: &str, inner: &str, by: &str) -> Result<()> {
    if by.is_empty() {
        return Ok(());
    }
    let template = Template::parse(by)?;
    if let Some(rows) = answer[rows].as_array_mut() {
        let object = |row: &Value| if inner.is_empty() { row.clone() } else { row[inner].clone() };
        let key = |row: &Value| template.first(&object(row)).cloned().unwrap_or(Value::Null);
        rows.sort_by(|a, b| compare(&key(a), &key(b)));
    }
    Ok(())
}

/// Prints what is there, then every change, until interrupted or the server ends the watch.
async fn watch(context: &Context, args: &Get, format: &Format, target: &Target) -> Result<()> {
    let mut options = options(args, 0);
    if let Some(name) = &target.name {
        let by_name = format!("metadata.name={name}");
        options.field_selector = if options.field_selector.is_empty() {
            by_name
        } else {
            format!("{},{by_name}", options.field_selector)
        };
    }
    let whole = Target { resource: target.resource.clone(), name: None };
    let table = matches!(format, Format::Table { .. });
    let accept = if table { TABLE } else { "application/json" };
    let query = options.query(false);
    let first = fetch(context, &path(context, args, &whole, &query), accept).await?;
    let wide = matches!(format, Format::Table { wide: true });
    let layout = Layout { args, wide, prefix: None, resource: &target.resource };
    let mut header = !args.no_headers;
    // Later rows carry no column definitions of their own.
    let mut definitions = first["columnDefinitions"].clone();
    let mut show = |value: &Value, header: bool| -> Result<()> {
        if !table {
            let mut value = value.clone();
            if !args.show_managed_fields {
                hide_managed_fields(&mut value);
            }
            let object = Object::from_value(value).unwrap_or_default();
            print(&format.print(&target.resource, &object)?);
            return Ok(());
        }
        let mut value = value.clone();
        if value["columnDefinitions"].as_array().is_some_and(|d| !d.is_empty()) {
            definitions = value["columnDefinitions"].clone();
        } else {
            value["columnDefinitions"] = definitions.clone();
        }
        print(&layout.text(&value, header));
        Ok(())
    };
    if !args.watch_only {
        if table {
            if first["rows"].as_array().is_some_and(|r| !r.is_empty()) {
                show(&first, header)?;
                header = false;
            }
        } else {
            for item in first["items"].as_array().into_iter().flatten() {
                show(item, false)?;
            }
        }
    }
    options.resource_version =
        first["metadata"]["resourceVersion"].as_str().unwrap_or("").to_owned();
    let request = Request::builder()
        .method(Method::GET)
        .uri(path(context, args, &whole, &options.query(true)))
        .header(header::ACCEPT, accept)
        .body(Bytes::new())
        .map_err(|e| Error::usage(e.to_string()))?;
    let mut events = WatchStream::new(context.client.request(request).await?.into_body());
    while let Some(event) = events.next_event().await {
        match event?.object::<Value>() {
            Some(object) => {
                show(&object?, header)?;
                header = false;
            }
            None => continue,
        }
    }
    Ok(())
}
