//! Service account tokens: signature and times, then whether the account and what the token is bound
//! to are still there. The signature is checked once a token, the rest on every use.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::Entry;
use api::clock::{Clock, parse_time};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use store::{ResourceCache, Store};

use crate::gate::{AuthnError, TokenFacts, UserInfo};
use crate::tokens::{Claims, Reference, Signer};

/// How far clocks may differ, and how long deleted things still count (seconds).
const LEEWAY: i64 = 60;
/// How many verified tokens are kept.
const KEPT: usize = 4096;

/// Authenticates by service account token.
pub struct ServiceAccounts {
    signer: Arc<Signer>,
    clock: Clock,
    accounts: Arc<ResourceCache>,
    pods: Arc<ResourceCache>,
    secrets: Arc<ResourceCache>,
    nodes: Arc<ResourceCache>,
    /// Claims of tokens whose signature was found good, by the token's digest.
    verified: Mutex<HashMap<[u8; 32], Arc<Claims>>>,
}

impl ServiceAccounts {
    /// Accounts, pods, secrets and nodes are looked up in `store`.
    pub fn new(signer: Arc<Signer>, store: &Store, clock: Clock) -> Self {
        Self {
            signer,
            clock,
            accounts: store.resource("serviceaccounts"),
            pods: store.resource("pods"),
            secrets: store.resource("secrets"),
            nodes: store.resource("nodes"),
            verified: Mutex::default(),
        }
    }

    /// What tokens for the API server itself are meant for.
    pub fn audience(&self) -> &str {
        self.signer.issuer()
    }

    /// Whom a token authenticates for one of `audiences` (empty: the API server's); `None` where
    /// it is no token of ours.
    pub fn user(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<TokenFacts>, AuthnError> {
        let Some(claims) = self.claims(token)? else { return Ok(None) };
        let own = [self.signer.issuer().to_owned()];
        let wanted = if audiences.is_empty() { &own[..] } else { audiences };
        // A token of before audiences is meant for the API server.
        let held = if claims.aud.is_empty() { &own[..] } else { &claims.aud };
        let common: Vec<String> = wanted.iter().filter(|a| held.contains(a)).cloned().collect();
        if common.is_empty() {
            let quoted = |list: &[String]| {
                let names: Vec<_> = list.iter().map(|name| api::names::quote(name)).collect();
                names.join(" ")
            };
            return Err(AuthnError(format!(
                "token audiences [{}] is invalid for the target audiences [{}]",
                quoted(held),
                quoted(wanted)
            )));
        }
        self.check_times(&claims)?;
        self.check_references(&claims)?;
        Ok(Some(TokenFacts { user: user(&claims), audiences: common }))
    }

    fn claims(&self, token: &str) -> Result<Option<Arc<Claims>>, AuthnError> {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(claims) = self.verified.lock().get(&digest) {
            return Ok(Some(claims.clone()));
        }
        let Some(claims) = self.signer.verify(token).map_err(AuthnError)? else { return Ok(None) };
        let claims = Arc::new(claims);
        let mut verified = self.verified.lock();
        if verified.len() >= KEPT {
            verified.clear();
        }
        verified.insert(digest, claims.clone());
        Ok(Some(claims))
    }

    fn check_times(&self, claims: &Claims) -> Result<(), AuthnError> {
        let now = self.clock.now().as_second();
        let fault = |text: &str| Err(AuthnError(format!("service account token {text}")));
        if now - LEEWAY > claims.exp {
            return fault("has expired");
        }
        if now + LEEWAY < claims.nbf {
            return fault("is not valid yet");
        }
        if now + LEEWAY < claims.iat {
            return fault("is issued in the future");
        }
        Ok(())
    }

    fn check_references(&self, claims: &Claims) -> Result<(), AuthnError> {
        let private = &claims.kubernetes;
        let (namespace, account) = (&*private.namespace, &private.serviceaccount);
        let gone = || AuthnError("service account token has been invalidated".into());
        let entry = self
            .accounts
            .get(namespace, &account.name)
            .ok_or_else(|| AuthnError(format!("serviceaccounts {:?} not found", account.name)))?;
        self.same(&entry, account, "service account UID", "does not match claim")?;
        if self.deleted(&entry) {
            let text = format!("service account {namespace}/{} has been deleted", account.name);
            return Err(AuthnError(text));
        }
        // The node of a pod-bound token is for information only.
        let node = private.node.as_ref().filter(|_| private.pod.is_none());
        let bound = [
            (&self.secrets, namespace, private.secret.as_ref(), "secret"),
            (&self.pods, namespace, private.pod.as_ref(), "pod"),
            (&self.nodes, "", node, "node"),
        ];
        for (cache, namespace, reference, what) in bound {
            let Some(reference) = reference else { continue };
            let entry = cache.get(namespace, &reference.name).ok_or_else(gone)?;
            let claim = format!("does not match service account {what} ref claim");
            self.same(&entry, reference, &format!("{what} UID"), &claim)?;
            if self.deleted(&entry) {
                return Err(gone());
            }
        }
        Ok(())
    }

    fn same(
        &self,
        entry: &Entry,
        reference: &Reference,
        what: &str,
        claim: &str,
    ) -> Result<(), AuthnError> {
        if *entry.card.uid == *reference.uid {
            return Ok(());
        }
        Err(AuthnError(format!("{what} ({}) {claim} ({})", entry.card.uid, reference.uid)))
    }

    /// Whether an object's deletion, grace period included, is over.
    fn deleted(&self, entry: &Entry) -> bool {
        if !entry.card.deleting {
            return false;
        }
        let object = entry.object().unwrap_or_default();
        let at = object.deletion_timestamp().and_then(parse_time);
        at.is_some_and(|at| at.as_second() < self.clock.now().as_second() - LEEWAY)
    }
}

fn user(claims: &Claims) -> UserInfo {
    let private = &claims.kubernetes;
    let mut extra = BTreeMap::new();
    let mut put = |key: &str, value: &str| {
        if !value.is_empty() {
            extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
        }
    };
    if !claims.jti.is_empty() {
        put("credential-id", &format!("JTI={}", claims.jti));
    }
    for (kind, reference) in [("pod", &private.pod), ("node", &private.node)] {
        if let Some(reference) = reference {
            put(&format!("{kind}-name"), &reference.name);
            put(&format!("{kind}-uid"), &reference.uid);
        }
    }
    UserInfo {
        name: format!(
            "system:serviceaccount:{}:{}",
            private.namespace, private.serviceaccount.name
        ),
        uid: private.serviceaccount.uid.clone(),
        groups: groups(&private.namespace),
        extra,
    }
}

/// The groups that every service account of a namespace is in.
pub fn groups(namespace: &str) -> Vec<String> {
    vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")]
}

/// Namespace and name of the service account that a user name stands for.
pub fn of_user(name: &str) -> Option<(&str, &str)> {
    let (namespace, account) = name.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let valid = api::names::dns_label(namespace).is_empty()
        && api::names::dns_subdomain(account).is_empty();
    valid.then_some((namespace, account))
}
