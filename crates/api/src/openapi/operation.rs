//! One operation in a document's form.

use serde_json::{Map, Value, json};

use super::Form;
use super::parameter::{self, parameter};

/// An operation before it takes a document's form.
pub struct Operation<'a> {
    pub method: &'a str,
    pub id: String,
    /// A line for people; may be empty.
    pub summary: String,
    pub tag: &'a str,
    /// Its name, with group, version and kind.
    pub action: Option<(&'static str, (&'a str, &'a str, &'a str))>,
    /// The subresource or action in whose sense parameters are meant.
    pub sense: &'a str,
    /// Names, and whether they are in the path.
    pub parameters: Vec<(&'a str, bool)>,
    pub consumes: &'a [&'a str],
    /// The type of the body, and whether there must be one.
    pub body: Option<(String, bool)>,
    pub produces: &'a [&'a str],
    pub codes: &'a [&'a str],
    /// A type, or a text where empty.
    pub answer: String,
}

impl Operation<'_> {
    /// A document at a fixed place.
    pub fn fixed<'a>(
        id: &str,
        summary: &str,
        tag: &'a str,
        consumes: &'a [&'a str],
        produces: &'a [&'a str],
        answer: String,
    ) -> Operation<'a> {
        Operation {
            method: "get",
            id: id.to_owned(),
            summary: summary.to_owned(),
            tag,
            action: None,
            sense: "",
            parameters: Vec::new(),
            consumes,
            body: None,
            produces,
            codes: if produces.is_empty() { &[] } else { &["200"] },
            answer,
        }
    }

    fn value(&self, form: Form, shared: &[(&str, bool)]) -> Value {
        let mut map = Map::new();
        if !self.summary.is_empty() {
            map.insert("description".into(), self.summary.as_str().into());
        }
        map.insert("operationId".into(), self.id.as_str().into());
        map.insert("tags".into(), json!([self.tag]));
        if let Some((action, (group, version, kind))) = self.action {
            map.insert("x-kubernetes-action".into(), action.into());
            map.insert(
                "x-kubernetes-group-version-kind".into(),
                json!({"group": group, "version": version, "kind": kind}),
            );
        }
        let mut parameters = Vec::new();
        if let (Form::V2, Some((body, required))) = (form, &self.body) {
            parameters.push(parameter::body(body, *required));
        }
        let own = self.parameters.iter().filter(|p| !shared.contains(p));
        parameters.extend(own.map(|(name, in_path)| self.parameter(name, *in_path, form)));
        if !parameters.is_empty() {
            map.insert("parameters".into(), parameters.into());
        }
        let schema = match self.answer.as_str() {
            "" => json!({"type": "string"}),
            name => form.reference(name),
        };
        let mut responses = Map::new();
        for code in self.codes {
            let description = match *code {
                "201" => "Created",
                "202" => "Accepted",
                _ => "OK",
            };
            let mut answer = json!({"description": description});
            match form {
                Form::V2 => answer["schema"] = schema.clone(),
                Form::V3 => answer["content"] = content(self.produces, &schema),
            }
            responses.insert((*code).to_owned(), answer);
        }
        responses.insert("401".into(), json!({"description": "Unauthorized"}));
        map.insert("responses".into(), responses.into());
        match form {
            Form::V2 => {
                map.insert("schemes".into(), json!(["https"]));
                if !self.consumes.is_empty() {
                    map.insert("consumes".into(), self.consumes.to_vec().into());
                }
                if !self.produces.is_empty() {
                    map.insert("produces".into(), self.produces.to_vec().into());
                }
            }
            Form::V3 => {
                if let Some((body, required)) = &self.body {
                    let content = content(self.consumes, &form.reference(body));
                    let mut request = json!({"content": content});
                    if *required {
                        request["required"] = true.into();
                    }
                    map.insert("requestBody".into(), request);
                }
            }
        }
        map.into()
    }

    fn parameter(&self, name: &str, in_path: bool, form: Form) -> Value {
        let kind = self.action.map_or("", |(_, (_, _, kind))| kind);
        parameter(name, in_path, self.sense, kind, form)
    }
}

fn content(media: &[&str], schema: &Value) -> Value {
    media.iter().map(|m| ((*m).to_owned(), json!({"schema": schema}))).collect::<Map<_, _>>().into()
}

/// Puts a path with its operations; what they all take is said once.
pub fn put(paths: &mut Map<String, Value>, path: &str, operations: &[Operation], form: Form) {
    let Some((first, rest)) = operations.split_first() else { return };
    let shared: Vec<(&str, bool)> = first
        .parameters
        .iter()
        .copied()
        .filter(|p| rest.iter().all(|operation| operation.parameters.contains(p)))
        .collect();
    let mut item = Map::new();
    for operation in operations {
        item.insert(operation.method.to_owned(), operation.value(form, &shared));
    }
    if !shared.is_empty() {
        let mut shared: Vec<Value> =
            shared.iter().map(|(name, in_path)| first.parameter(name, *in_path, form)).collect();
        shared.sort_by_key(|p| p["name"].to_string());
        item.insert("parameters".into(), shared.into());
    }
    paths.insert(path.to_owned(), item.into());
}
