//! What a CustomResourceDefinition may say: names, versions, schemas, columns, conversion.
//!
//! Upstream keeps what is the same in all versions once, and names it so in faults:
//! `spec.validation`, `spec.subresources`, `spec.additionalPrinterColumns`. Not here: CEL rules, which
//! need their engine (the server's), conditions.

mod conversion;
mod defaults;
mod schema;
mod structure;

use serde_json::{Map, Value, json};

use super::conditions::{APPROVED, Approval, approval, is_protected, is_true};
use super::fieldpath;
use super::formats;
use super::structural::{Structural, Type, format_type};
use crate::names::{Faults as Why, dns_1035_label, dns_subdomain};
use crate::status::Cause;

type Faults = Vec<Cause>;
/// The object's fields.
type Definition = Map<String, Value>;

const NOTHING: &Value = &Value::Null;

/// The faults of a definition; `old` is the one that it takes the place of.
pub fn definition(object: &Definition, old: Option<&Definition>) -> Vec<Cause> {
    let mut faults = Vec::new();
    let spec = object.get("spec").unwrap_or(NOTHING);
    let before = old.and_then(|old| old.get("spec"));
    if old.is_none() {
        name(object, spec, &mut faults);
    }
    let established = old.is_some_and(|old| is_true(old, "Established"));
    let mut all = Spec { spec, before, established, faults };
    all.check();
    let mut faults = all.faults;
    if let (Some(before), Some(old)) = (before, old) {
        unchanged(spec, before, is_true(old, "Established"), &mut faults);
    }
    status(object, &mut faults);
    stored_versions(object, spec, &mut faults);
    approved(object, old, spec, &mut faults);
    let preserves = |spec: &Value| spec["preserveUnknownFields"] == true;
    if preserves(spec) && !before.is_some_and(preserves) {
        let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        faults.push(Cause::invalid("spec.preserveUnknownFields", &json!(true), why));
    }
    faults
}

/// What a client is told about a definition that is taken: formats that nothing checks.
pub fn warnings(object: &Definition, old: Option<&Definition>) -> Vec<String> {
    let all = |object: &Definition| {
        let mut found = Vec::new();
        let spec = object.get("spec").unwrap_or(NOTHING);
        let most = if is_shared(spec, "schema") { 1 } else { usize::MAX };
        for version in list(spec, "versions").iter().take(most) {
            if let Some(schema) = version.pointer("/schema/openAPIV3Schema") {
                unknown_formats(schema, &mut found);
            }
        }
        found
    };
    let known = old.map(all).unwrap_or_default();
    let new = all(object).into_iter().filter(|format| !known.contains(format));
    new.map(|format| format!("unrecognized format {format:?}")).collect()
}

fn unknown_formats(schema: &Value, found: &mut Vec<String>) {
    let Some(map) = schema.as_object() else { return };
    let format = text(schema, "format");
    if !format.is_empty() && !formats::is_known(format_type(map), format) {
        found.push(format.to_owned());
    }
    for key in ["items", "additionalProperties", "not"] {
        unknown_formats(&schema[key], found);
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        list(schema, key).iter().for_each(|part| unknown_formats(part, found));
    }
    let properties = map.get("properties").and_then(Value::as_object).into_iter().flatten();
    properties.for_each(|(_, property)| unknown_formats(property, found));
}

/// The faults of a definition's status.
pub fn status(object: &Definition, faults: &mut Vec<Cause>) {
    if let Some(names) = status_of(object, "acceptedNames") {
        self::names(names, "status.acceptedNames", faults);
    }
}

fn status_of<'a>(object: &'a Definition, key: &str) -> Option<&'a Value> {
    object.get("status")?.get(key)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn joined(why: &Why) -> String {
    why.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn name(object: &Definition, spec: &Value, faults: &mut Faults) {
    let names = &spec["names"];
    let wanted = format!("{}.{}", text(names, "plural"), text(spec, "group"));
    for key in ["generateName", "name"] {
        let name = object.get("metadata").map_or("", |meta| text(meta, key));
        if name != wanted && !name.is_empty() {
            let why = "must be spec.names.plural+\".\"+spec.group";
            faults.push(Cause::invalid(format!("metadata.{key}"), &json!(name), why));
        }
    }
}

/// A definition's spec under validation.
struct Spec<'a> {
    spec: &'a Value,
    before: Option<&'a Value>,
    /// Whether the old definition is served: its CA bundle must then be a good one.
    established: bool,
    faults: Faults,
}

/// Whether all versions say the same under a key.
pub fn is_shared(spec: &Value, key: &str) -> bool {
    let versions = list(spec, "versions");
    versions.windows(2).all(|pair| pair[0].get(key) == pair[1].get(key))
}

