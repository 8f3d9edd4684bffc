//! The columns in which tables show custom resources: those of the definition, else name and age.
//!
//! Not here: tables (`crate::table`).

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::jsonpath::Path;
use crate::object::Object;
use crate::table::{Include, Row, row_value, since};

/// A column of a definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// The heading.
    pub name: String,
    /// As in `string`.
    pub kind: String,
    /// As in `date-time`; may be empty.
    pub format: String,
    /// For people; may be empty.
    pub description: String,
    /// Above 0: only in wide output.
    pub priority: i64,
    path: Option<Path>,
}

impl Column {
    /// The columns of a version of a definition.
    pub fn all(version: &Value) -> Vec<Self> {
        let list = version.get("additionalPrinterColumns").and_then(Value::as_array);
        let Some(list) = list.filter(|l| !l.is_empty()) else { return vec![Self::age()] };
        list.iter().map(Self::read).collect()
    }

    fn read(column: &Value) -> Self {
        let text = |key: &str| column.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
        let kind = text("type");
        let description = Some(text("description")).filter(|d| !d.is_empty());
        let description = description.unwrap_or_else(|| {
            format!("Custom resource definition column (in JSONPath format): {}", text("jsonPath"))
        });
        Self {
            name: text("name"),
            kind,
            format: text("format"),
            description,
            priority: column.get("priority").and_then(Value::as_i64).unwrap_or(0),
            path: Path::parse(&text("jsonPath")),
        }
    }

    fn age() -> Self {
        Self {
            name: "Age".to_owned(),
            kind: "date".to_owned(),
            format: String::new(),
            description: crate::table::describe("@M/creationTimestamp").to_owned(),
            priority: 0,
            path: Path::parse(".metadata.creationTimestamp"),
        }
    }

    /// As a table defines it.
    pub fn definition(&self) -> Value {
        json!({
            "name": self.name, "type": self.kind, "format": self.format,
            "description": self.description, "priority": self.priority,
        })
    }

    /// The cell of an object.
    pub fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let Some(path) = &self.path else { return Value::Null };
        let found = path.find(object);
        let Some(value) = found.first() else { return Value::Null };
        if self.kind == "string" {
            return text(value);
        }
        match (self.kind.as_str(), *value) {
            ("integer", Value::Number(n)) => match (n.as_i64(), n.as_f64()) {
                (Some(whole), _) => whole.into(),
                (None, Some(float)) => (float as i64).into(),
                _ => Value::Null,
            },
            ("number", Value::Number(n)) => n.as_f64().map_or(Value::Null, |f| {
                if f.fract() == 0.0 && f.abs() < 9e15 { (f as i64).into() } else { f.into() }
            }),
            ("boolean", Value::Bool(b)) => (*b).into(),
            ("date", Value::String(text)) => since(text, now).into(),
            _ => Value::Null,
        }
    }
}

fn text(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::String(text) => text.as_str().into(),
        other => other.to_string().into(),
    }
}

/// The table's definitions of columns, with the name in front.
fn definitions(columns: &[Column]) -> Value {
    let name = json!({
        "name": "Name", "type": "string", "format": "name",
        "description": crate::table::describe("@M/name"), "priority": 0,
    });
    std::iter::once(name).chain(columns.iter().map(Column::definition)).collect()
}

/// The `Table` of objects; `metadata` is the list's, or the resource version of a single object.
pub fn table(
    columns: &[Column],
    objects: &[Object],
    metadata: Map<String, Value>,
    include: Include,
    now: Timestamp,
) -> Value {
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let row = Row { cells: cells(columns, object, now), conditions: None };
            row_value(row, object, include)
        })
        .collect();
    // As the fallback of built-in kinds: no rows are null.
    let rows = if rows.is_empty() { Value::Null } else { rows.into() };
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": definitions(columns), "rows": rows,
    })
}

/// The cells of an object.
fn cells(columns: &[Column], object: &Object, now: Timestamp) -> Vec<Value> {
    let whole = Value::Object(object.0.clone());
    std::iter::once(Value::from(object.name()))
        .chain(columns.iter().map(|column| column.cell(&whole, now)))
        .collect()
}
