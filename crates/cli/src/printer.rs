//! Output formats: the server's tables, YAML, JSON, names, JSONPath. Not here: fetching.

use api::{Object, Resource, Value};
use serde_json::json;

use crate::jsonpath::Template;
use crate::manifest::shown;
use crate::{Error, Result};

/// `-o`.
#[derive(Debug)]
pub enum Format {
    /// The server's table; with all columns where wide.
    Table {
        /// `-o wide`.
        wide: bool,
    },
    /// `-o name`.
    Name,
    /// `-o json`.
    Json,
    /// `-o yaml`.
    Yaml,
    /// `-o jsonpath=…`.
    JsonPath(Template),
}

impl Format {
    /// Reads the flag's value.
    pub fn parse(text: &str) -> Result<Self> {
        let (name, argument) = text.split_once('=').unwrap_or((text, ""));
        Ok(match name {
            "" => Self::Table { wide: false },
            "wide" => Self::Table { wide: true },
            "name" => Self::Name,
            "json" => Self::Json,
            "yaml" => Self::Yaml,
            "jsonpath" => Self::JsonPath(Template::parse(argument)?),
            "jsonpath-file" => {
                let text = std::fs::read_to_string(argument)
                    .map_err(|e| Error::Io(format!("reading {argument}"), e))?;
                Self::JsonPath(Template::parse(text.trim_end_matches('\n'))?)
            }
            other => {
                return Err(Error::usage(format!(
                    "unable to match a printer suitable for the output format \"{other}\", allowed formats are: json,jsonpath,jsonpath-file,name,wide,yaml"
                )));
            }
        })
    }

    /// The text of one object. A table has no form here: commands print a line of their own.
    pub fn print(&self, resource: &Resource, object: &Object) -> Result<String> {
        match self {
            Self::Table { .. } | Self::Name => Ok(format!("{}\n", shown(resource, object.name()))),
            _ => self.print_value(&Value::Object(object.0.clone())),
        }
    }

    /// The text of a value in a format that shows whole objects.
    pub fn print_value(&self, value: &Value) -> Result<String> {
        match self {
            Self::Json => serde_json::to_string_pretty(value)
                .map(|mut s| {
                    s.push('\n');
                    s
                })
                .map_err(|e| Error::usage(e.to_string())),
            Self::Yaml => yaml_serde::to_string(value).map_err(|e| Error::usage(e.to_string())),
            Self::JsonPath(template) => Ok(template.print(value)),
            Self::Table { .. } | Self::Name => Ok(String::new()),
        }
    }
}

/// Several objects as one `v1.List`, as `get -o yaml` prints them; a single one named on the command
/// line stays as it is.
pub fn list(objects: Vec<Value>) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": objects})
}

/// Takes `metadata.managedFields` out, which nobody wants to read.
pub fn hide_managed_fields(value: &mut Value) {
    if let Some(meta) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("managedFields");
    }
}
