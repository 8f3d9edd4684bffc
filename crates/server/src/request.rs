//! What a URL asks for: verb, resource, namespace, name, subresource; upstream's `RequestInfo`.
//!
//! Not here: whether such a resource exists, or the query's options.

use http::Method;

/// A request's method and path, read as upstream reads them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether the path names a resource (`/api/v1/pods`, `/apis/apps/v1/…`).
    pub is_resource: bool,
    /// Whether the path ends where its resource should stand.
    pub is_unreadable: bool,
    /// The path.
    pub path: String,
    /// `get`, `list`, `watch`, `create`, …; the method in lower case for other paths.
    pub verb: &'static str,
    /// `api` or `apis`.
    pub prefix: &'static str,
    /// Empty for core.
    pub group: String,
    /// As in `v1`.
    pub version: String,
    /// Empty for cluster scope and over all namespaces. For `namespaces/x` it is `x`.
    pub namespace: String,
    /// The plural.
    pub resource: String,
    /// Empty for the resource itself.
    pub subresource: String,
    /// Empty for collections.
    pub name: String,
    /// The path segments after the version, namespace left out: `[resource, name, subresource, …]`.
    pub parts: Vec<String>,
    /// As the client wrote it, for lists, watches and collection deletes.
    pub field_selector: String,
    /// The same.
    pub label_selector: String,
}

/// Sub-resources of a namespace: the segment after them is no resource in it.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

/// Verbs that older paths carry in front of the resource.
const SPECIAL_VERBS: [&str; 2] = ["proxy", "watch"];

impl RequestInfo {
    /// Reads a method, path and raw query.
    pub fn parse(method: &Method, path: &str, query: &str) -> Self {
        let mut info = Self { path: path.to_owned(), verb: lower(method), ..Self::default() };
        let mut parts: Vec<String> =
            path.trim_matches('/').split('/').filter(|p| !p.is_empty()).map(decoded).collect();
        if parts.len() < 3 {
            return info;
        }
        info.prefix = match parts[0].as_str() {
            "api" => "api",
            "apis" => "apis",
            _ => return info,
        };
        parts.remove(0);
        if info.prefix == "apis" {
            if parts.len() < 3 {
                return info;
            }
            info.group = parts.remove(0);
        }
        info.is_resource = true;
        info.version = parts.remove(0);
        let special = SPECIAL_VERBS.contains(&parts[0].as_str());
        if special {
            if parts.len() < 2 {
                info.is_resource = false;
                info.is_unreadable = true;
                return info;
            }
            info.verb = if parts.remove(0) == "proxy" { "proxy" } else { "watch" };
        } else {
            info.verb = match info.verb {
                "post" => "create",
                "get" | "head" => "get",
                "put" => "update",
                "patch" => "patch",
                "delete" => "delete",
                _ => "",
            };
        }
        if parts[0] == "namespaces" && parts.len() > 1 {
            info.namespace.clone_from(&parts[1]);
            if parts.len() > 2 && !NAMESPACE_SUBRESOURCES.contains(&parts[2].as_str()) {
                parts.drain(..2);
            }
        }
        info.resource.clone_from(&parts[0]);
        if let Some(name) = parts.get(1) {
            info.name.clone_from(name);
        }
        if let (Some(sub), false) = (parts.get(2), special) {
            info.subresource.clone_from(sub);
        }
        info.parts = parts;
        info.select(query);
        info
    }

    /// Lists, watches and collection deletes: told apart by name and query.
    fn select(&mut self, query: &str) {
        if self.name.is_empty() && self.verb == "delete" {
            self.verb = "deletecollection";
        }
        if !self.name.is_empty() || !matches!(self.verb, "get" | "deletecollection" | "watch") {
            return;
        }
        for (key, value) in pairs(query) {
            match key.as_str() {
                "watch" if self.verb == "get" && truthy(&value) => self.verb = "watch",
                "fieldSelector" => {
                    if let Some(name) = name_selected(&value) {
                        self.name = name;
                    }
                    self.field_selector = value;
                }
                "labelSelector" => self.label_selector = value,
                _ => {}
            }
        }
        if self.verb == "get" {
            self.verb = "list";
        }
    }