impl Spec<'_> {
    fn check(&mut self) {
        let spec = self.spec;
        let group = text(spec, "group");
        let why = dns_subdomain(group);
        if group.is_empty() {
            self.faults.push(Cause::required("spec.group", ""));
        } else if !why.is_empty() {
            self.faults.push(Cause::invalid("spec.group", &json!(group), &joined(&why)));
        } else if !group.contains('.') {
            let why = "should be a domain with at least one dot";
            self.faults.push(Cause::invalid("spec.group", &json!(group), why));
        }
        match text(spec, "scope") {
            "" => self.faults.push(Cause::required("spec.scope", "")),
            "Cluster" | "Namespaced" => {}
            other => self.faults.push(Cause::not_supported(
                "spec.scope",
                &json!(other),
                &["Cluster", "Namespaced"],
            )),
        }
        self.versions();
        let names = &spec["names"];
        for key in ["plural", "singular", "kind", "listKind"] {
            if text(names, key).is_empty() {
                self.faults.push(Cause::required(format!("spec.names.{key}"), ""));
            }
        }
        self::names(names, "spec.names", &mut self.faults);
        self.shared();
        let (before, established) = (self.before.map(|b| &b["conversion"]), self.established);
        conversion::check(&spec["conversion"], before, established, &mut self.faults);
    }

    /// What each version says for itself.
    fn versions(&mut self) {
        let spec = self.spec;
        let versions = list(spec, "versions");
        for (at, version) in versions.iter().enumerate() {
            if version.pointer("/schema/openAPIV3Schema").is_none() {
                let field = format!("spec.versions[{at}].schema.openAPIV3Schema");
                self.faults.push(Cause::required(field, ""));
            }
        }
        for (at, version) in versions.iter().enumerate() {
            let path = format!("spec.versions[{at}]");
            let name = text(version, "name");
            let why = dns_1035_label(name);
            if !why.is_empty() {
                let field = format!("{path}.name");
                self.faults.push(Cause::invalid(field, &json!(name), &joined(&why)));
            }
            deprecation(version, &path, &mut self.faults);
            let status = version.pointer("/subresources/status").is_some();
            if !is_shared(spec, "schema") {
                self.schema(version, status, &format!("{path}.schema"));
            }
            if !is_shared(spec, "subresources") {
                subresources(version, &format!("{path}.subresources"), &mut self.faults);
            }
            if !is_shared(spec, "additionalPrinterColumns") {
                columns(version, &format!("{path}.additionalPrinterColumns"), &mut self.faults);
            }
            if !is_shared(spec, "selectableFields") {
                selectable(version, &format!("{path}.selectableFields"), &mut self.faults);
            }
        }
        let mut seen: Vec<&str> = Vec::new();
        let mut unique = true;
        for version in versions {
            unique &= !seen.contains(&text(version, "name"));
            seen.push(text(version, "name"));
        }
        if !unique {
            self.faults.push(invalid_versions(spec, "must contain unique version names"));
        }
        if versions.iter().filter(|v| v["storage"] == true).count() != 1 {
            let why = "must have exactly one version marked as storage version";
            self.faults.push(invalid_versions(spec, why));
        }
        let first = versions.first().map_or("", |v| text(v, "name"));
        let why = dns_1035_label(first);
        if !first.is_empty() && !why.is_empty() {
            self.faults.push(Cause::invalid("spec.version", &json!(first), &joined(&why)));
        }
    }

    /// What all versions say alike.
    fn shared(&mut self) {
        let spec = self.spec;
        let versions = list(spec, "versions");
        let Some(first) = versions.first() else { return };
        if is_shared(spec, "schema") {
            let status = versions.iter().any(|v| v.pointer("/subresources/status").is_some());
            self.schema(first, status, "spec.validation");
        }
        if is_shared(spec, "subresources") {
            subresources(first, "spec.subresources", &mut self.faults);
        }
        if is_shared(spec, "additionalPrinterColumns") {
            columns(first, "spec.additionalPrinterColumns", &mut self.faults);
        }
        if is_shared(spec, "selectableFields") {
            selectable(first, "spec.selectableFields", &mut self.faults);
        }
    }

    fn schema(&mut self, version: &Value, status: bool, path: &str) {
        let Some(schema) = version.pointer("/schema/openAPIV3Schema") else { return };
        let path = format!("{path}.openAPIV3Schema");
        schema::check(schema, status, &path, &mut self.faults);
    }
}

