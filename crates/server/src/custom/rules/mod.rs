//! CEL rules of custom resources: read with the schema they stand in, run on objects.
//!
//! Not here: the language (`cel`), the rules' admission with a definition (`admit`).

pub mod admit;
mod run;

use std::collections::BTreeMap;
use std::sync::Arc;

use api::crd::Structural;
use api::crd::fieldpath;
use api::crd::structural::{Additional, ListType, Rule};
use cel::{Decl, Env, Program, Type};

pub use run::Outcome;

/// The name of the value that a rule is about.
const SELF: &str = "self";
/// And of what it was.
const OLD: &str = "oldSelf";

/// A rule, read.
#[derive(Debug)]
pub struct Compiled {
    rule: Rule,
    /// None for an empty rule.
    program: Result<Option<Program>, String>,
    message: Option<Result<Program, String>>,
    /// Where a fault is, below the rule's place.
    field: String,
}

impl Compiled {
    fn uses_old(&self) -> bool {
        matches!(&self.program, Ok(Some(program)) if program.uses(OLD))
    }
}

/// A node of a schema that has rules, or leads to some.
#[derive(Debug)]
pub struct Node {
    /// The type's name, for faults.
    ty: &'static str,
    decl: Arc<Decl>,
    rules: Vec<Compiled>,
    properties: BTreeMap<String, Node>,
    each: Option<Box<Node>>,
    items: Option<Box<Node>>,
    /// The keys by which items are told, of a list that is a map.
    keys: Vec<String>,
}

impl Node {
    /// Reads the rules of a schema; none where it has none.
    pub fn of(schema: &Structural, root: bool) -> Option<Self> {
        if !schema.has_rules() {
            return None;
        }
        let decl = cel::declare(schema, SELF, root || schema.embedded)?;
        let rules = compile(schema, &decl);
        let below = |schema: &Structural| Node::of(schema, false);
        let properties = schema.properties.iter();
        let each = match &schema.additional {
            Some(Additional::Schema(each)) => below(each),
            _ => None,
        };
        let keyed = schema.list_type == ListType::Map;
        Some(Self {
            ty: if root { "object" } else { schema.ty.name() },
            decl,
            rules,
            properties: properties.filter_map(|(key, p)| Some((key.clone(), below(p)?))).collect(),
            each: each.map(Box::new),
            items: schema.items.as_deref().and_then(below).map(Box::new),
            keys: if keyed { schema.list_keys.clone() } else { Vec::new() },
        })
    }
}

/// Reads the rules of one node.
fn compile(schema: &Structural, decl: &Arc<Decl>) -> Vec<Compiled> {
    if schema.rules.is_empty() {
        return Vec::new();
    }
    let plain = Env::builder().declared(SELF, decl).declared(OLD, decl).build();
    let optional = Env::builder().declared(SELF, decl).declared_optional(OLD, decl).build();
    let one = |rule: &Rule| {
        let env = if rule.optional_old_self == Some(true) { &optional } else { &plain };
        let program = if rule.rule.trim().is_empty() {
            Ok(None)
        } else {
            typed(
                env,
                &rule.rule,
                &Type::Bool,
                "compilation failed: ",
                "cel expression must evaluate to a bool",
            )
            .map(Some)
        };
        let message = (program.is_ok() && !rule.message_expression.is_empty()).then(|| {
            typed(
                env,
                &rule.message_expression,
                &Type::String,
                "messageExpression compilation failed: ",
                "messageExpression must evaluate to a string",
            )
        });
        let field = fieldpath::find(&rule.field_path, schema).map(|found| found.text);
        Compiled { rule: rule.clone(), program, message, field: field.unwrap_or_default() }
    };
    schema.rules.iter().map(one).collect()
}

fn typed(env: &Env, text: &str, ty: &Type, head: &str, wrong: &str) -> Result<Program, String> {
    let program = env.compile(text).map_err(|errors| format!("{head}{errors}"))?;
    if program.output_type() != ty {
        return Err(wrong.to_owned());
    }
    Ok(program)
}
