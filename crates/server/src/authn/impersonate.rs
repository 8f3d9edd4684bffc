//! Impersonation: a request goes on as somebody else, if its user may do that.
//!
//! Tried in this order: as the node a service account runs on, as any node, as a service account, as
//! any other user (each for this very request: `impersonate-on:<mode>:<verb>`), then by the verb
//! `impersonate` alone, which is for every request.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use api::ApiError;
use http::HeaderMap;
use parking_lot::Mutex;

use super::service_account;
use crate::authz::forbidden;
use crate::gate::{Attributes, Authorizer, Decision, UserInfo};
use crate::request::percent_decode;

const GROUP: &str = "authentication.k8s.io";
/// From how many groups or extra values on a wildcard is tried first.
const MANY: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    UserInfo,
    Plain,
}

const MODES: [Mode; 5] =
    [Mode::AssociatedNode, Mode::ArbitraryNode, Mode::ServiceAccount, Mode::UserInfo, Mode::Plain];

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::AssociatedNode => "associated-node",
            Self::ArbitraryNode => "arbitrary-node",
            Self::ServiceAccount => "serviceaccount",
            Self::UserInfo => "user-info",
            Self::Plain => "",
        }
    }

    fn applies(self, wanted: &UserInfo, asker: &UserInfo) -> bool {
        let bare = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        let node = node_name(&wanted.name);
        let account = service_account::of_user(&wanted.name);
        match self {
            Self::AssociatedNode => {
                let runs_on = asker.extra.get("authentication.kubernetes.io/node-name");
                bare && service_account::of_user(&asker.name).is_some()
                    && node.is_some_and(|n| runs_on.is_some_and(|r| *r == [n]))
            }
            Self::ArbitraryNode => bare && node.is_some(),
            Self::ServiceAccount => bare && account.is_some(),
            Self::UserInfo => node.is_none() && account.is_none(),
            Self::Plain => true,
        }
    }
}

fn node_name(user: &str) -> Option<&str> {
    user.strip_prefix("system:node:").filter(|name| api::names::dns_subdomain(name).is_empty())
}

/// Who the `Impersonate-*` headers ask for.
fn wanted(headers: &HeaderMap) -> Result<Option<UserInfo>, ApiError> {
    let values = |name: &str| -> Vec<String> {
        let lines = headers.get_all(name).iter();
        lines.map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()).collect()
    };
    let first = |name: &str| values(name).into_iter().next().unwrap_or_default();
    let mut extra = BTreeMap::<String, Vec<String>>::new();
    for (header, value) in headers {
        if let Some(key) = header.as_str().strip_prefix("impersonate-extra-") {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            extra.entry(percent_decode(&key.to_lowercase(), false)).or_default().push(value);
        }
    }
    let user = UserInfo {
        name: first("impersonate-user"),
        uid: first("impersonate-uid"),
        groups: values("impersonate-group"),
        extra,
    };
    if !user.name.is_empty() {
        return Ok(Some(user));
    }
    if user.uid.is_empty() && user.groups.is_empty() && user.extra.is_empty() {
        return Ok(None);
    }
    Err(ApiError::bad_request(format!(
        "requested {} without impersonating a user name",
        in_go(&user)
    )))
}