/// A fault of all versions, as upstream prints them: without what is said once for all.
fn invalid_versions(spec: &Value, why: &str) -> Cause {
    if spec["versions"].is_null() {
        return Cause::invalid("spec.versions", &Value::Null, why);
    }
    let shown: Vec<String> = list(spec, "versions")
        .iter()
        .map(|version| {
            let own = |key: &str| match version.get(key).filter(|_| !is_shared(spec, key)) {
                Some(value) => value.to_string(),
                None => "null".to_owned(),
            };
            let flag = |key: &str| version[key] == true;
            let warning = version.get("deprecationWarning").unwrap_or(NOTHING);
            format!(
                "{{\"Name\":{},\"Served\":{},\"Storage\":{},\"Deprecated\":{},\"DeprecationWarning\":{warning},\"Schema\":{},\"Subresources\":{},\"AdditionalPrinterColumns\":{},\"SelectableFields\":{}}}",
                version["name"],
                flag("served"),
                flag("storage"),
                flag("deprecated"),
                own("schema"),
                own("subresources"),
                own("additionalPrinterColumns"),
                own("selectableFields"),
            )
        })
        .collect();
    let message = format!("Invalid value: [{}]: {why}", shown.join(","));
    Cause::new(crate::status::CauseReason::Invalid, "spec.versions", message)
}

fn deprecation(version: &Value, path: &str, faults: &mut Faults) {
    let Some(warning) = version.get("deprecationWarning").and_then(Value::as_str) else { return };
    let field = format!("{path}.deprecationWarning");
    let mut wrong = |why: &str| faults.push(Cause::invalid(field.as_str(), &json!(warning), why));
    if version["deprecated"] != true {
        return wrong("can only be set for deprecated versions");
    }
    if warning.len() > 256 {
        wrong("must be <= 256 characters long");
    }
    if warning.is_empty() {
        wrong("must not be an empty string");
    }
    if let Some((at, _)) = warning.char_indices().find(|(_, c)| c.is_control()) {
        wrong(&format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {at}"
        ));
    }
}

fn names(names: &Value, path: &str, faults: &mut Faults) {
    let mut label = |field: String, name: &str, folded: bool| {
        let why = dns_1035_label(&if folded { name.to_lowercase() } else { name.to_owned() });
        if name.is_empty() || why.is_empty() {
            return;
        }
        let head = if folded { "may have mixed case, but should otherwise match: " } else { "" };
        faults.push(Cause::invalid(field, &json!(name), &format!("{head}{}", joined(&why))));
    };
    label(format!("{path}.plural"), text(names, "plural"), false);
    label(format!("{path}.singular"), text(names, "singular"), false);
    label(format!("{path}.kind"), text(names, "kind"), true);
    label(format!("{path}.listKind"), text(names, "listKind"), true);
    let lists = |key: &str, faults: &mut Faults| {
        for (at, name) in list(names, key).iter().enumerate() {
            let why = dns_1035_label(name.as_str().unwrap_or(""));
            if !why.is_empty() {
                faults.push(Cause::invalid(format!("{path}.{key}[{at}]"), name, &joined(&why)));
            }
        }
    };
    lists("shortNames", faults);
    let kind = text(names, "kind");
    if !kind.is_empty() && kind == text(names, "listKind") {
        let why = "kind and listKind may not be the same";
        faults.push(Cause::invalid(format!("{path}.listKind"), &json!(kind), why));
    }
    lists("categories", faults);
}

/// A path with dots that scale and columns take.
fn simple_path(path: &str, field: &str, faults: &mut Faults) -> bool {
    if path.starts_with('.') {
        return true;
    }
    let why = "must be a simple json path starting with .";
    faults.push(Cause::invalid(field, &json!(path), why));
    false
}

fn subresources(version: &Value, path: &str, faults: &mut Faults) {
    let Some(scale) = version.pointer("/subresources/scale") else { return };
    for (key, part) in [("specReplicasPath", "spec"), ("statusReplicasPath", "status")] {
        let (field, place) = (format!("{path}.scale.{key}"), text(scale, key));
        if place.is_empty() {
            faults.push(Cause::required(field, ""));
        } else if simple_path(place, &field, faults) && !place.starts_with(&format!(".{part}.")) {
            let why = format!("should be a json path under .{part}");
            faults.push(Cause::invalid(field, &json!(place), &why));
        }
    }
    let selector = text(scale, "labelSelectorPath");
    let field = format!("{path}.scale.labelSelectorPath");
    let below = [".spec.", ".status."].iter().any(|p| selector.starts_with(p));
    if !selector.is_empty() && simple_path(selector, &field, faults) && !below {
        let why = "should be a json path under either .spec or .status";
        faults.push(Cause::invalid(field, &json!(selector), why));
    }
}

