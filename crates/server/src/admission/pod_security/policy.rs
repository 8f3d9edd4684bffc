//! The labels of a namespace that say how much its pods may do.

use api::Cause;
use serde_json::json;

const PREFIX: &str = "pod-security.kubernetes.io/";

/// How much pods may do; the stricter the greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Level {
    #[default]
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    /// As in the labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Privileged, Self::Baseline, Self::Restricted]
            .into_iter()
            .find(|l| l.as_str() == text)
    }
}

/// A level as of a version of Kubernetes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rung {
    /// The level.
    pub level: Level,
    /// The minor version; none: the latest.
    pub version: Option<u32>,
}

/// What a namespace says. (`audit` changes no answer.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What is refused.
    pub enforce: Rung,
    /// What is told.
    pub warn: Rung,
}

/// `latest` or `v1.x`.
fn version(text: &str) -> Option<Option<u32>> {
    if text == "latest" {
        return Some(None);
    }
    let minor = text.strip_prefix("v1.")?;
    let plain = minor == "0" || !minor.starts_with('0');
    minor.parse().ok().filter(|_| plain && !minor.starts_with('+')).map(Some)
}

impl Policy {
    /// Reads the labels. A malformed level to enforce counts as the strictest, one to warn of as
    /// none.
    pub fn of<'a>(label: impl Fn(&str) -> Option<&'a str>) -> Self {
        let named = |mode: &str| label(&format!("{PREFIX}{mode}"));
        let since = |mode: &str| named(&format!("{mode}-version"));
        let level = named("enforce").map(Level::parse);
        let enforce = Rung {
            level: level.map_or(Level::Privileged, |l| l.unwrap_or(Level::Restricted)),
            version: since("enforce").and_then(version).flatten(),
        };
        let mut warn = Rung {
            level: named("warn").and_then(Level::parse).unwrap_or_default(),
            version: since("warn").and_then(version).flatten(),
        };
        // Who enforces a level is told nothing less.
        if let (None, Some(Some(level))) = (named("warn"), level) {
            warn.level = level;
            if since("warn").is_none() {
                warn.version = enforce.version;
            }
        }
        Self { enforce, warn }
    }
}

/// What is wrong with the labels.
pub fn faults(label: impl Fn(&str) -> Option<String>) -> Vec<Cause> {
    let mut causes = Vec::new();
    for mode in ["enforce", "audit", "warn"] {
        let key = format!("{PREFIX}{mode}");
        if let Some(text) = label(&key)
            && Level::parse(&text).is_none()
        {
            let detail = "must be one of privileged, baseline, restricted";
            causes.push(Cause::invalid(format!("metadata.labels[{key}]"), &json!(text), detail));
        }
        let key = format!("{key}-version");
        if let Some(text) = label(&key)
            && version(&text).is_none()
        {
            let detail = "must be \"latest\" or \"v1.x\"";
            causes.push(Cause::invalid(format!("metadata.labels[{key}]"), &json!(text), detail));
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (text, read) in [
            ("latest", Some(None)),
            ("v1.24", Some(Some(24))),
            ("v1.0", Some(Some(0))),
            ("v2.0", None),
            ("v1.024", None),
            ("1.24", None),
            ("", None),
        ] {
            assert_eq!(version(text), read, "{text:?}");
        }
    }
}
