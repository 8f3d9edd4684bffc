//! The parameters of operations: their types and what they do.
//!
//! A parameter with a tag is said once in a document of version 2, under its name and tag; the others
//! stay in place: old clients look for them there to learn what a server can do. Not here: which
//! operation takes which (`paths`).

use serde_json::{Map, Value, json};

use super::Form;

/// A parameter in the query or the path.
struct Parameter {
    name: &'static str,
    /// The operations, where the name means something else to others: a subresource or an action.
    of: &'static str,
    /// `string`, `boolean`, `integer`.
    kind: &'static str,
    /// The end of its shared name; empty where it is not shared.
    tag: &'static str,
    text: &'static str,
}

const fn text(
    name: &'static str,
    of: &'static str,
    tag: &'static str,
    text: &'static str,
) -> Parameter {
    Parameter { name, of, kind: "string", tag, text }
}

const fn flag(
    name: &'static str,
    of: &'static str,
    tag: &'static str,
    text: &'static str,
) -> Parameter {
    Parameter { name, of, kind: "boolean", tag, text }
}

const fn integer(
    name: &'static str,
    of: &'static str,
    tag: &'static str,
    text: &'static str,
) -> Parameter {
    Parameter { name, of, kind: "integer", tag, text }
}

#[rustfmt::skip]
const QUERY: [Parameter; 45] = [
    flag("allowWatchBookmarks", "", "HC2hJt-J", "Ask for events of type BOOKMARK, which carry a resource version alone. A server may send them at any interval, or not at all. Without watch it says nothing."),
    text("command", "exec", "Py3eQybp", "The command with its arguments, one a parameter. It is not run in a shell."),
    text("container", "attach", "_Q-EJ3nR", "The container to attach to; by default the only one of the pod."),
    text("container", "exec", "i5dOmRiM", "The container in which to run the command; by default the only one of the pod."),
    text("container", "log", "1GeXxFDC", "The container whose log to read; by default the only one of the pod."),
    text("continue", "", "QfD61s0i", "The token out of the metadata of the chunk before, to read the next chunk of the same list. All other parameters must be as they were. Tokens expire: then the answer is 410 ResourceExpired, with a token that continues at the newest state, or the list starts over."),
    text("dryRun", "", "", "All: go through every stage of the request, but keep nothing."),
    text("fieldManager", "", "Qy4HdaTW", "The name of who makes the changes, as managed fields record it: at most 128 printable characters."),
    text("fieldManager", "patch", "7c6nTn1T", "The name of who makes the changes, as managed fields record it: at most 128 printable characters. An apply patch must name one."),
    text("fieldSelector", "", "xIcQKXFG", "Only objects whose fields fit; everything by default."),
    text("fieldValidation", "", "", "What becomes of unknown and duplicate fields: Ignore drops them, Warn (the default) drops them and says so in a warning header, Strict refuses the request and names them all."),
    flag("follow", "log", "9OIXh_2R", "Go on with what is written from now on."),
    flag("force", "", "tOGGb0Yi", "Apply although others own fields of other values, and take the fields over. Only apply patches may have it."),
    integer("gracePeriodSeconds", "", "-K5HaBOS", "How long the object may still take to end; 0 deletes it at once. By default the object's own, or its kind's."),
    flag("ignoreStoreReadErrorWithClusterBreakingPotential", "", "QbNkfIqj", "Delete an object that cannot be read back, without its finalizers and preconditions. Refused for objects that can be read."),
    flag("insecureSkipTLSVerifyBackend", "log", "gM00jVbe", "Read the log though the kubelet's serving certificate cannot be verified."),
    text("labelSelector", "", "5Zw57w4C", "Only objects whose labels fit; everything by default."),
    integer("limit", "", "1NfNmdNH", "The most objects in one answer. Where there are more, the list's metadata has a continue token; the chunks together are one consistent list."),
    integer("limitBytes", "log", "zwd1RXuc", "The most bytes of the log; its end may be cut inside a line."),
    flag("orphanDependents", "", "uRB25kX5", "Deprecated, use propagationPolicy: whether dependent objects stay."),
    text("path", "Node", "rFDtV0x9", "The path of the request to the node."),
    text("path", "Pod", "oPbzgLUj", "The path of the request to the pod."),
    text("path", "Service", "QCf0eosM", "The path, with its own parameters, of the request to the service."),
    integer("ports", "portforward", "91KROJmm", "The ports to forward; a WebSocket needs them said."),
    text("pretty", "", "tJGM1-ng", "true: indent the answer."),
    flag("previous", "log", "1jxDPu3y", "The log of the container that ran before."),
    text("propagationPolicy", "", "6jk3prlO", "What becomes of dependent objects: Orphan leaves them, Background deletes them afterwards, Foreground deletes them first. By default what the object's finalizers or its kind say."),
    text("resourceVersion", "", "5WAnf1kx", "The version that the answer must not be older than, or where a watch starts."),
    text("resourceVersionMatch", "", "t8XhRHeC", "Exact or NotOlderThan: how a list takes resourceVersion."),
    flag("sendInitialEvents", "", "rLXlEK_k", "Let a watch begin with an event for every object there is and a bookmark after them. Needs resourceVersionMatch=NotOlderThan."),
    text("shardSelector", "", "Kgyki_3_", "Only objects of a shard: a range of a hash of a field."),
    integer("sinceSeconds", "log", "vE2NLdnP", "Only what was written in the last so many seconds."),
    flag("stderr", "attach", "26jJhFUR", "Carry the standard error stream; the default."),
    flag("stderr", "exec", "W_1TNlWc", "Carry the standard error stream."),
    flag("stdin", "attach", "sEFnN3IS", "Carry the standard input stream."),
    flag("stdin", "exec", "PSzNhyUC", "Carry the standard input stream."),
    flag("stdout", "attach", "005YMKE6", "Carry the standard output stream; the default."),
    flag("stdout", "exec", "-EZLRwV1", "Carry the standard output stream."),
    text("stream", "log", "l-48cgXv", "Which of the container's streams: All (the default), Stdout or Stderr."),
    integer("tailLines", "log", "9xQLWHMV", "Only the last so many lines."),
    integer("timeoutSeconds", "", "yvYezaOC", "How long a list or watch may take, whatever happens in it."),
    flag("timestamps", "log", "c17fW1w_", "Begin every line with the time at which it was written."),
    flag("tty", "attach", "g7MlET_l", "The container has a terminal."),
    flag("tty", "exec", "s0flW37O", "Give the command a terminal."),
    flag("watch", "", "XNNPZGbK", "Answer with a stream of changes to the objects instead of a list."),
];

