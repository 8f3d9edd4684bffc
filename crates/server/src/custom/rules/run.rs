//! Rules on an object: what they find, within a budget for all of them.
//!
//! A fault of a value that is as it was before is only a warning, unless the rule compares the two.
//! Not here: reading rules.

use api::status::CauseReason;
use api::{Cause, Value};
use cel::{Activation, Budget, EvalErrorKind, Value as Cel};

use super::{Compiled, Node, OLD, SELF};

/// The longest message that an expression may make.
const LONGEST_MESSAGE: usize = 5 * 1024;
const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// What rules found.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Against the write.
    pub faults: Vec<Cause>,
    /// For the client only.
    pub warnings: Vec<String>,
}

/// Nothing more is run.
struct Stop;

/// What a value was before, as far as it can be told.
#[derive(Clone, Copy)]
struct Before<'a> {
    old: Option<&'a Value>,
    /// Whether what is around is as it was.
    same_around: bool,
}

impl Node {
    /// Runs the rules on an object.
    pub fn run(&self, object: &Value, old: Option<&Value>) -> Outcome {
        let budget = Budget::per_object();
        let mut run = Run { budget, outcome: Outcome::default(), ratchets: true };
        let _ = run.node(self, object, Before { old, same_around: false }, "");
        run.outcome
    }

    /// Runs the rules on a default in a schema, as if it were there already and as if it were new.
    pub fn run_on_default(&self, default: &Value, path: &str, budget: &mut Budget) -> Vec<Cause> {
        let mut least = budget.left();
        let mut once = |old: Option<&Value>| {
            let budget = Budget::new(budget.left());
            let mut run = Run { budget, outcome: Outcome::default(), ratchets: false };
            let _ = run.node(self, default, Before { old, same_around: false }, path);
            least = least.min(run.budget.left());
            run.outcome.faults
        };
        let mut faults = once(Some(default));
        if faults.is_empty() {
            faults = once(None);
        }
        *budget = Budget::new(least);
        faults
    }
}

struct Run {
    budget: Budget,
    outcome: Outcome,
    /// Whether faults of what is as it was are only warnings.
    ratchets: bool,
}

fn field_of(path: &str) -> &str {
    if path.is_empty() { "<nil>" } else { path }
}

/// `Invalid value: "object": why`.
fn of_type(path: &str, ty: &str, why: &str) -> Cause {
    Cause::invalid(field_of(path), &Value::from(ty), why)
}