/// A user as Go's `%#v` prints it.
fn in_go(user: &UserInfo) -> String {
    use api::names::quote;
    let texts = |list: &[String]| {
        let items: Vec<_> = list.iter().map(|text| quote(text)).collect();
        format!("[]string{{{}}}", items.join(", "))
    };
    let groups = match user.groups.as_slice() {
        [] => "[]string(nil)".to_owned(),
        groups => texts(groups),
    };
    let extra = match user.extra.len() {
        0 => "map[string][]string(nil)".to_owned(),
        _ => {
            let entries = user.extra.iter().map(|(k, v)| format!("{}:{}", quote(k), texts(v)));
            format!("map[string][]string{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
    };
    format!(
        "&user.DefaultInfo{{Name:{}, UID:{}, Groups:{groups}, Extra:{extra}}}",
        quote(&user.name),
        quote(&user.uid)
    )
}

/// Decides over impersonation. Remembers which mode let a user through, to try it first.
#[derive(Default)]
pub struct Impersonation {
    last: Mutex<HashMap<String, usize>>,
}

impl Impersonation {
    /// The user that the request goes on as; `attributes` are the request's own, with the user who
    /// was authenticated.
    pub fn user(
        &self,
        headers: &HeaderMap,
        attributes: &Attributes<'_>,
        authorizer: &dyn Authorizer,
    ) -> Result<Option<UserInfo>, ApiError> {
        // Nearly no request impersonates.
        if !headers.keys().any(|name| name.as_str().starts_with("impersonate-")) {
            return Ok(None);
        }
        let Some(wanted) = wanted(headers)? else { return Ok(None) };
        let asker = &*attributes.user;
        let last = self.last.lock().get(&asker.name).copied();
        let mut refusal = None;
        let order = last.into_iter().chain((0..MODES.len()).filter(|i| Some(*i) != last));
        for index in order {
            let mode = MODES[index];
            if !mode.applies(&wanted, asker) {
                continue;
            }
            match (Check { mode, attributes, authorizer }).run(&wanted) {
                Ok(user) => {
                    let mut last = self.last.lock();
                    if last.len() > 1024 {
                        last.clear();
                    }
                    last.insert(asker.name.clone(), index);
                    return Ok(Some(user));
                }
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        Err(refusal.unwrap_or_else(|| ApiError::internal("all impersonation modes failed")))
    }
}

struct Check<'a> {
    mode: Mode,
    attributes: &'a Attributes<'a>,
    authorizer: &'a dyn Authorizer,
}

impl Check<'_> {
    fn constrained(&self) -> bool {
        self.mode != Mode::Plain
    }

    fn ask(&self, attributes: &Attributes<'_>) -> Result<(), ApiError> {
        match self.authorizer.authorize(attributes) {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => {
                Err(forbidden(attributes, &reason))
            }
        }
    }

    /// Whether the asker may impersonate one thing.
    fn may(
        &self,
        group: &str,
        place: (&str, &str),
        resource: (&str, &str),
    ) -> Result<(), ApiError> {
        let verb = match self.mode {
            Mode::Plain => "impersonate".to_owned(),
            mode => format!("impersonate:{}", mode.name()),
        };
        let ((namespace, name), (resource, subresource)) = (place, resource);
        self.ask(&Attributes {
            user: Cow::Borrowed(&self.attributes.user),
            verb: &verb,
            resource_request: true,
            group,
            version: "v1",
            resource,
            subresource,
            namespace,
            name: if self.mode == Mode::AssociatedNode { "*" } else { name },
            ..Attributes::default()
        })
    }

    fn run(&self, wanted: &UserInfo) -> Result<UserInfo, ApiError> {
        if self.constrained() {
            let verb = format!("impersonate-on:{}:{}", self.mode.name(), self.attributes.verb);
            self.ask(&Attributes { verb: &verb, ..self.attributes.clone() })?;
        }
        // Users and groups belong to the core group in the plain mode only.
        let group = if self.constrained() { GROUP } else { "" };
        let mut user = wanted.clone();
        let node = node_name(&wanted.name).filter(|_| self.constrained());
        if let Some(node) = node {
            user.groups = vec!["system:nodes".into()];
            self.may(group, ("", node), ("nodes", ""))?;
        } else if let Some((namespace, name)) = service_account::of_user(&wanted.name) {
            if wanted.groups.is_empty() {
                user.groups = service_account::groups(namespace);
            }
            self.may(group, (namespace, name), ("serviceaccounts", ""))?;
        } else {
            self.may(group, ("", &wanted.name), ("users", ""))?;
        }
        if !wanted.uid.is_empty() {
            self.may(GROUP, ("", &wanted.uid), ("uids", ""))?;
        }
        self.groups(group, wanted)?;
        self.extra(wanted)?;
        if user.name == "system:anonymous" {
            ensure(&mut user, "system:unauthenticated");
        } else if !user.in_group("system:unauthenticated") {
            ensure(&mut user, "system:authenticated");
        }
        Ok(user)
    }

    fn refuse(&self, resource: &str, name: &str, why: &str) -> ApiError {
        let verb = format!("impersonate:{}", self.mode.name());
        let attributes = Attributes {
            user: Cow::Borrowed(&self.attributes.user),
            verb: &verb,
            resource_request: true,
            group: GROUP,
            resource,
            name,
            ..Attributes::default()
        };
        forbidden(&attributes, why)
    }

    fn groups(&self, group: &str, wanted: &UserInfo) -> Result<(), ApiError> {
        if self.constrained() {
            if wanted.in_group("") {
                return Err(self.refuse(
                    "groups",
                    "",
                    "impersonating the empty string group is not allowed",
                ));
            }
            let masters = crate::authz::rbac::MASTERS;
            if wanted.in_group(masters) {
                let why = "impersonating the system:masters group is not allowed";
                return Err(self.refuse("groups", masters, why));
            }
            if wanted.groups.len() >= MANY && self.may(group, ("", "*"), ("groups", "")).is_ok() {
                return Ok(());
            }
        }
        wanted.groups.iter().try_for_each(|name| self.may(group, ("", name), ("groups", "")))
    }

    fn extra(&self, wanted: &UserInfo) -> Result<(), ApiError> {
        let values: usize = wanted.extra.values().map(Vec::len).sum();
        if self.constrained() {
            let fault = wanted.extra.iter().find_map(|(key, values)| {
                if key.is_empty() {
                    return Some("impersonating the empty string key in extra is not allowed");
                }
                values
                    .iter()
                    .any(String::is_empty)
                    .then_some("impersonating the empty string value in extra is not allowed")
            });
            if let Some(why) = fault {
                return Err(self.refuse("userextras", "", why));
            }
            if values >= MANY && self.may(GROUP, ("", "*"), ("userextras", "*")).is_ok() {
                return Ok(());
            }
        }
        for (key, values) in &wanted.extra {
            for value in values {
                self.may(GROUP, ("", value), ("userextras", key))?;
            }
        }
        Ok(())
    }
}

fn ensure(user: &mut UserInfo, group: &str) {
    if !user.in_group(group) {
        user.groups.push(group.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_without_a_name_is_told_in_full() {
        let mut headers = HeaderMap::new();
        headers.append("impersonate-group", "x".parse().expect("a value"));
        headers.append("impersonate-extra-k", "v".parse().expect("a value"));
        let error = wanted(&headers).expect_err("refused");
        assert_eq!(
            error.message,
            r#"requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string{"x"}, Extra:map[string][]string{"k":[]string{"v"}}} without impersonating a user name"#
        );
    }

    /// Allows what is listed: verb, resource, name.
    struct Only(&'static [(&'static str, &'static str, &'static str)]);

    impl Authorizer for Only {
        fn authorize(&self, a: &Attributes<'_>) -> Decision {
            let held = self.0.iter().any(|(verb, resource, name)| {
                *verb == a.verb && *resource == a.resource && (*name == "*" || *name == a.name)
            });
            if held { Decision::Allow(String::new()) } else { Decision::NoOpinion(String::new()) }
        }

        fn rules(&self, _: &UserInfo, _: &str) -> crate::gate::Rules {
            crate::gate::Rules::default()
        }
    }

    fn ask(rights: Only, headers: &[(&'static str, &str)]) -> Result<Option<UserInfo>, ApiError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a header"));
        }
        let user = UserInfo::new("alice", &[]);
        let attributes = Attributes {
            user: Cow::Borrowed(&user),
            verb: "list",
            resource: "pods",
            resource_request: true,
            ..Attributes::default()
        };
        Impersonation::default().user(&map, &attributes, &rights)
    }

    #[test]
    fn plain_and_constrained_modes() {
        let bob = [("impersonate-user", "bob")];
        let plain = ask(Only(&[("impersonate", "users", "bob")]), &bob).expect("allowed");
        assert_eq!(plain.expect("somebody").groups, ["system:authenticated"]);
        let constrained = Only(&[
            ("impersonate-on:user-info:list", "pods", "*"),
            ("impersonate:user-info", "users", "bob"),
        ]);
        assert!(ask(constrained, &bob).expect("allowed").is_some());
        // The right to act on pods as somebody is no right to be somebody.
        let half = Only(&[("impersonate-on:user-info:list", "pods", "*")]);
        assert!(ask(half, &bob).is_err());
        let error = ask(Only(&[]), &bob).expect_err("refused");
        assert!(error.message.contains("cannot impersonate-on:user-info:list"), "{error}");
    }

    #[test]
    fn constrained_modes_never_make_superusers() {
        let everything = &[
            ("impersonate-on:user-info:list", "pods", "*"),
            ("impersonate:user-info", "users", "*"),
            ("impersonate:user-info", "groups", "*"),
        ];
        let masters = [("impersonate-user", "bob"), ("impersonate-group", "system:masters")];
        assert!(ask(Only(everything), &masters).is_err());
        let others = [("impersonate-user", "bob"), ("impersonate-group", "dev")];
        let user = ask(Only(everything), &others).expect("allowed").expect("somebody");
        assert_eq!(user.groups, ["dev", "system:authenticated"]);
    }

    #[test]
    fn headers() {
        assert_eq!(ask(Only(&[]), &[]).expect("nothing asked"), None);
        assert_eq!(ask(Only(&[]), &[("impersonate-group", "x")]).expect_err("no user").code, 400);
        let all =
            Only(&[("impersonate", "serviceaccounts", "*"), ("impersonate", "userextras", "*")]);
        let asked = [
            ("impersonate-user", "system:serviceaccount:a:b"),
            ("impersonate-extra-acme.com%2fp", "v"),
        ];
        let user = ask(all, &asked).expect("allowed").expect("somebody");
        assert_eq!(user.extra["acme.com/p"], ["v"]);
        assert_eq!(user.groups[1], "system:serviceaccounts:a");
    }
}
