//! Documents written part by part: a whole one as a tree of values takes many times its text.
//!
//! Not here: what the parts say.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::Form;
use super::schemas::{Schemas, references};

/// A part of a document.
pub enum Part {
    /// A path with its operations.
    Path(String, Value),
    /// A schema by its name.
    Schema(String, Value),
}

/// Where parts go: all paths first, then all schemas.
pub trait Sink {
    /// Takes the next part.
    fn put(&mut self, part: Part);
}

impl<F: FnMut(Part)> Sink for F {
    fn put(&mut self, part: Part) {
        self(part);
    }
}

/// Makes parts out of paths, and of the schemas that they refer to, directly or not.
pub struct Writer<'a> {
    form: Form,
    sink: &'a mut dyn Sink,
    wanted: BTreeSet<String>,
    done: BTreeSet<String>,
    paths: BTreeSet<String>,
}

impl<'a> Writer<'a> {
    pub fn new(form: Form, sink: &'a mut dyn Sink) -> Self {
        let none = BTreeSet::new;
        Self { form, sink, wanted: none(), done: none(), paths: none() }
    }

    /// Wants the schemas that a value refers to.
    pub fn refer(&mut self, value: &Value) {
        references(value, self.form, &mut self.wanted);
    }

    pub fn paths(&mut self, paths: Map<String, Value>) {
        for (path, item) in paths {
            self.refer(&item);
            self.paths.insert(path.clone());
            self.sink.put(Part::Path(path, item));
        }
    }

    /// The paths of another server's document; what is there already stays.
    pub fn paths_of(&mut self, document: &Value) {
        for (path, item) in document["paths"].as_object().into_iter().flatten() {
            if self.paths.insert(path.clone()) {
                self.sink.put(Part::Path(path.clone(), item.clone()));
            }
        }
    }

    /// The schemas of another server's document; what is there already stays.
    pub fn schemas_of(&mut self, document: &Value) {
        for (name, schema) in document["definitions"].as_object().into_iter().flatten() {
            if self.done.insert(name.clone()) {
                self.sink.put(Part::Schema(name.clone(), schema.clone()));
            }
        }
    }

    /// The schemas wanted so far. No paths may follow.
    pub fn schemas(&mut self, schemas: &Schemas) {
        while let Some(name) = self.wanted.pop_first() {
            if self.done.contains(&name) {
                continue;
            }
            let Some(schema) = schemas.named(&name) else { continue };
            self.refer(&schema);
            self.done.insert(name.clone());
            self.sink.put(Part::Schema(name, schema));
        }
    }
}

/// The JSON text of a document.
pub struct Text {
    text: String,
    form: Form,
    /// Which section is open: none, paths, schemas.
    section: u8,
}

impl Text {
    /// Begins with what needs no parts.
    pub fn new(form: Form, head: &Value) -> Self {
        let mut text = head.to_string();
        text.pop();
        Self { text, form, section: 0 }
    }

    fn open(&mut self, section: u8) {
        let open = match (section, self.form) {
            (1, _) => r#","paths":{"#,
            (_, Form::V2) => r#"},"definitions":{"#,
            (_, Form::V3) => r#"},"components":{"schemas":{"#,
        };
        if self.section == section {
            self.text.push(',');
        } else {
            self.text.push_str(open);
            self.section = section;
        }
    }

    /// The whole text; `security` is what a document of version 3 has beside its schemas.
    pub fn end(mut self, security: &Value) -> String {
        if self.form == Form::V3 {
            let beside = if self.section == 2 { "," } else { r#","components":{"# };
            self.text.push('}');
            self.text.push_str(beside);
            self.text.push_str(r#""securitySchemes":"#);
            self.text.push_str(&security.to_string());
        }
        self.text.push_str("}}\n");
        self.text
    }
}

impl Sink for Text {
    fn put(&mut self, part: Part) {
        let (section, name, value) = match part {
            Part::Path(name, value) => (1, name, value),
            Part::Schema(name, value) => (2, name, value),
        };
        self.open(section);
        self.text.push_str(&Value::String(name).to_string());
        self.text.push(':');
        self.text.push_str(&value.to_string());
    }
}
