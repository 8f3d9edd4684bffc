//! What goes wrong while an expression is evaluated.

/// Why an evaluation has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EvalError {
    kind: EvalErrorKind,
    message: String,
}

/// The kinds of failures that callers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvalErrorKind {
    /// The expression failed: a missing key, a division by zero.
    Failed,
    /// One evaluation cost more than one may.
    CallCost,
    /// The budget of all evaluations together is used up.
    Budget,
}

impl EvalError {
    /// A failure of the expression.
    pub fn new(message: impl Into<String>) -> Self {
        Self { kind: EvalErrorKind::Failed, message: message.into() }
    }

    pub(crate) fn no_such_overload() -> Self {
        Self::new("no such overload")
    }

    pub(crate) fn cost_exceeded() -> Self {
        Self {
            kind: EvalErrorKind::CallCost,
            message: "operation cancelled: actual cost limit exceeded".into(),
        }
    }

    pub(crate) fn out_of_budget() -> Self {
        Self {
            kind: EvalErrorKind::Budget,
            message: "validation failed due to running out of cost budget, no further validation rules will be run".into(),
        }
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> EvalErrorKind {
        self.kind
    }
}
