//! Paths and operations as OpenAPI describes them: one rule an action, applied to every kind.

use serde_json::{Map, Value};

use super::Form;
use super::custom::type_name as custom_name;
use super::operation::{Operation, put};
use crate::kinds::{Kind, Subresource, Verb, Verbs};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const FOUR: [&str; 4] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/cbor",
];
/// What custom resources are made of.
const TWO: [&str; 2] = ["application/json", "application/yaml"];
const CUSTOM_PATCHES: [&str; 3] =
    ["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];
const WATCHED: [&str; 7] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/cbor",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
    "application/cbor-seq",
];
const PATCHES: [&str; 5] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "application/apply-patch+cbor",
];

const SELECT: [&str; 9] = [
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "shardSelector",
    "timeoutSeconds",
];
const WATCH: [&str; 2] = ["allowWatchBookmarks", "watch"];
const WRITE: [&str; 3] = ["dryRun", "fieldManager", "fieldValidation"];
const DELETE: [&str; 5] = [
    "dryRun",
    "gracePeriodSeconds",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "orphanDependents",
    "propagationPolicy",
];
const LOG: [&str; 9] = [
    "container",
    "follow",
    "insecureSkipTLSVerifyBackend",
    "limitBytes",
    "previous",
    "sinceSeconds",
    "stream",
    "tailLines",
    "timestamps",
];

/// Subresources that are connections, with their query parameters and methods.
const CONNECT: [(&str, &[&str], &[&str]); 4] = [
    ("attach", &["container", "stderr", "stdin", "stdout", "tty"], &["get", "post"]),
    ("exec", &["command", "container", "stderr", "stdin", "stdout", "tty"], &["get", "post"]),
    ("portforward", &["ports"], &["get", "post"]),
    ("proxy", &["path"], &["delete", "get", "head", "options", "patch", "post", "put"]),
];

/// What an operation does; decides parameters, bodies and answers.
#[derive(Clone, Copy, PartialEq)]
enum Action {
    List,
    Get,
    Post,
    Put,
    Patch,
    Delete,
    DeleteCollection,
    Watch,
    WatchList,
    Connect,
}

impl Action {
    /// The name in `x-kubernetes-action`, and the verb of the operation's id.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::List => ("list", "list"),
            Self::Get => ("get", "read"),
            Self::Post => ("post", "create"),
            Self::Put => ("put", "replace"),
            Self::Patch => ("patch", "patch"),
            Self::Delete => ("delete", "delete"),
            Self::DeleteCollection => ("deletecollection", "delete"),
            Self::Watch => ("watch", "watch"),
            Self::WatchList => ("watchlist", "watch"),
            Self::Connect => ("connect", "connect"),
        }
    }

    fn method(self) -> &'static str {
        match self {
            Self::List | Self::Get | Self::Watch | Self::WatchList => "get",
            Self::Post => "post",
            Self::Put => "put",
            Self::Patch => "patch",
            Self::Delete | Self::DeleteCollection => "delete",
            Self::Connect => "",
        }
    }

    fn parameters(self, custom: bool) -> Vec<&'static str> {
        let mut names: Vec<&str> = match self {
            Self::DeleteCollection if custom => [&SELECT[..], &WATCH].concat(),
            Self::Get if custom => vec!["resourceVersion"],
            Self::List | Self::Watch | Self::WatchList => [&SELECT[..], &WATCH].concat(),
            Self::Get | Self::Connect => Vec::new(),
            Self::Post | Self::Put => WRITE.to_vec(),
            Self::Patch => [&WRITE[..], &["force"]].concat(),
            Self::Delete => DELETE.to_vec(),
            Self::DeleteCollection => [&SELECT[..], &DELETE].concat(),
        };
        if self != Self::Connect {
            names.push("pretty");
        }
        names
    }

    fn codes(self, custom: bool) -> &'static [&'static str] {
        match self {
            Self::Patch if custom => &["200"],
            Self::Post => &["200", "201", "202"],
            Self::Put | Self::Patch => &["200", "201"],
            Self::Delete => &["200", "202"],
            _ => &["200"],
        }
    }
}

const VERSIONS: &str = "get available API versions";

const THREE: [&str; 3] =
    ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// `/api/`.
pub fn core_versions(paths: &mut Map<String, Value>, form: Form) {
    let answer = format!("{META}.APIVersions");
    let get = Operation::fixed("getCoreAPIVersions", VERSIONS, "core", &THREE, &THREE, answer);
    put(paths, "/api/", &[get], form);
}

