//! `--runtime-config` and `--feature-gates`: which versions are served beyond, or short of, the
//! default.
//!
//! Not here: gates that switch behaviour rather than kinds; they are taken and have no effect.

use super::{Kind, all};

/// The switches of `--runtime-config`, with the feature gates that kinds need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// Key and value, in the order given.
    switches: Vec<(String, bool)>,
    gates: Vec<(String, bool)>,
}

/// Why a `--runtime-config` is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown API {0:?}: want api/all, api/ga, api/beta, api/alpha, group/version or \
     group/version/resource"
)]
pub struct RuntimeConfigError(String);

const STAGES: [&str; 4] = ["api/all", "api/ga", "api/beta", "api/alpha"];

/// What a version is called in `--runtime-config`.
fn version_key(kind: &Kind) -> String {
    if kind.group.is_empty() { format!("api/{}", kind.version) } else { kind.api_version() }
}

fn resource_key(kind: &Kind) -> String {
    format!("{}/{}", version_key(kind), kind.plural)
}

fn find(switches: &[(String, bool)], key: &str) -> Option<bool> {
    switches.iter().rev().find(|(k, _)| k == key).map(|(_, value)| *value)
}

impl RuntimeConfig {
    /// Switches by name, the later ones counting.
    pub fn new(
        switches: &[(String, bool)],
        gates: &[(String, bool)],
    ) -> Result<Self, RuntimeConfigError> {
        for (key, _) in switches {
            let names = |kind: &Kind| {
                version_key(kind) == *key
                    || kind.api_version() == *key
                    || resource_key(kind) == *key
            };
            if !STAGES.contains(&key.as_str()) && !all().iter().any(names) {
                return Err(RuntimeConfigError(key.clone()));
            }
        }
        Ok(Self { switches: switches.to_vec(), gates: gates.to_vec() })
    }

    fn switch(&self, key: &str) -> Option<bool> {
        find(&self.switches, key)
    }

    /// Whether a kind is served: the narrowest switch decides, then the default; a kind behind a
    /// feature gate needs that, too.
    pub fn serves(&self, kind: &Kind) -> bool {
        let stage = if kind.version.contains("alpha") {
            "api/alpha"
        } else if kind.version.contains("beta") {
            "api/beta"
        } else {
            "api/ga"
        };
        let on = self
            .switch(&resource_key(kind))
            .or_else(|| self.switch(&version_key(kind)))
            .or_else(|| self.switch(&kind.api_version()))
            .or_else(|| self.switch(stage))
            .or_else(|| self.switch("api/all"))
            .unwrap_or(kind.default_served);
        on && self.gate_open(kind)
    }

    fn gate_open(&self, kind: &Kind) -> bool {
        let Some(gate) = kind.gate else { return true };
        let stage = if gate.stage == "alpha" { "AllAlpha" } else { "AllBeta" };
        find(&self.gates, gate.name).or_else(|| find(&self.gates, stage)).unwrap_or(false)
    }
}
