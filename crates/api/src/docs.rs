//! What the API's documentation says of each type and field.
//!
//! The texts are a compressed blob (`tables/docs.z`, made by `xtask gen`), unpacked for whoever makes
//! documents and dropped with them: half a megabyte that nobody reads between two requests. Not here:
//! texts of operations and parameters (`openapi`).

use std::io::Read;
use std::ops::Range;

use flate2::read::ZlibDecoder;

static BLOB: &[u8] = include_bytes!("../tables/docs.z");

/// The compressed texts, for hashes of what is made of them.
pub(crate) fn blob() -> &'static [u8] {
    BLOB
}

/// The texts, unpacked; none by default.
#[derive(Default)]
pub struct Docs {
    text: String,
    lines: Vec<Line>,
    /// The lines that are types, by name.
    types: Vec<usize>,
    /// The distinct texts, in the order of the lines that have them first.
    texts: Vec<Range<usize>>,
}

/// A type or a field.
struct Line {
    name: Range<usize>,
    /// Its text, by number.
    text: usize,
}

impl Docs {
    /// Unpacks the texts.
    pub fn load() -> Self {
        let mut text = String::new();
        // The blob is part of the program; a test reads it.
        if ZlibDecoder::new(BLOB).read_to_string(&mut text).is_err() {
            text.clear();
        }
        let mut docs = Self { lines: Vec::new(), types: Vec::new(), texts: Vec::new(), text };
        let mut start = 0;
        for line in docs.text.split_inclusive('\n') {
            let end = start + line.len() - 1;
            let is_field = line.starts_with('\t');
            let name_start = start + usize::from(is_field);
            let space = line.find(' ').unwrap_or(line.len() - 1);
            let name = name_start..start + space;
            let body = (start + space + 1).min(end)..end;
            let known = docs.text[body.clone()].strip_prefix('=').and_then(|n| n.parse().ok());
            let text = known.unwrap_or_else(|| {
                docs.texts.push(body);
                docs.texts.len() - 1
            });
            if !is_field {
                docs.types.push(docs.lines.len());
            }
            docs.lines.push(Line { name, text });
            start += line.len();
        }
        docs
    }

    /// The text of a type, by its full name; empty where there is none.
    pub fn of_type(&self, name: &str) -> String {
        let text = match self.find(name) {
            Some(at) => self.read(&self.lines[self.types[at]]),
            None => list_of(name).map(|item| format!("{item}List is a list of {item}.")),
        };
        text.unwrap_or_default()
    }

    /// The text of a type's field; empty where there is none.
    pub fn of_field(&self, type_name: &str, field: &str) -> String {
        let Some(at) = self.find(type_name) else {
            return self.of_list(type_name, field);
        };
        let end = self.types.get(at + 1).copied().unwrap_or(self.lines.len());
        self.lines[self.types[at] + 1..end]
            .iter()
            .find(|line| &self.text[line.name.clone()] == field)
            .and_then(|line| self.read(line))
            .unwrap_or_default()
    }

    /// Lists are all alike, and not in the blob.
    fn of_list(&self, type_name: &str, field: &str) -> String {
        match (list_of(type_name), field) {
            (Some(_), "apiVersion" | "kind") => self.of_field(OBJECT, field),
            (Some(_), "metadata") => self.of_type(LIST_META),
            (Some(item), "items") => format!("items is the list of {item} objects."),
            _ => String::new(),
        }
    }

    fn find(&self, type_name: &str) -> Option<usize> {
        let name = |at: &usize| &self.text[self.lines[*at].name.clone()];
        self.types.binary_search_by(|at| name(at).cmp(type_name)).ok()
    }

    fn read(&self, line: &Line) -> Option<String> {
        let text = &self.text[self.texts.get(line.text)?.clone()];
        let mut out = String::with_capacity(text.len());
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => out.push(if chars.next() == Some('n') { '\n' } else { '\\' }),
                other => out.push(other),
            }
        }
        Some(out)
    }
}

/// A type that has what all objects have.
const OBJECT: &str = "io.k8s.api.core.v1.Pod";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// The kind in a list's name.
fn list_of(type_name: &str) -> Option<&str> {
    type_name.rsplit('.').next()?.strip_suffix("List").filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_fields_and_lists() {
        let docs = Docs::load();
        assert_eq!(
            docs.of_type("io.k8s.api.core.v1.PodSpec"),
            "PodSpec is a description of a pod."
        );
        let replicas = docs.of_field("io.k8s.api.apps.v1.DeploymentSpec", "replicas");
        assert!(replicas.starts_with("Number of desired pods."), "{replicas}");
        assert_eq!(docs.of_type("io.k8s.api.core.v1.PodList"), "PodList is a list of Pod.");
        let kind = docs.of_field("io.k8s.api.core.v1.PodList", "kind");
        assert!(kind.starts_with("Kind is a string value"), "{kind}");
        assert_eq!(docs.of_field("io.k8s.api.core.v1.PodSpec", "nope"), "");
        assert_eq!(docs.of_type("nope"), "");
        let created =
            docs.of_field("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "creationTimestamp");
        assert!(created.contains("UTC.\n\nPopulated"), "{created}");
    }
}
