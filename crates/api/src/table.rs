//! Tables: the columns and rows in which the server prints each kind.
//!
//! `columns` holds what is printed, as a table of cells; the rest says how. Rows are made from the
//! stored version of an object, whatever version the client asked for. Not here: the columns of
//! custom resources, watching, negotiation.

use std::collections::HashMap;
use std::sync::LazyLock;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::kinds::Kind;
use crate::object::Object;

mod cells;
mod columns;
mod duration;
mod format;
mod hpa;
mod network;
mod pod;

pub use duration::human as human_duration;

/// How long ago a time was, or that the text is none.
pub(crate) fn since(text: &str, now: Timestamp) -> String {
    match text.parse::<Timestamp>() {
        Ok(then) => human_duration(duration::seconds_between(then, now)),
        Err(_) => "<invalid>".to_owned(),
    }
}

/// What each row carries besides its cells (`includeObject`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Include {
    /// Nothing.
    None,
    /// `PartialObjectMetadata`.
    #[default]
    Metadata,
    /// The object.
    Object,
}

/// A column's definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The heading.
    pub name: &'static str,
    /// `string`, `integer`, `boolean`, `date`.
    pub kind: &'static str,
    /// `name` or empty.
    pub format: &'static str,
    /// 1 for columns that only wide output shows.
    pub priority: u8,
    /// For people; may be empty.
    pub description: &'static str,
}

/// One object's row, without the object.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// A value a column.
    pub cells: Vec<Value>,
    /// `Completed`, for pods that have ended.
    pub conditions: Option<Value>,
}

/// The columns of a kind. Kinds without any of their own show name and creation time.
pub fn columns(kind: &Kind) -> Vec<Column> {
    columns::of(kind.group, kind.kind).columns.iter().map(columns::Entry::column).collect()
}

/// The row of an object of the kind's stored version.
pub fn row(kind: &Kind, object: &Object, now: Timestamp) -> Row {
    row_of(columns::of(kind.group, kind.kind), object, now)
}

fn row_of(printer: &columns::Printer, object: &Object, now: Timestamp) -> Row {
    if let Some(whole) = printer.whole {
        return whole(object, now);
    }
    let mut cells: Vec<Value> =
        printer.columns.iter().map(|column| cells::value(&column.cell, object, now)).collect();
    cells.extend(printer.surplus.map(|cell| cells::value(&cell, object, now)));
    Row { cells, conditions: None }
}

/// Annotations that only one version of a kind shows, for what others have fields for. Forms without
/// a version of their own go without.
const VERSIONED: [(&str, &[&str]); 2] = [
    ("DaemonSet", &["deprecated.daemonset.template.generation"]),
    ("HorizontalPodAutoscaler", &crate::convert::HPA_ANNOTATIONS),
];

/// `meta.k8s.io/v1` `PartialObjectMetadata` of an object.
pub fn partial_metadata(object: &Object) -> Value {
    let mut metadata = object.meta().cloned().unwrap_or_default();
    let dropped = VERSIONED.iter().find(|(kind, _)| *kind == object.kind()).map(|(_, keys)| *keys);
    if let (Some(keys), Some(Value::Object(annotations))) =
        (dropped, metadata.get_mut("annotations"))
    {
        annotations.retain(|key, _| !keys.contains(&key.as_str()));
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

/// The printer of a kind, or of the scale that some have beside them.
fn printer(kind: &Kind, objects: &[(&Object, &Object)]) -> &'static columns::Printer {
    match objects.first() {
        Some((_, shown)) if shown.kind() == "Scale" => columns::of("autoscaling", "Scale"),
        _ => columns::of(kind.group, kind.kind),
    }
}

/// The `Table` of objects. `objects` pairs each stored form with what `Include::Object` shows (the
/// requested version; the same object where that is the stored one). `metadata` is the list's, or
/// the resource version of a single object.
pub fn table(
    kind: &Kind,
    objects: &[(&Object, &Object)],
    metadata: Map<String, Value>,
    include: Include,
    now: Timestamp,
) -> Value {
    let printer = printer(kind, objects);
    let mut order: Vec<&(&Object, &Object)> = objects.iter().collect();
    if kind.kind == "FlowSchema" {
        order.sort_by_key(|(object, _)| {
            (object.int("spec.matchingPrecedence").unwrap_or(0), object.name().to_owned())
        });
    }
    let rows: Vec<Value> = order
        .into_iter()
        .map(|(stored, shown)| row_value(row_of(printer, stored, now), shown, include))
        .collect();
    // Upstream's fallback leaves the rows of an empty list null; its printers make an empty list.
    let rows = if rows.is_empty() && printer.is_fallback() { Value::Null } else { rows.into() };
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": definitions(printer), "rows": rows,
    })
}

/// A row as JSON.
pub fn row_value(row: Row, shown: &Object, include: Include) -> Value {
    let mut map = Map::new();
    map.insert("cells".into(), row.cells.into());
    if let Some(conditions) = row.conditions {
        map.insert("conditions".into(), conditions);
    }
    let object = match include {
        Include::None => Value::Null,
        Include::Metadata => partial_metadata(shown),
        Include::Object => Value::Object(shown.0.clone()),
    };
    map.insert("object".into(), object);
    map.into()
}

/// The column definitions as JSON.
pub fn columns_value(kind: &Kind) -> Value {
    definitions(columns::of(kind.group, kind.kind))
}

fn definitions(printer: &columns::Printer) -> Value {
    printer
        .columns
        .iter()
        .map(columns::Entry::column)
        .map(|c| {
            json!({
                "name": c.name, "type": c.kind, "format": c.format, "description": c.description,
                "priority": c.priority,
            })
        })
        .collect()
}

/// The fields' texts that columns show, read when a table is first asked for.
static TEXTS: LazyLock<HashMap<&'static str, String>> = LazyLock::new(|| {
    let docs = crate::docs::Docs::load();
    let of = |reference: &'static str| {
        let (ty, field) = reference.split_once('/')?;
        let ty = match ty.strip_prefix('@')? {
            "M" => "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta".to_owned(),
            ty => format!("io.k8s.api.{ty}"),
        };
        Some((reference, docs.of_field(&ty, field)))
    };
    columns::descriptions().filter_map(of).collect()
});

/// A description: a text as it is, or that of a field (`@type/field`).
pub(crate) fn describe(description: &'static str) -> &'static str {
    if !description.starts_with('@') {
        return description;
    }
    TEXTS.get(description).map_or("", String::as_str)
}