const PATH: [Parameter; 3] = [
    text("logpath", "", "Noq7euwC", "path to the log"),
    text("namespace", "", "vgWSWtn3", "object name and auth scope, such as for teams and projects"),
    text("path", "", "z6Ciiujn", "path to the resource"),
];

/// Bodies that are the same for all kinds, by the last part of their type's name.
const BODIES: [(&str, &str, bool); 2] =
    [("DeleteOptions", "2Y1dVQaQ", false), ("Patch", "78PwaGsr", true)];

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// Where a document of version 2 has its shared parameters.
const SHARED: &str = "#/parameters/";

impl Parameter {
    fn value(&self, place: &str, form: Form) -> Value {
        let mut map = json!({"description": self.text, "in": place, "name": self.name});
        match form {
            Form::V2 => {
                map["type"] = self.kind.into();
                map["uniqueItems"] = true.into();
            }
            Form::V3 => map["schema"] = json!({"type": self.kind, "uniqueItems": true}),
        }
        if place == "path" {
            map["required"] = true.into();
        }
        map
    }
}

/// A parameter in place. `of` is the subresource or action, `kind` that of the operation.
pub fn parameter(name: &str, in_path: bool, of: &str, kind: &str, form: Form) -> Value {
    let (table, place): (&[Parameter], _) =
        if in_path { (&PATH, "path") } else { (&QUERY, "query") };
    let named = || table.iter().filter(|p| p.name == name);
    let found = named().find(|p| p.of == of).or_else(|| named().find(|p| p.of.is_empty()));
    match found {
        Some(p) if form == Form::V2 && !p.tag.is_empty() => {
            json!({"$ref": format!("{SHARED}{name}-{}", p.tag)})
        }
        Some(p) => p.value(place, form),
        None => {
            let mut value = text("", "", "", "").value(place, form);
            value["name"] = name.into();
            value["description"] = format!("name of the {kind}").into();
            value
        }
    }
}

/// The body of an operation in a document of version 2.
pub fn body(type_name: &str, required: bool) -> Value {
    let shared = BODIES.iter().find(|(name, ..)| type_name.strip_prefix(META) == Some(name));
    match shared {
        Some((_, tag, _)) => json!({"$ref": format!("{SHARED}body-{tag}")}),
        None => whole_body(type_name, required),
    }
}

fn whole_body(type_name: &str, required: bool) -> Value {
    let mut value = json!({"in": "body", "name": "body", "schema": Form::V2.reference(type_name)});
    if required {
        value["required"] = true.into();
    }
    value
}

/// `parameters` of a document of version 2.
pub fn shared() -> Map<String, Value> {
    let places = [(&QUERY[..], "query"), (&PATH[..], "path")];
    let named = places.iter().flat_map(|(table, place)| {
        let shared = table.iter().filter(|p| !p.tag.is_empty());
        shared.map(move |p| (format!("{}-{}", p.name, p.tag), p.value(place, Form::V2)))
    });
    let bodies = BODIES.iter().map(|(name, tag, required)| {
        (format!("body-{tag}"), whole_body(&format!("{META}{name}"), *required))
    });
    bodies.chain(named).collect()
}