/// `/apis/`.
pub fn groups(paths: &mut Map<String, Value>, form: Form) {
    let answer = format!("{META}.APIGroupList");
    let get = Operation::fixed("getAPIVersions", VERSIONS, "apis", &THREE, &THREE, answer);
    put(paths, "/apis/", &[get], form);
}

/// `/version/`.
pub fn version(paths: &mut Map<String, Value>, form: Form) {
    let json = ["application/json"];
    let answer = "io.k8s.apimachinery.pkg.version.Info".to_owned();
    let what = "get the version information for this server";
    let get = Operation::fixed("getCodeVersion", what, "version", &json, &json, answer);
    put(paths, "/version/", &[get], form);
}

/// `/logs/`.
pub fn logs(paths: &mut Map<String, Value>, form: Form) {
    let list = Operation::fixed("logFileListHandler", "", "logs", &[], &[], String::new());
    put(paths, "/logs/", &[list], form);
    let mut file = Operation::fixed("logFileHandler", "", "logs", &[], &[], String::new());
    file.parameters = vec![("logpath", true)];
    put(paths, "/logs/{logpath}", &[file], form);
}

/// `/openid/v1/jwks/`.
pub fn keys(paths: &mut Map<String, Value>, form: Form) {
    let id = "getServiceAccountIssuerOpenIDKeyset";
    let what = "get service account issuer OpenID JSON Web Key Set (contains public token \
                verification keys)";
    let produces = ["application/jwk-set+json"];
    let get = Operation::fixed(id, what, "openid", &[], &produces, String::new());
    put(paths, "/openid/v1/jwks/", &[get], form);
}

/// `/.well-known/openid-configuration/`.
pub fn well_known(paths: &mut Map<String, Value>, form: Form) {
    let id = "getServiceAccountIssuerOpenIDConfiguration";
    let what =
        "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'";
    let produces = ["application/json"];
    let get = Operation::fixed(id, what, "WellKnown", &[], &produces, String::new());
    put(paths, "/.well-known/openid-configuration/", &[get], form);
}

/// `/apis/<group>/`.
pub fn group_path(group: &str) -> String {
    format!("/apis/{group}/")
}

/// The versions of a group.
pub fn group(paths: &mut Map<String, Value>, group: &str, form: Form) {
    let name = pascal(group);
    let tag = lower_first(&name);
    let id = format!("get{name}APIGroup");
    let (what, answer) = ("get information of a group", format!("{META}.APIGroup"));
    let get = Operation::fixed(&id, what, &tag, &THREE, &THREE, answer);
    put(paths, &group_path(group), &[get], form);
}

/// `flowcontrol.apiserver.k8s.io` → `FlowcontrolApiserver`; the core group is `Core`.
fn pascal(group: &str) -> String {
    let short = group.strip_suffix(".k8s.io").unwrap_or(group);
    match short {
        "" => "Core".into(),
        short => short.split('.').map(upper_first).collect(),
    }
}

fn upper_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(chars).collect()
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_ascii_lowercase()).into_iter().chain(chars).collect()
}

/// A version: its list of resources, and all paths of its kinds.
pub fn group_version(
    paths: &mut Map<String, Value>,
    group: &str,
    version: &str,
    kinds: &[&Kind],
    form: Form,
) {
    let base = if group.is_empty() {
        format!("/api/{version}")
    } else {
        format!("/apis/{group}/{version}")
    };
    let name = format!("{}{}", pascal(group), upper_first(version));
    let tag = format!("{}_{version}", lower_first(&pascal(group)));
    let id = format!("get{name}APIResources");
    let (what, answer) = ("get available resources", format!("{META}.APIResourceList"));
    let get = Operation::fixed(&id, what, &tag, &FOUR, &FOUR, answer);
    if kinds.iter().any(|kind| !kind.custom) {
        put(paths, &format!("{base}/"), &[get], form);
    }
    for kind in kinds {
        let type_name = type_name(kind);
        Writer { kind, type_name, base: &base, name: &name, tag: &tag, form }.kind(paths);
    }
}

/// The type of a kind's objects.
fn type_name(kind: &Kind) -> String {
    if kind.custom { custom_name(kind, kind.kind) } else { kind.type_name.to_owned() }
}

struct Writer<'a> {
    kind: &'a Kind,
    type_name: String,
    base: &'a str,
    /// Group and version in the ids of operations.
    name: &'a str,
    tag: &'a str,
    form: Form,
}