    /// Whether this is about one of the kinds' collections or objects, not a subresource.
    pub fn is_main(&self) -> bool {
        self.subresource.is_empty()
    }
}

/// A boolean query parameter: anything but `0` and `false` counts, as upstream converts it.
pub fn truthy(value: &str) -> bool {
    !matches!(value, "false" | "False" | "FALSE" | "0")
}

/// The name in a field selector that fixes `metadata.name`; authorization may then go by it.
fn name_selected(selector: &str) -> Option<String> {
    let mut terms = selector.split(',');
    let value = terms.find_map(|term| {
        let rest = term.strip_prefix("metadata.name=")?;
        Some(rest.strip_prefix('=').unwrap_or(rest))
    })?;
    let fits =
        !value.is_empty() && !value.contains(['/', '%', '\\']) && value != "." && value != "..";
    fits.then(|| value.to_owned())
}

fn lower(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        Method::CONNECT => "connect",
        Method::TRACE => "trace",
        _ => "unknown",
    }
}

fn decoded(part: &str) -> String {
    percent_decode(part, false)
}

/// Percent-decoding; `+` is a space in queries only. What is no UTF-8 is replaced.
pub fn percent_decode(text: &str, plus: bool) -> String {
    if !(text.contains('%') || plus && text.contains('+')) {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let hex = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let pair = || Some((hex(*bytes.get(i + 1)?)?, hex(*bytes.get(i + 2)?)?));
        match bytes[i] {
            b'%' => {
                if let Some((high, low)) = pair() {
                    out.push(high << 4 | low);
                    i += 2;
                } else {
                    out.push(b'%');
                }
            }
            b'+' if plus => out.push(b' '),
            other => out.push(other),
        }
        i += 1;
    }
    String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// A query's pairs, decoded, in order.
pub fn pairs(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    query.split('&').filter(|p| !p.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (percent_decode(key, true), percent_decode(value, true))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: Method, url: &str) -> RequestInfo {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        RequestInfo::parse(&method, path, query)
    }

    #[test]
    fn resources() {
        let table: &[(Method, &str, &str, &str, &str, &str, &str)] = &[
            (Method::GET, "/api/v1/namespaces", "list", "", "namespaces", "", ""),
            (Method::GET, "/api/v1/namespaces/a", "get", "a", "namespaces", "a", ""),
            (
                Method::PUT,
                "/api/v1/namespaces/a/finalize",
                "update",
                "a",
                "namespaces",
                "a",
                "finalize",
            ),
            (Method::GET, "/api/v1/namespaces/a/pods", "list", "a", "pods", "", ""),
            (Method::GET, "/api/v1/namespaces/a/pods?watch=1", "watch", "a", "pods", "", ""),
            (Method::GET, "/api/v1/watch/namespaces/a/pods/b", "watch", "a", "pods", "b", ""),
            (Method::POST, "/api/v1/namespaces/a/pods/b/exec", "create", "a", "pods", "b", "exec"),
            (
                Method::DELETE,
                "/apis/apps/v1/namespaces/a/deployments",
                "deletecollection",
                "a",
                "deployments",
                "",
                "",
            ),
            (
                Method::PATCH,
                "/apis/apps/v1/namespaces/a/deployments/d/scale",
                "patch",
                "a",
                "deployments",
                "d",
                "scale",
            ),
            (
                Method::GET,
                "/api/v1/nodes?fieldSelector=metadata.name%3Dn",
                "list",
                "",
                "nodes",
                "n",
                "",
            ),
        ];
        for (method, url, verb, namespace, resource, name, sub) in table {
            let i = parse(method.clone(), url);
            assert!(i.is_resource, "{url}");
            let got = (i.verb, &*i.namespace, &*i.resource, &*i.name, &*i.subresource);
            assert_eq!(got, (*verb, *namespace, *resource, *name, *sub), "{url}");
        }
    }

    #[test]
    fn other_paths_keep_the_method() {
        for url in ["/", "/healthz", "/api", "/api/v1", "/apis/apps/v1", "/version"] {
            let info = parse(Method::GET, url);
            assert!(!info.is_resource, "{url}");
            assert_eq!(info.verb, "get");
        }
    }
}
