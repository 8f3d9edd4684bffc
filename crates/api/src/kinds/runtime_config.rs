//! `--runtime-config`: which versions are served beyond, or short of, the default.

use super::Kind;

/// The switches of `--runtime-config`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// Key and value, in the order given.
    switches: Vec<(String, bool)>,
}

/// Why a `--runtime-config` could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid runtime-config {0:?}: want api/all, api/ga, api/beta, api/alpha, group/version or \
     group/version/resource, then =true or =false"
)]
pub struct RuntimeConfigError(String);

impl RuntimeConfig {
    /// Reads `key=value,key=value`; a key alone means true.
    pub fn parse(text: &str) -> Result<Self, RuntimeConfigError> {
        let mut switches = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, "true"));
            let value = match value {
                "true" | "1" | "" => true,
                "false" | "0" => false,
                _ => return Err(RuntimeConfigError(part.to_owned())),
            };
            let parts = key.split('/').count();
            let known = match key.strip_prefix("api/") {
                Some("all" | "ga" | "beta" | "alpha") => true,
                Some(rest) => rest.starts_with('v'),
                None => key == "v1" || (2..=3).contains(&parts),
            };
            if !known {
                return Err(RuntimeConfigError(part.to_owned()));
            }
            switches.push((key.to_owned(), value));
        }
        Ok(Self { switches })
    }

    fn switch(&self, key: &str) -> Option<bool> {
        self.switches.iter().rev().find(|(k, _)| k == key).map(|(_, value)| *value)
    }

    /// Whether a kind is served: the narrowest switch decides, then the default.
    pub fn serves(&self, kind: &Kind) -> bool {
        let version = if kind.group.is_empty() {
            format!("api/{}", kind.version)
        } else {
            format!("{}/{}", kind.group, kind.version)
        };
        let stage = if kind.version.contains("alpha") {
            "api/alpha"
        } else if kind.version.contains("beta") {
            "api/beta"
        } else {
            "api/ga"
        };
        self.switch(&format!("{version}/{}", kind.plural))
            .or_else(|| self.switch(&version))
            .or_else(|| self.switch(&kind.api_version()))
            .or_else(|| self.switch(stage))
            .or_else(|| self.switch("api/all"))
            .unwrap_or(kind.default_served)
    }
}
