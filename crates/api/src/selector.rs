//! Label and field selectors, matched against index cards.
//!
//! Not here: which fields a kind can be selected by (the kind table says).

mod parse;

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::entry::Card;

/// One requirement of a label selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// The operator with its values.
    pub op: Op,
}

/// Operators of label requirements. `NotIn` and `NotEqual` match objects without the label.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Op {
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Exists,
    DoesNotExist,
    GreaterThan(i64),
    LessThan(i64),
}

impl Requirement {
    /// Whether a label's value (or its absence) meets the requirement.
    pub fn matches(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|v| v.parse::<i64>().ok());
        match &self.op {
            Op::In(set) => value.is_some_and(|v| set.contains(v)),
            Op::NotIn(set) => value.is_none_or(|v| !set.contains(v)),
            Op::Exists => value.is_some(),
            Op::DoesNotExist => value.is_none(),
            Op::GreaterThan(n) => number().is_some_and(|v| v > *n),
            Op::LessThan(n) => number().is_some_and(|v| v < *n),
        }
    }
}

/// A conjunction of label requirements; the empty one matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector(pub Vec<Requirement>);

/// `metav1.LabelSelector` as objects carry it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelectorSpec {
    /// Labels that must have these values.
    pub match_labels: std::collections::BTreeMap<String, String>,
    /// Further requirements.
    pub match_expressions: Vec<MatchExpression>,
}

/// One of `matchExpressions`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MatchExpression {
    /// The label's key.
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`; node selectors also `Gt` and `Lt`.
    pub operator: String,
    /// The operator's values.
    pub values: Vec<String>,
}

/// Why a selector could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);

impl MatchExpression {
    /// The requirement it states.
    pub fn requirement(&self) -> Result<Requirement, SelectorError> {
        let set = || self.values.iter().cloned().collect::<BTreeSet<_>>();
        let number = || match self.values.as_slice() {
            [one] => {
                one.parse::<i64>().map_err(|_| SelectorError(format!("{one:?} is not an integer")))
            }
            _ => {
                Err(SelectorError("exactly one value is required for 'Gt', 'Lt' operators".into()))
            }
        };
        let some = || match self.values.is_empty() {
            true => {
                Err(SelectorError("for 'in', 'notin' operators, values set can't be empty".into()))
            }
            false => Ok(set()),
        };
        if matches!(&*self.operator, "Exists" | "DoesNotExist") && !self.values.is_empty() {
            let why = "values set must be empty for exists and does not exist";
            return Err(SelectorError(why.into()));
        }
        let op = match self.operator.as_str() {
            "In" => Op::In(some()?),
            "NotIn" => Op::NotIn(some()?),
            "Exists" => Op::Exists,
            "DoesNotExist" => Op::DoesNotExist,
            "Gt" => Op::GreaterThan(number()?),
            "Lt" => Op::LessThan(number()?),
            other => {
                return Err(SelectorError(format!(
                    "{other:?} is not a valid label selector operator"
                )));
            }
        };
        Ok(Requirement { key: self.key.clone(), op })
    }
}

impl LabelSelectorSpec {
    /// The selector it states. An empty spec matches everything.
    pub fn selector(&self) -> Result<LabelSelector, SelectorError> {
        let labels = self.match_labels.iter().map(|(key, value)| {
            Ok(Requirement { key: key.clone(), op: Op::In([value.clone()].into()) })
        });
        let expressions = self.match_expressions.iter().map(MatchExpression::requirement);
        labels.chain(expressions).collect::<Result<_, _>>().map(LabelSelector)
    }
}

impl LabelSelector {
    /// Whether a card's labels meet every requirement.
    pub fn matches(&self, card: &Card) -> bool {
        self.0.iter().all(|r| r.matches(card.label(&r.key)))
    }

    /// Whether labels, given by a look-up, meet every requirement.
    pub fn matches_with<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|r| r.matches(label(&r.key)))
    }
}

/// A conjunction of field comparisons: `(path, value, equal)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector(pub Vec<(String, String, bool)>);

impl FieldSelector {
    /// Whether a card's fields meet every comparison; a field that the card lacks counts as empty.
    pub fn matches(&self, card: &Card) -> bool {
        self.0
            .iter()
            .all(|(path, value, equal)| (card.field(path).unwrap_or("") == value) == *equal)
    }
}
