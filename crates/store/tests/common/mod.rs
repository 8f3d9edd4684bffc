//! Writes as tests make them.
#![allow(dead_code)] // Every test binary uses its own part.

use api::{Card, Key};
use bytes::Bytes;
use isopod_store::{Change, Expect, Write};

/// Creates or replaces a pod.
pub fn put(namespace: &str, name: &str, expect: Expect, body: &str) -> Write {
    put_in("pods", namespace, name, expect, body)
}

/// Creates or replaces any object.
pub fn put_in(resource: &str, namespace: &str, name: &str, expect: Expect, body: &str) -> Write {
    let bytes =
        format!(r#"{{"metadata":{{"name":"{name}","namespace":"{namespace}"}},"x":"{body}"}}"#);
    let card = Card { namespace: namespace.into(), name: name.into(), ..Card::default() };
    let change = Change::Put { bytes: Bytes::from(bytes), rv_at: 13, card };
    Write { key: Key::new(resource, namespace, name), expect, change }
}

/// Creates or replaces a pod of about this many bytes.
pub fn put_sized(namespace: &str, name: &str, len: usize) -> Write {
    put(namespace, name, Expect::Any, &"x".repeat(len))
}

/// Removes a pod.
pub fn delete(namespace: &str, name: &str, expect: Expect) -> Write {
    let bytes = Bytes::from(format!(r#"{{"metadata":{{"name":"{name}"}}}}"#));
    let change = Change::Delete { bytes, rv_at: 13 };
    Write { key: Key::new("pods", namespace, name), expect, change }
}

/// Marks a pod and removes it.
pub fn mark_and_delete(namespace: &str, name: &str, expect: Expect) -> Write {
    let mut write = put(namespace, name, expect, "marked");
    if let Change::Put { bytes, rv_at, card } = write.change {
        write.change = Change::MarkAndDelete { bytes, rv_at, card };
    }
    write
}
