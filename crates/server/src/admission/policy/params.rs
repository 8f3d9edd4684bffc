//! The parameters of a policy: the objects that a binding refers to.

use api::kinds::{self, Kind};
use api::selector::LabelSelectorSpec;
use api::{Entry, Object, Resource};
use std::sync::Arc;

use super::super::custom::Definition;
use super::super::lookup::{Lookup, text};
use super::compile::{Binding, Policy};

/// The objects to evaluate a policy with, one after the other; `[None]` where it takes none.
pub(super) fn find(
    look: &Lookup,
    policy: &Policy,
    binding: &Binding,
    namespace: &str,
) -> Result<Vec<Option<Object>>, String> {
    let Some((api_version, kind)) = &policy.param_kind else { return Ok(vec![None]) };
    let Some(reference) = &binding.param_ref else { return Ok(vec![None]) };
    let unknown = || {
        format!("paramKind kind `&ParamKind{{APIVersion:{api_version},Kind:{kind},}}` not known")
    };
    let kind = Params::find(look, api_version, kind).ok_or_else(unknown)?;
    let own = text(reference, "namespace");
    let namespace = match (kind.resource.namespaced, own.is_empty()) {
        (false, false) => {
            return Err(
                "paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into()
            );
        }
        (false, true) => "",
        (true, false) => own,
        (true, true) if namespace.is_empty() => {
            return Err(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                    .into(),
            );
        }
        (true, true) => namespace,
    };
    let name = text(reference, "name");
    let entries: Vec<Arc<Entry>> = if !name.is_empty() {
        look.entry(&kind.resource, namespace, name).into_iter().collect()
    } else {
        let spec: LabelSelectorSpec = match reference.get("selector") {
            Some(selector) => {
                serde_json::from_value(selector.clone()).map_err(|e| e.to_string())?
            }
            None => return Err("one of name or selector must be provided".into()),
        };
        let selector = spec.selector().map_err(|e| e.to_string())?;
        let mut entries = look.entries(&kind.resource, Some(namespace));
        entries.retain(|entry| selector.matches(&entry.card));
        entries
    };
    if entries.is_empty() && text(reference, "parameterNotFoundAction") == "Deny" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
    }
    Ok(entries.iter().filter_map(|entry| kind.read(entry)).map(Some).collect())
}

/// The kind of the parameters.
struct Params {
    /// As it is stored.
    resource: Resource,
    /// Of a built-in kind: the version that the policy names.
    kind: Option<&'static Kind>,
    api_version: String,
}

impl Params {
    fn find(look: &Lookup, api_version: &str, kind: &str) -> Option<Self> {
        let api_version = api_version.to_owned();
        if let Some(kind) = kinds::of_object(&api_version, kind) {
            return Some(Self {
                resource: kind.stored().resource(),
                kind: Some(kind),
                api_version,
            });
        }
        let (group, version) = api_version.split_once('/')?;
        let resources = Definition::of_kind(look, group, kind)?.resources();
        let resource = resources.into_iter().find(|r| r.version == version)?;
        Some(Self { resource, kind: None, api_version })
    }

    /// The parameter in the version that the policy names.
    fn read(&self, entry: &Entry) -> Option<Object> {
        let mut object = entry.object().ok()?;
        match self.kind {
            Some(kind) => api::convert::convert(object, kind.stored(), kind).ok(),
            None => {
                object.set_type(&self.api_version, &self.resource.kind);
                Some(object)
            }
        }
    }
}