fn columns(version: &Value, path: &str, faults: &mut Faults) {
    const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
    const FORMATS: [&str; 8] =
        ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
    for (at, column) in list(version, "additionalPrinterColumns").iter().enumerate() {
        let field = |key: &str| format!("{path}[{at}].{key}");
        let one_of = |list: &[&str]| format!("must be one of {}", list.join(","));
        if text(column, "name").is_empty() {
            faults.push(Cause::required(field("name"), ""));
        }
        match text(column, "type") {
            "" => faults.push(Cause::required(field("type"), &one_of(&TYPES))),
            ty if TYPES.contains(&ty) => {}
            ty => faults.push(Cause::invalid(field("type"), &json!(ty), &one_of(&TYPES))),
        }
        let format = text(column, "format");
        if !format.is_empty() && !FORMATS.contains(&format) {
            faults.push(Cause::invalid(field("format"), &json!(format), &one_of(&FORMATS)));
        }
        match text(column, "jsonPath") {
            "" => faults.push(Cause::required(field("JSONPath"), "")),
            path => {
                simple_path(path, &field("JSONPath"), faults);
            }
        }
    }
}

/// Fields that a version may make selectable.
const MOST_SELECTABLE: usize = 8;

fn selectable(version: &Value, path: &str, faults: &mut Faults) {
    let fields = list(version, "selectableFields");
    let Some(schema) = version.pointer("/schema/openAPIV3Schema") else { return };
    let schema = Structural::parse(schema);
    let mut seen: Vec<String> = Vec::new();
    for (at, field) in fields.iter().enumerate() {
        let (place, value) = (format!("{path}[{at}].jsonPath"), text(field, "jsonPath"));
        if value.is_empty() {
            faults.push(Cause::required(place, ""));
            continue;
        }
        let found = match fieldpath::find(value, &schema) {
            Ok(found) => found,
            Err(why) => {
                let why = format!("is an invalid path: {why}");
                faults.push(Cause::invalid(place, &json!(value), &why));
                continue;
            }
        };
        if found.root == "metadata" {
            let why = "must not point to fields in metadata";
            faults.push(Cause::invalid(place.as_str(), &json!(value), why));
        }
        if !matches!(found.schema.ty, Type::String | Type::Boolean | Type::Integer) {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            faults.push(Cause::invalid(place.as_str(), &json!(value), why));
        }
        if seen.contains(&found.text) {
            faults.push(Cause::duplicate(place, &json!(value)));
        } else {
            seen.push(found.text);
        }
    }
    if seen.len() > MOST_SELECTABLE {
        faults.push(Cause::too_many(path, seen.len(), MOST_SELECTABLE));
    }
}

fn unchanged(spec: &Value, before: &Value, established: bool, faults: &mut Faults) {
    let mut fixed = vec!["/group", "/names/plural"];
    if established {
        fixed.splice(0..0, ["/scope", "/names/kind"]);
    }
    for pointer in fixed {
        let value = spec.pointer(pointer).unwrap_or(NOTHING);
        if Some(value) != before.pointer(pointer) {
            let field = format!("spec{}", pointer.replace('/', "."));
            faults.push(Cause::invalid(field, value, "field is immutable"));
        }
    }
}

fn stored_versions(object: &Definition, spec: &Value, faults: &mut Faults) {
    const FIELD: &str = "status.storedVersions";
    let stored =
        status_of(object, "storedVersions").and_then(Value::as_array).cloned().unwrap_or_default();
    if stored.is_empty() {
        let why = "must have at least one stored version";
        faults.push(Cause::invalid(FIELD, &Value::Null, why));
        return;
    }
    let versions = list(spec, "versions");
    for (at, version) in versions.iter().enumerate() {
        let name = &version["name"];
        let counted = versions[..at].iter().any(|v| v["name"] == *name);
        if version["storage"] == true && (counted || !stored.contains(name)) {
            let why = format!("must have the storage version {}", text(version, "name"));
            faults.push(Cause::invalid(FIELD, &json!(stored), &why));
        }
    }
    for (at, name) in stored.iter().enumerate() {
        if !versions.iter().any(|v| v["name"] == *name) {
            let name_text = name.as_str().unwrap_or("");
            let why = format!(
                "missing from spec.versions; {name_text} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name_text} and removes {name_text} from status.storedVersions"
            );
            faults.push(Cause::invalid(format!("{FIELD}[{at}]"), name, &why));
        }
    }
}

fn approved(object: &Definition, old: Option<&Definition>, spec: &Value, faults: &mut Faults) {
    if !is_protected(text(spec, "group")) {
        return;
    }
    let now = approval(object);
    if old.is_some_and(|old| std::mem::discriminant(&approval(old)) == std::mem::discriminant(&now))
    {
        return;
    }
    let field = format!("metadata.annotations[{APPROVED}]");
    const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";
    match now {
        Approval::Missing => {
            let why = format!("protected groups must have approval annotation {APPROVED:?}, {SEE}");
            faults.push(Cause::required(field, &why));
        }
        Approval::Invalid(text) => {
            let why = format!(
                "protected groups must have approval annotation {APPROVED:?} with either a URL or a reason starting with \"unapproved\", {SEE}"
            );
            faults.push(Cause::invalid(field, &json!(text), &why));
        }
        Approval::Approved(_) | Approval::Bypassed => {}
    }
}
