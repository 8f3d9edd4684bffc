//! Costs: what evaluation is charged, what an expression may cost at most, and the limits.
//!
//! The numbers are part of the API: a rule that one server accepts must not be too expensive for another.

mod estimate;
mod runtime;

pub(crate) use estimate::estimate;
pub(crate) use runtime::of_call;

/// What may be spent.
pub mod limits {
    /// One evaluation.
    pub const PER_CALL: u64 = 1_000_000;
    /// All evaluations for one object.
    pub const PER_OBJECT: u64 = 10_000_000;
    /// The estimate of one rule.
    pub const ESTIMATE_PER_RULE: u64 = 10_000_000;
    /// The estimates of all the rules of one schema.
    pub const ESTIMATE_PER_SCHEMA: u64 = 100_000_000;
}

/// Of a name or a selection.
pub(crate) const SELECT: u64 = 1;
/// Of a new list.
pub(crate) const LIST: u64 = 10;
/// Of a new map.
pub(crate) const MAP: u64 = 30;
/// Of a new object.
pub(crate) const STRUCT: u64 = 40;
/// Of a character or byte that is looked at.
const TEXT: f64 = 0.1;
/// Of a character of a regular expression.
const REGEX: f64 = 0.25;
/// Of a question to the authorizer: two in one evaluation at most.
const AUTHZ: u64 = 350_000;
/// The longest regular expression behind a named format.
const FORMAT_REGEX: f64 = 128.0;

/// What an evaluation can cost: between these, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostEstimate {
    /// At least.
    pub min: u64,
    /// At most; `u64::MAX` where it has no bound.
    pub max: u64,
}

/// A size or cost times a factor, rounded up.
fn scaled(n: u64, factor: f64) -> u64 {
    // Beyond what a float holds exactly the cast saturates, which is what is wanted.
    (n as f64 * factor).ceil() as u64
}

impl CostEstimate {
    /// Exactly that.
    pub const fn fixed(n: u64) -> Self {
        Self { min: n, max: n }
    }

    const UNKNOWN: Self = Self { min: 0, max: u64::MAX };

    /// One after the other.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    /// So often.
    #[must_use]
    pub fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    fn scaled(self, factor: f64) -> Self {
        Self { min: scaled(self.min, factor), max: scaled(self.max, factor) }
    }

    fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// What a function's cost depends on, where it is not constant: one table for both the estimate and
/// the charge.
#[derive(Clone, Copy)]
enum Rule {
    /// That much.
    Fixed(u64),
    /// The length of an argument (the target counts as the first), times a factor.
    Length(usize, f64),
    /// A search for a pattern: the first argument's length times the second's.
    Pattern,
}

/// Functions of Kubernetes' libraries by name.
fn rule(function: &str, overload: &str) -> Option<Rule> {
    Some(match function {
        "check" => Rule::Fixed(AUTHZ),
        "serviceAccount" | "path" | "group" | "resource" | "subresource" | "namespace" | "name"
        | "allowed" | "reason" | "error" | "errored" => Rule::Fixed(1),
        "masked"
        | "prefixLength"
        | "family"
        | "isUnspecified"
        | "isLoopback"
        | "isLinkLocalMulticast"
        | "isLinkLocalUnicast"
        | "isGlobalUnicast"
        | "format.named"
        | "sign"
        | "asInteger"
        | "isInteger"
        | "asApproximateFloat"
        | "isGreaterThan"
        | "isLessThan"
        | "compareTo"
        | "add"
        | "sub"
        | "major"
        | "minor"
        | "patch"
        | "getScheme"
        | "getHostname"
        | "getHost"
        | "getPort"
        | "getEscapedPath"
        | "getQuery" => Rule::Fixed(1),
        "ip" if overload == "cidr_ip" => Rule::Fixed(1),
        "ip"
        | "cidr"
        | "isIP"
        | "isCIDR"
        | "quantity"
        | "isQuantity"
        | "semver"
        | "isSemver"
        | "url"
        | "lowerAscii"
        | "upperAscii"
        | "substring"
        | "trim"
        | "jsonpatch.escapeKey" => Rule::Length(0, TEXT),
        "ip.isCanonical" | "replace" | "split" => Rule::Length(0, 2.0 * TEXT),
        "find" | "findAll" => Rule::Pattern,
        _ => return None,
    })
}
