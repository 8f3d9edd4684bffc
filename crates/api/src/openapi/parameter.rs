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

/// A row: the name, whose operations, the kind, the shared name's end, the text.
const fn row(
    name: &'static str,
    of: &'static str,
    kind: &'static str,
    tag: &'static str,
    text: &'static str,
) -> Parameter {
    Parameter { name, of, kind, tag, text }
}

#[rustfmt::skip]
const QUERY: [Parameter; 45] = [
    row("allowWatchBookmarks", "", "boolean", "HC2hJt-J", "Ask for events of type BOOKMARK, which carry a resource version alone. A server may send them at any interval, or not at all. Without watch it says nothing."),
    row("command", "exec", "string", "Py3eQybp", "The command with its arguments, one a parameter. It is not run in a shell."),
    row("container", "attach", "string", "_Q-EJ3nR", "The container to attach to; by default the only one of the pod."),
    row("container", "exec", "string", "i5dOmRiM", "The container in which to run the command; by default the only one of the pod."),
    row("container", "log", "string", "1GeXxFDC", "The container whose log to read; by default the only one of the pod."),
    row("continue", "", "string", "QfD61s0i", "The token out of the metadata of the chunk before, to read the next chunk of the same list. All other parameters must be as they were. Tokens expire: then the answer is 410 ResourceExpired, with a token that continues at the newest state, or the list starts over."),
    row("dryRun", "", "string", "", "All: go through every stage of the request, but keep nothing."),
    row("fieldManager", "", "string", "Qy4HdaTW", "The name of who makes the changes, as managed fields record it: at most 128 printable characters."),
    row("fieldManager", "patch", "string", "7c6nTn1T", "The name of who makes the changes, as managed fields record it: at most 128 printable characters. An apply patch must name one."),
    row("fieldSelector", "", "string", "xIcQKXFG", "Only objects whose fields fit; everything by default."),
    row("fieldValidation", "", "string", "", "What becomes of unknown and duplicate fields: Ignore drops them, Warn (the default) drops them and says so in a warning header, Strict refuses the request and names them all."),
    row("follow", "log", "boolean", "9OIXh_2R", "Go on with what is written from now on."),
    row("force", "", "boolean", "tOGGb0Yi", "Apply although others own fields of other values, and take the fields over. Only apply patches may have it."),
    row("gracePeriodSeconds", "", "integer", "-K5HaBOS", "How long the object may still take to end; 0 deletes it at once. By default the object's own, or its kind's."),
    row("ignoreStoreReadErrorWithClusterBreakingPotential", "", "boolean", "QbNkfIqj", "Delete an object that cannot be read back, without its finalizers and preconditions. Refused for objects that can be read."),
    row("insecureSkipTLSVerifyBackend", "log", "boolean", "gM00jVbe", "Read the log though the kubelet's serving certificate cannot be verified."),
    row("labelSelector", "", "string", "5Zw57w4C", "Only objects whose labels fit; everything by default."),
    row("limit", "", "integer", "1NfNmdNH", "The most objects in one answer. Where there are more, the list's metadata has a continue token; the chunks together are one consistent list."),
    row("limitBytes", "log", "integer", "zwd1RXuc", "The most bytes of the log; its end may be cut inside a line."),
    row("orphanDependents", "", "boolean", "uRB25kX5", "Deprecated, use propagationPolicy: whether dependent objects stay."),
    row("path", "Node", "string", "rFDtV0x9", "The path of the request to the node."),
    row("path", "Pod", "string", "oPbzgLUj", "The path of the request to the pod."),
    row("path", "Service", "string", "QCf0eosM", "The path, with its own parameters, of the request to the service."),
    row("ports", "portforward", "integer", "91KROJmm", "The ports to forward; a WebSocket needs them said."),
    row("pretty", "", "string", "tJGM1-ng", "true: indent the answer."),
    row("previous", "log", "boolean", "1jxDPu3y", "The log of the container that ran before."),
    row("propagationPolicy", "", "string", "6jk3prlO", "What becomes of dependent objects: Orphan leaves them, Background deletes them afterwards, Foreground deletes them first. By default what the object's finalizers or its kind say."),
    row("resourceVersion", "", "string", "5WAnf1kx", "The version that the answer must not be older than, or where a watch starts."),
    row("resourceVersionMatch", "", "string", "t8XhRHeC", "Exact or NotOlderThan: how a list takes resourceVersion."),
    row("sendInitialEvents", "", "boolean", "rLXlEK_k", "Let a watch begin with an event for every object there is and a bookmark after them. Needs resourceVersionMatch=NotOlderThan."),
    row("shardSelector", "", "string", "Kgyki_3_", "Only objects of a shard: a range of a hash of a field."),
    row("sinceSeconds", "log", "integer", "vE2NLdnP", "Only what was written in the last so many seconds."),
    row("stderr", "attach", "boolean", "26jJhFUR", "Carry the standard error stream; the default."),
    row("stderr", "exec", "boolean", "W_1TNlWc", "Carry the standard error stream."),
    row("stdin", "attach", "boolean", "sEFnN3IS", "Carry the standard input stream."),
    row("stdin", "exec", "boolean", "PSzNhyUC", "Carry the standard input stream."),
    row("stdout", "attach", "boolean", "005YMKE6", "Carry the standard output stream; the default."),
    row("stdout", "exec", "boolean", "-EZLRwV1", "Carry the standard output stream."),
    row("stream", "log", "string", "l-48cgXv", "Which of the container's streams: All (the default), Stdout or Stderr."),
    row("tailLines", "log", "integer", "9xQLWHMV", "Only the last so many lines."),
    row("timeoutSeconds", "", "integer", "yvYezaOC", "How long a list or watch may take, whatever happens in it."),
    row("timestamps", "log", "boolean", "c17fW1w_", "Begin every line with the time at which it was written."),
    row("tty", "attach", "boolean", "g7MlET_l", "The container has a terminal."),
    row("tty", "exec", "boolean", "s0flW37O", "Give the command a terminal."),
    row("watch", "", "boolean", "XNNPZGbK", "Answer with a stream of changes to the objects instead of a list."),
];

const PATH: [Parameter; 3] = [
    row("logpath", "", "string", "Noq7euwC", "path to the log"),
    row(
        "namespace",
        "",
        "string",
        "vgWSWtn3",
        "object name and auth scope, such as for teams and projects",
    ),
    row("path", "", "string", "z6Ciiujn", "path to the resource"),
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
            let mut value = row("", "", "string", "", "").value(place, form);
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
