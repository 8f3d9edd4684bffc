//! Service account tokens for projected volumes: asked for once, kept, and renewed well before they
//! expire.
//!
//! Not here: who may ask for them (the API server judges).

use std::collections::HashMap;
use std::time::Duration;

use api::clock::{Clock, Rng, parse_time};
use api::resource::SERVICE_ACCOUNTS;
use client::Client;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::pod::view::PodView;

/// No token is used longer, whatever its expiry.
const LONGEST_USE: i64 = 24 * 3600;

#[derive(Clone)]
struct Token {
    text: String,
    renew_at: Timestamp,
}

type Key = (String, String, i64);

/// Tokens in use, by pod, audience and duration.
pub struct Tokens {
    client: Client,
    clock: Clock,
    rng: Rng,
    cache: Mutex<HashMap<Key, Token>>,
}

impl Tokens {
    /// None yet.
    pub fn new(client: Client, clock: Clock, rng: Rng) -> Self {
        Self { client, clock, rng, cache: Mutex::default() }
    }

    /// A token of the pod's service account for an audience (empty: the API server).
    pub async fn get(&self, pod: &PodView, audience: &str, seconds: i64) -> Result<String, String> {
        let key = (pod.uid().to_owned(), audience.to_owned(), seconds);
        let now = self.clock.now();
        let cached = self.cache.lock().get(&key).cloned();
        if let Some(token) = &cached
            && now < token.renew_at
        {
            return Ok(token.text.clone());
        }
        match self.request(pod, audience, seconds).await {
            Ok(token) => {
                let text = token.text.clone();
                self.cache.lock().insert(key, token);
                Ok(text)
            }
            // The old one is good for a while yet: it is renewed at four fifths of its life.
            Err(error) => cached.map(|t| t.text).ok_or(error),
        }
    }

    async fn request(&self, pod: &PodView, audience: &str, seconds: i64) -> Result<Token, String> {
        let account = pod.spec.service_account_name.as_deref().unwrap_or("default");
        let audiences = if audience.is_empty() { json!([]) } else { json!([audience]) };
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": audiences,
                "expirationSeconds": seconds,
                "boundObjectRef": { "kind": "Pod", "apiVersion": "v1", "name": pod.name(), "uid": pod.uid() },
            },
        });
        let answer: Value = self
            .client
            .create_sub(&SERVICE_ACCOUNTS, pod.namespace(), account, "token", &body)
            .await
            .map_err(|e| format!("failed to fetch token: {e}"))?;
        let status = answer.get("status");
        let text = status.and_then(|s| s.get("token")).and_then(Value::as_str);
        let text = text.ok_or("failed to fetch token: the answer holds none")?.to_owned();
        let now = self.clock.now();
        let expires = status
            .and_then(|s| s.get("expirationTimestamp"))
            .and_then(Value::as_str)
            .and_then(parse_time);
        let life = expires.map_or(seconds, |e| e.as_second() - now.as_second()).max(1);
        // Spread out, so that the tokens of pods that started together are not renewed together.
        let jitter = i64::try_from(self.rng.below(10)).unwrap_or(0);
        let use_for = (life * 4 / 5).min(LONGEST_USE) - jitter;
        let renew_at = now.saturating_add(SignedDuration::from_secs(use_for.max(1)));
        Ok(Token { text, renew_at: renew_at.unwrap_or(Timestamp::MAX) })
    }

    /// When the first of a pod's tokens is to be renewed.
    pub fn renew_at(&self, uid: &str) -> Option<Timestamp> {
        let cache = self.cache.lock();
        cache.iter().filter(|((of, ..), _)| of == uid).map(|(_, t)| t.renew_at).min()
    }

    /// A pod is gone.
    pub fn forget(&self, uid: &str) {
        self.cache.lock().retain(|(of, ..), _| of != uid);
    }
}

/// The time from one timestamp to a later one.
pub fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or(Duration::ZERO)
}
