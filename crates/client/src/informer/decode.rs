//! Objects off the wire as entries.
//!
//! Not here: entries of the watch cache, which come with their cards.

use std::sync::Arc;

use api::{Card, Entry, Object, Resource};
use bytes::Bytes;

use crate::error::Error;

/// The entry of an object that came over the wire. Items of lists lack their type; it is put in
/// front.
pub fn entry_of(resource: &Resource, json: &[u8]) -> Result<Arc<Entry>, Error> {
    let object: Object =
        serde_json::from_slice(json).map_err(|e| Error::decode(resource.qualified(), e))?;
    let card = match api::kinds::find(&resource.group, &resource.version, &resource.plural) {
        Some(kind) => kind.card(&object),
        None => Card::of(&object, &[]),
    };
    let revision = object.resource_version().parse().unwrap_or(0);
    let json = if object.kind().is_empty() {
        typed(resource, json)
    } else {
        // Copied: a slice would keep the whole response alive.
        Bytes::copy_from_slice(json)
    };
    Ok(Arc::new(Entry { revision, json, card }))
}

fn typed(resource: &Resource, json: &[u8]) -> Bytes {
    let head =
        format!("{{\"kind\":\"{}\",\"apiVersion\":\"{}\"", resource.kind, resource.api_version());
    let open = json.iter().position(|b| *b == b'{').map_or(0, |at| at + 1);
    let rest = json.get(open..).unwrap_or_default().trim_ascii_start();
    let comma: &[u8] = if rest.first() == Some(&b'}') { b"" } else { b"," };
    [head.as_bytes(), comma, rest].concat().into()
}

#[cfg(test)]
mod tests {
    use api::resource::PODS;

    use super::*;

    #[test]
    fn list_items_get_their_type() {
        let item = br#"{"metadata":{"name":"a","resourceVersion":"12"},"spec":{"nodeName":"n"}}"#;
        let entry = entry_of(&PODS, item).expect("decodes");
        assert_eq!(entry.revision, 12);
        assert_eq!(entry.card.field("spec.nodeName"), Some("n"));
        let object = entry.object().expect("still JSON");
        assert_eq!((object.kind(), object.api_version(), object.name()), ("Pod", "v1", "a"));
        assert_eq!(&typed(&PODS, b"{ }")[..], br#"{"kind":"Pod","apiVersion":"v1"}"#);
    }
}
