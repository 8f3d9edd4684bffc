//! `serviceaccounts/token`: from a request to a signed token.

use std::sync::Arc;

use api::{ApiError, Cause, Entry, Object, Reason, Value};
use serde_json::json;

use super::Tokens;
use super::claims::{Claims, Private, Reference};

/// What tokens live for when nobody says.
const DEFAULT_SECONDS: i64 = 3600;
const LEAST_SECONDS: i64 = 10 * 60;
const MOST_SECONDS: i64 = 1 << 32;
/// Projected tokens ask for this much; they get a year, and a warning from here on, so that clients
/// which do not reload their token go on working.
const PROJECTED_SECONDS: i64 = 3607;
const EXTENDED_SECONDS: i64 = 24 * 365 * 3600;

const GROUP: &str = "authentication.k8s.io";

impl Tokens {
    pub(super) fn answer(&self, account: &Object, mut request: Object) -> Result<Object, ApiError> {
        let (namespace, name) = (account.namespace(), account.name());
        for (field, own) in [("name", name), ("namespace", namespace)] {
            let given = request.meta().and_then(|m| m.get(field)).and_then(Value::as_str);
            if let Some(given) = given.filter(|g| !g.is_empty() && *g != own) {
                let detail = format!("must match the service account {field} if specified");
                let cause = Cause::invalid(format!("metadata.{field}"), &json!(given), &detail);
                return Err(ApiError::invalid(GROUP, "TokenRequest", name, vec![cause]));
            }
        }
        if !request.uid().is_empty() && request.uid() != account.uid() {
            let why = format!(
                "the UID in the token request ({}) does not match the UID of the service account ({})",
                request.uid(),
                account.uid()
            );
            return Err(ApiError::conflict(GROUP, "TokenRequest", name, &why));
        }
        request.set_meta("name", name);
        request.set_meta("namespace", namespace);
        request.set_meta("uid", account.uid());
        request.set_meta("creationTimestamp", self.clock.time());
        let spec = request.map_mut("spec");
        let audiences: Vec<String> = spec
            .get("audiences")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|a| a.as_str().map(str::to_owned))
            .collect();
        let audiences =
            if audiences.is_empty() { vec![self.signer.issuer().to_owned()] } else { audiences };
        let seconds =
            spec.get("expirationSeconds").and_then(Value::as_i64).unwrap_or(DEFAULT_SECONDS);
        let bound = spec.get("boundObjectRef").cloned().filter(|b| !b.is_null());
        spec.insert("audiences".into(), audiences.clone().into());
        spec.insert("expirationSeconds".into(), seconds.into());
        spec.insert("boundObjectRef".into(), bound.clone().unwrap_or_default());
        let refuse = |detail: &str| {
            let cause = Cause::invalid("spec.expirationSeconds", &json!(seconds), detail);
            Err(ApiError::invalid(GROUP, "TokenRequest", "", vec![cause]))
        };
        if seconds < LEAST_SECONDS {
            return refuse("may not specify a duration less than 10 minutes");
        }
        if seconds > MOST_SECONDS {
            return refuse("may not specify a duration larger than 2^32 seconds");
        }
        let mut private = Private {
            namespace: namespace.to_owned(),
            serviceaccount: Reference { name: name.to_owned(), uid: account.uid().to_owned() },
            ..Private::default()
        };
        if let Some(bound) = &bound {
            self.bind(bound, namespace, name, &mut private)?;
        }
        let now = self.clock.now().as_second();
        let own = audiences.iter().all(|a| a == self.signer.issuer());
        let mut lifetime = seconds;
        if private.pod.is_some() && seconds == PROJECTED_SECONDS && own {
            private.warnafter = Some(now + seconds);
            lifetime = EXTENDED_SECONDS;
        }
        let token = self.signer.sign(&Claims {
            aud: audiences,
            exp: now + lifetime,
            iat: now,
            iss: self.signer.issuer().to_owned(),
            jti: self.rng.uuid(),
            kubernetes: private,
            nbf: now,
            sub: format!("system:serviceaccount:{namespace}:{name}"),
        })?;
        let until = api::clock::format_time(
            jiff::Timestamp::from_second(now + seconds).unwrap_or(jiff::Timestamp::MAX),
        );
        request.0.insert("status".into(), json!({"token": token, "expirationTimestamp": until}));
        Ok(request)
    }

    fn find(&self, plural: &str, namespace: &str, name: &str) -> Result<Arc<Entry>, ApiError> {
        let found = self.store.resource(plural).get(namespace, name);
        found.ok_or_else(|| ApiError::not_found("", plural, name))
    }

    /// Fills in what the token is bound to.
    fn bind(
        &self,
        bound: &Value,
        namespace: &str,
        account: &str,
        private: &mut Private,
    ) -> Result<(), ApiError> {
        let text = |key: &str| bound.get(key).and_then(Value::as_str).unwrap_or("");
        let (version, kind, name) = (text("apiVersion"), text("kind"), text("name"));
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let reference =
            |entry: &Entry| Reference { name: name.to_owned(), uid: entry.card.uid.to_string() };
        let entry = match (group, kind) {
            ("", "Pod") => {
                let pod = self.find("pods", namespace, name)?;
                let object = pod.object().map_err(ApiError::internal)?;
                if object.text("spec.serviceAccountName").unwrap_or("") != account {
                    return Err(ApiError::bad_request(format!(
                        "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
                    )));
                }
                if let Some(node) = object.text("spec.nodeName").filter(|n| !n.is_empty()) {
                    let entry = self.store.resource("nodes").get("", node);
                    let uid = entry.map(|e| e.card.uid.to_string()).unwrap_or_default();
                    private.node = Some(Reference { name: node.to_owned(), uid });
                }
                private.pod = Some(reference(&pod));
                pod
            }
            ("", "Node") => {
                let node = self.find("nodes", "", name)?;
                private.node = Some(reference(&node));
                node
            }
            ("", "Secret") => {
                let secret = self.find("secrets", namespace, name)?;
                private.secret = Some(reference(&secret));
                secret
            }
            _ => {
                let version = version.rsplit('/').next().unwrap_or("");
                return Err(ApiError::bad_request(format!(
                    "cannot bind token to object of type {group}/{version}, Kind={kind}"
                )));
            }
        };
        let wanted = text("uid");
        if !wanted.is_empty() && wanted != &*entry.card.uid {
            let why = format!(
                "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been deleted and then recreated"
            );
            let message = format!("Operation cannot be fulfilled on {kind} {name:?}: {why}");
            return Err(ApiError::new(Reason::Conflict, message)
                .detail("name", name)
                .detail("group", group)
                .detail("kind", kind));
        }
        Ok(())
    }
}