impl Writer<'_> {
    fn kind(&self, paths: &mut Map<String, Value>) {
        let kind = self.kind;
        let verbs = kind.verbs;
        let scope = if kind.namespaced { "Namespaced" } else { "" };
        let plural = kind.plural;
        let collection = if kind.namespaced {
            format!("{}/namespaces/{{namespace}}/{plural}", self.base)
        } else {
            format!("{}/{plural}", self.base)
        };
        let item = format!("{collection}/{{name}}");
        let place: &[&str] = if kind.namespaced { &["namespace"] } else { &[] };
        let named = [place, &["name"]].concat();

        let mut operations = Vec::new();
        for (verb, action, id) in [
            (Verb::List, Action::List, scope.to_owned()),
            (Verb::Create, Action::Post, scope.to_owned()),
            (Verb::DeleteCollection, Action::DeleteCollection, format!("Collection{scope}")),
        ] {
            if verbs.contains(verb) {
                operations.push(self.operation(action, &id, "", place));
            }
        }
        put(paths, &collection, &operations, self.form);
        let mut operations = Vec::new();
        for (verb, action) in [
            (Verb::Get, Action::Get),
            (Verb::Update, Action::Put),
            (Verb::Patch, Action::Patch),
            (Verb::Delete, Action::Delete),
        ] {
            if verbs.contains(verb) {
                operations.push(self.operation(action, scope, "", &named));
            }
        }
        put(paths, &item, &operations, self.form);

        let everywhere = "ForAllNamespaces";
        if kind.namespaced && verbs.contains(Verb::List) {
            let list = self.operation(Action::List, "", everywhere, &[]);
            put(paths, &format!("{}/{plural}", self.base), &[list], self.form);
        }
        if verbs.contains(Verb::Watch) && !kind.custom {
            let watched = collection.replacen(self.base, &format!("{}/watch", self.base), 1);
            let list = self.operation(Action::WatchList, scope, "List", place);
            put(paths, &watched, &[list], self.form);
            let one = self.operation(Action::Watch, scope, "", &named);
            put(paths, &format!("{watched}/{{name}}"), &[one], self.form);
            if kind.namespaced {
                let all = self.operation(Action::WatchList, "", "ListForAllNamespaces", &[]);
                put(paths, &format!("{}/watch/{plural}", self.base), &[all], self.form);
            }
        }
        for sub in &kind.subresources {
            self.subresource(paths, sub, &item, scope, &named);
        }
    }

    /// An operation on the kind itself.
    fn operation<'b>(
        &'b self,
        action: Action,
        scope: &str,
        tail: &str,
        place: &[&'b str],
    ) -> Operation<'b> {
        let kind = self.kind;
        let answer = match action {
            Action::List if kind.custom => custom_name(kind, &kind.list_kind()),
            Action::List => format!("{}List", self.type_name),
            Action::Watch | Action::WatchList => format!("{META}.WatchEvent"),
            Action::DeleteCollection => format!("{META}.Status"),
            Action::Delete if !kind.deletion_returns_object => format!("{META}.Status"),
            _ => self.type_name.clone(),
        };
        let verb = action.names().1;
        let id = format!("{verb}{}{scope}{}{tail}", self.name, kind.kind);
        let gvk = (kind.group, kind.version, kind.kind);
        self.build(action, id, "", place, gvk, &self.type_name, answer)
    }

    #[allow(clippy::too_many_arguments)]
    fn build<'b>(
        &'b self,
        action: Action,
        id: String,
        sub: &'b str,
        place: &[&'b str],
        gvk: (&'b str, &'b str, &'b str),
        body: &str,
        answer: String,
    ) -> Operation<'b> {
        let custom = self.kind.custom;
        let streams = matches!(action, Action::List | Action::Watch | Action::WatchList);
        Operation {
            method: action.method(),
            id,
            summary: self.summary(action, sub),
            tag: self.tag,
            sense: if action == Action::Patch { "patch" } else { sub },
            action: Some((action.names().0, gvk)),
            parameters: place
                .iter()
                .map(|name| (*name, true))
                .chain(action.parameters(custom).into_iter().map(|name| (name, false)))
                .collect(),
            consumes: match (action, custom) {
                (Action::Patch, true) => &CUSTOM_PATCHES,
                (Action::Patch, false) => &PATCHES,
                (_, true) => &TWO,
                (_, false) => &["*/*"],
            },
            body: match action {
                Action::Post | Action::Put => Some((body.to_owned(), true)),
                Action::Patch => Some((format!("{META}.Patch"), true)),
                Action::DeleteCollection if custom => None,
                Action::Delete | Action::DeleteCollection => {
                    Some((format!("{META}.DeleteOptions"), false))
                }
                _ => None,
            },
            produces: match (streams, custom) {
                (_, true) => &TWO,
                (true, false) => &WATCHED,
                (false, false) => &FOUR,
            },
            codes: action.codes(custom),
            answer,
        }
    }

    /// What an operation does, for people.
    fn summary(&self, action: Action, sub: &str) -> String {
        let kind = self.kind.kind;
        let part = if sub.is_empty() { String::new() } else { format!("{sub} of ") };
        match action {
            Action::List if self.kind.verbs.contains(Verb::Watch) && !self.kind.custom => {
                format!("list or watch objects of kind {kind}")
            }
            Action::List => format!("list objects of kind {kind}"),
            Action::Get => format!("read {part}the specified {kind}"),
            Action::Put => format!("replace {part}the specified {kind}"),
            Action::Patch => format!("partially update {part}the specified {kind}"),
            Action::Post => format!("create {part}{}{kind}", article(kind)),
            Action::Delete => format!("delete {}{kind}", article(kind)),
            Action::DeleteCollection => format!("delete collection of {kind}"),
            Action::WatchList => format!(
                "watch individual changes to a list of {kind}. deprecated: use the 'watch' \
                 parameter with a list operation instead."
            ),
            Action::Watch => format!(
                "watch changes to an object of kind {kind}. deprecated: use the 'watch' parameter \
                 with a list operation instead, filtered to a single item with the \
                 'fieldSelector' parameter."
            ),
            Action::Connect => String::new(),
        }
    }

    fn subresource(
        &self,
        paths: &mut Map<String, Value>,
        sub: &Subresource,
        item: &str,
        scope: &str,
        place: &[&str],
    ) {
        let path = format!("{item}/{}", sub.name);
        if let Some((_, query, methods)) = CONNECT.iter().find(|(name, ..)| *name == sub.name) {
            self.connect(paths, sub, &path, scope, place, query, methods, "");
            if sub.name == "proxy" {
                let place = [place, &["path"]].concat();
                let path = format!("{path}/{{path}}");
                self.connect(paths, sub, &path, scope, &place, query, methods, "WithPath");
            }
            return;
        }
        let body = crate::schema::by_gvk(sub.group, sub.version, sub.kind);
        let body = body.map_or(self.type_name.as_str(), |ty| ty.name);
        let tail = upper_first(sub.name);
        let mut operations = Vec::new();
        for (verb, action) in [
            (Verb::Get, Action::Get),
            (Verb::Create, Action::Post),
            (Verb::Update, Action::Put),
            (Verb::Patch, Action::Patch),
        ] {
            if !Verbs::contains(sub.verbs, verb) {
                continue;
            }
            let (kind, verb) = (self.kind.kind, action.names().1);
            let id = format!("{verb}{}{scope}{kind}{tail}", self.name);
            let gvk = if self.kind.custom {
                (self.kind.group, self.kind.version, self.kind.kind)
            } else {
                (sub.group, sub.version, sub.kind)
            };
            let mut operation = self.build(action, id, sub.name, place, gvk, body, body.to_owned());
            if sub.name == "log" {
                operation.parameters.extend(LOG.iter().map(|name| (*name, false)));
                operation.produces = &LOGS;
                operation.answer = String::new();
            }
            operations.push(operation);
        }
        put(paths, &path, &operations, self.form);
    }

    #[allow(clippy::too_many_arguments)]
    fn connect(
        &self,
        paths: &mut Map<String, Value>,
        sub: &Subresource,
        path: &str,
        scope: &str,
        place: &[&str],
        query: &[&str],
        methods: &[&str],
        tail: &str,
    ) {
        let name = upper_first(sub.name);
        let operations: Vec<Operation> = methods
            .iter()
            .map(|method| {
                let verb = upper_first(method);
                let id = format!("connect{}{verb}{scope}{}{name}{tail}", self.name, self.kind.kind);
                let gvk = (sub.group, sub.version, sub.kind);
                let mut operation =
                    self.build(Action::Connect, id, sub.name, place, gvk, "", String::new());
                operation.method = method;
                operation.summary = format!(
                    "connect {} requests to {} of {}",
                    method.to_ascii_uppercase(),
                    sub.name,
                    self.kind.kind
                );
                if sub.name == "proxy" {
                    operation.sense = self.kind.kind;
                }
                operation.parameters.extend(query.iter().map(|name| (*name, false)));
                operation.produces = &["*/*"];
                operation
            })
            .collect();
        put(paths, path, &operations, self.form);
    }
}

/// `a `, `an `, or nothing before a plural.
fn article(kind: &str) -> &'static str {
    match kind.chars().next() {
        _ if kind.ends_with('s') && !kind.ends_with("ss") => "",
        Some('A' | 'E' | 'I' | 'O' | 'U') => "an ",
        _ => "a ",
    }
}

const LOGS: [&str; 5] = [
    "text/plain",
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/cbor",
];