impl Run {
    fn node(
        &mut self,
        node: &Node,
        value: &Value,
        before: Before<'_>,
        path: &str,
    ) -> Result<(), Stop> {
        if value.is_null() {
            return Ok(());
        }
        let same = before.old.map_or(before.same_around, |old| old == value);
        self.rules(node, value, before.old, same, path)?;
        match value {
            Value::Array(list) => {
                let Some(item) = &node.items else { return Ok(()) };
                let old = before.old.and_then(Value::as_array);
                for (at, value) in list.iter().enumerate() {
                    let old = old.and_then(|old| counterpart(&node.keys, old, value));
                    let before = Before { old, same_around: same };
                    self.node(item, value, before, &format!("{path}[{at}]"))?;
                }
            }
            Value::Object(map) => {
                for (key, value) in map {
                    let (below, path) = match (node.properties.get(key), &node.each) {
                        (Some(property), _) if path.is_empty() => (property, key.clone()),
                        (Some(property), _) => (property, format!("{path}.{key}")),
                        (None, Some(each)) => (&**each, format!("{path}[{key}]")),
                        (None, None) => continue,
                    };
                    let old = before.old.and_then(|old| old.get(key));
                    self.node(below, value, Before { old, same_around: same }, &path)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn rules(
        &mut self,
        node: &Node,
        value: &Value,
        old: Option<&Value>,
        same: bool,
        path: &str,
    ) -> Result<(), Stop> {
        if node.rules.is_empty() {
            return Ok(());
        }
        let old = old.filter(|old| !old.is_null());
        if self.budget.left() == 0 {
            self.outcome.faults.push(of_type(path, node.ty, OUT_OF_BUDGET));
            return Err(Stop);
        }
        for rule in &node.rules {
            self.rule(node, rule, value, old, same, path)?;
        }
        Ok(())
    }

    fn rule(
        &mut self,
        node: &Node,
        rule: &Compiled,
        value: &Value,
        old: Option<&Value>,
        same: bool,
        path: &str,
    ) -> Result<(), Stop> {
        let program = match &rule.program {
            Ok(Some(program)) => program,
            Ok(None) => return Ok(()),
            Err(why) => {
                let why = format!("rule compile error: {why}");
                self.outcome.faults.push(of_type(path, node.ty, &why));
                return Ok(());
            }
        };
        let (uses_old, optional) = (rule.uses_old(), rule.rule.optional_old_self == Some(true));
        if uses_old && old.is_none() && !optional {
            return Ok(());
        }
        let text = error_text(rule);
        let vars = match bind(node, value, old, optional) {
            Ok(vars) => vars,
            Err(why) => {
                let why = format!("{why} evaluating rule: {text}");
                self.outcome.faults.push(of_type(path, node.ty, &why));
                return Ok(());
            }
        };
        match program.eval(&vars, &mut self.budget) {
            Ok(Cel::Bool(true)) => return Ok(()),
            Ok(_) => {}
            Err(error) => {
                let (why, stop) = match error.kind() {
                    EvalErrorKind::Budget => (OUT_OF_BUDGET.to_owned(), true),
                    EvalErrorKind::CallCost => (
                        format!(
                            "'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {text}"
                        ),
                        true,
                    ),
                    EvalErrorKind::Failed if error.to_string().starts_with("no such overload") => (
                        format!(
                            "'{error}': call arguments did not match a supported operator, function or macro signature for rule: {text}"
                        ),
                        false,
                    ),
                    EvalErrorKind::Failed => (format!("{error} evaluating rule: {text}"), false),
                };
                self.outcome.faults.push(of_type(path, node.ty, &why));
                return if stop { Err(Stop) } else { Ok(()) };
            }
        }
        let place = match (path.is_empty(), rule.field.is_empty()) {
            (_, true) => field_of(path).to_owned(),
            (true, false) => rule.field.clone(),
            (false, false) => format!("{path}.{}", rule.field),
        };
        let ratcheted = self.ratchets && same && !uses_old;
        let detail = match self.message(rule, &vars) {
            Ok(Some(text)) => text,
            Ok(None) if rule.rule.message.is_empty() => format!("failed rule: {text}"),
            Ok(None) => rule.rule.message.trim().to_owned(),
            Err(why) => {
                self.add(of_type(&place, node.ty, &why), ratcheted);
                return Err(Stop);
            }
        };
        self.add(fault(&place, node.ty, value, &detail, &rule.rule.reason), ratcheted);
        Ok(())
    }

    fn add(&mut self, fault: Cause, ratcheted: bool) {
        if ratcheted {
            self.outcome.warnings.push(fault.line());
        } else {
            self.outcome.faults.push(fault);
        }
    }

    /// The message that a rule's expression makes, where it makes a good one.
    fn message(
        &mut self,
        rule: &Compiled,
        vars: &Activation<'_>,
    ) -> Result<Option<String>, String> {
        let Some(Ok(program)) = &rule.message else { return Ok(None) };
        match program.eval(vars, &mut self.budget) {
            Ok(Cel::String(text)) => {
                let text = text.trim();
                let good = !text.is_empty() && text.len() <= LONGEST_MESSAGE && !text.contains('\n');
                Ok(good.then(|| text.to_owned()))
            }
            Ok(_) => Ok(None),
            Err(error) => match error.kind() {
                EvalErrorKind::Failed => Ok(None),
                EvalErrorKind::Budget => Err("messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run".into()),
                EvalErrorKind::CallCost => Err(format!(
                    "no further validation rules will be run due to call cost exceeds limit for messageExpression: {:?}",
                    rule.rule.message_expression
                )),
            },
        }
    }
}

fn bind<'a>(
    node: &'a Node,
    value: &'a Value,
    old: Option<&'a Value>,
    optional: bool,
) -> Result<Activation<'a>, String> {
    let declared = |value| Cel::declared(value, &node.decl).map_err(|error| error.to_string());
    let mut vars = Activation::new();
    vars.bind(SELF, declared(value)?);
    match (old, optional) {
        (Some(old), true) => vars.bind(OLD, Cel::some(declared(old)?)),
        (None, true) => vars.bind(OLD, Cel::Optional(None)),
        (Some(old), false) => vars.bind(OLD, declared(old)?),
        (None, false) => {}
    }
    Ok(vars)
}

/// The item of an old list that has an item's keys.
fn counterpart<'a>(keys: &[String], old: &'a [Value], item: &Value) -> Option<&'a Value> {
    if keys.is_empty() {
        return None;
    }
    old.iter().find(|before| keys.iter().all(|key| before.get(key) == item.get(key)))
}

fn error_text(rule: &Compiled) -> &str {
    if rule.rule.message.is_empty() { rule.rule.rule.trim() } else { rule.rule.message.trim() }
}

fn fault(path: &str, ty: &str, value: &Value, detail: &str, reason: &str) -> Cause {
    let whole = matches!(ty, "object" | "array");
    match reason {
        "FieldValueForbidden" => Cause::forbidden(path, detail),
        "FieldValueRequired" => Cause::required(path, detail),
        "FieldValueDuplicate" if whole => {
            Cause::new(CauseReason::Duplicate, path, "Duplicate value")
        }
        "FieldValueDuplicate" => Cause::duplicate(path, value),
        _ if whole => Cause::new(CauseReason::Invalid, path, format!("Invalid value: {detail}")),
        _ => Cause::invalid(path, value, detail),
    }
}
