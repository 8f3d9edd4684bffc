//! The tree of an expression, as the parser makes it and the checker completes it.
//!
//! Macros are expanded already: a comprehension is one general loop ([`Fold`]), so that evaluation and
//! costs know one form. Not here: types (`types`), values (`value`).

use std::sync::Arc;

use crate::library::Overload;

/// The number of a node, an index into the checker's tables.
pub type Id = usize;

/// A node.
#[derive(Clone, Debug)]
pub struct Expr {
    pub id: Id,
    /// Characters before it in the text.
    pub offset: usize,
    /// How many levels the tree below has, itself counted.
    pub depth: u16,
    pub kind: Kind,
}

/// What a node says.
#[derive(Clone, Debug)]
pub enum Kind {
    Literal(Literal),
    Ident(Arc<str>),
    Select {
        operand: Box<Expr>,
        field: Arc<str>,
        /// Whether it asks only if the field is there.
        test: bool,
    },
    Call(Call),
    List(Vec<Item>),
    Map(Vec<Entry>),
    Struct {
        name: Arc<str>,
        fields: Vec<Init>,
    },
    Fold(Box<Fold>),
}

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
}

/// A function with its arguments.
#[derive(Clone, Debug)]
pub struct Call {
    pub function: Arc<str>,
    pub target: Option<Box<Expr>>,
    pub args: Vec<Expr>,
    /// What the checker found to fit; more than one where types are known only later.
    pub overloads: Vec<&'static Overload>,
}

/// One element of a list.
#[derive(Clone, Debug)]
pub struct Item {
    pub value: Expr,
    /// Left out where it is `optional.none()`.
    pub optional: bool,
}

/// One entry of a map.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key: Expr,
    pub value: Expr,
    pub optional: bool,
}

/// One field of a new object.
#[derive(Clone, Debug)]
pub struct Init {
    pub offset: usize,
    pub name: Arc<str>,
    pub value: Expr,
    pub optional: bool,
}

/// A loop over a range: `accu` starts as `init`, becomes `step` for each element while `condition`
/// holds, and `result` is the whole's value.
#[derive(Clone, Debug)]
pub struct Fold {
    pub range: Expr,
    pub var: Arc<str>,
    pub var2: Option<Arc<str>>,
    pub accu: Arc<str>,
    pub init: Expr,
    pub condition: Expr,
    pub step: Expr,
    pub result: Expr,
}

impl Fold {
    /// Whether it only names a value (`cel.bind`, `optMap`).
    pub fn is_bind(&self) -> bool {
        matches!(&self.range.kind, Kind::List(items) if items.is_empty())
            && matches!(&self.condition.kind, Kind::Literal(Literal::Bool(false)))
            && &*self.accu != ACCUMULATOR
    }
}

/// The accumulator's name in macros; no expression can spell it.
pub const ACCUMULATOR: &str = "@result";

impl Kind {
    /// The greatest depth of what is below.
    pub fn depth_below(&self) -> u16 {
        match self {
            Self::Literal(_) | Self::Ident(_) => 0,
            Self::Select { operand, .. } => operand.depth,
            Self::Call(call) => {
                let args = call.args.iter().map(|a| a.depth).max().unwrap_or(0);
                call.target.as_ref().map_or(args, |t| t.depth.max(args))
            }
            Self::List(items) => items.iter().map(|i| i.value.depth).max().unwrap_or(0),
            Self::Map(entries) => {
                entries.iter().map(|e| e.key.depth.max(e.value.depth)).max().unwrap_or(0)
            }
            Self::Struct { fields, .. } => fields.iter().map(|f| f.value.depth).max().unwrap_or(0),
            Self::Fold(f) => [&f.range, &f.init, &f.condition, &f.step, &f.result]
                .iter()
                .map(|e| e.depth)
                .max()
                .unwrap_or(0),
        }
    }
}

impl Expr {
    /// `a.b.c` as one name.
    pub fn qualified_name(&self) -> Option<String> {
        match &self.kind {
            Kind::Ident(name) => Some(name.to_string()),
            Kind::Select { operand, field, test: false } => {
                Some(format!("{}.{field}", operand.qualified_name()?))
            }
            _ => None,
        }
    }
}
