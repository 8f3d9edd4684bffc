//! The Kubernetes dialect of the Common Expression Language, as of 1.36: a parser, a type checker with
//! upstream's messages, an evaluator that borrows the objects it looks at, cost limits and estimates, and
//! the libraries that Kubernetes enables.
//!
//! ```
//! use isopod_cel::{Activation, Budget, Env, Type, Value};
//!
//! let env = Env::builder().variable("self", Type::Dyn).build();
//! let program = env.compile("self.replicas < 5 && self.name.startsWith('w')").unwrap();
//! assert_eq!(program.output_type(), &Type::Bool);
//!
//! let object = serde_json::json!({"replicas": 3, "name": "web"});
//! let mut vars = Activation::new();
//! vars.bind("self", Value::json(&object));
//! let mut budget = Budget::per_object();
//! assert!(matches!(program.eval(&vars, &mut budget), Ok(Value::Bool(true))));
//!
//! let errors = env.compile("other == 1").unwrap_err();
//! assert_eq!(
//!     errors.to_string(),
//!     "ERROR: <input>:1:1: undeclared reference to 'other' (in container '')\n | other == 1\n | ^"
//! );
//! ```
//!
//! # Rules over schemas
//!
//! Whoever has a schema implements [`Schema`] for its nodes; [`declare`] makes a [`Decl`] out of it, the
//! type that expressions see (properties by their escaped names, int-or-string as `dyn`, dates and bytes
//! as what they are) with the sizes that estimates need. Then:
//!
//! ```
//! # use isopod_cel::{declare, Activation, Budget, Decl, Env, Schema, Type, Value};
//! # use std::sync::Arc;
//! struct Node { kind: &'static str, properties: Vec<(&'static str, Node)> }
//! impl Schema for Node {
//!     fn kind(&self) -> &str { self.kind }
//!     fn properties(&self) -> Vec<(&str, &dyn Schema)> {
//!         self.properties.iter().map(|(name, node)| (*name, node as &dyn Schema)).collect()
//!     }
//! }
//! let text = Node { kind: "string", properties: vec![] };
//! let schema = Node { kind: "object", properties: vec![("a-b", text)] };
//!
//! let decl: Arc<Decl> = declare(&schema, "self", false).unwrap();
//! let env = Env::builder().declared("self", &decl).build();
//! let rule = env.compile("self.a__dash__b == 'x'").unwrap();
//! assert!(rule.cost_estimate().max < 10_000_000); // the limit for one rule; see `limits`
//!
//! let object = serde_json::json!({"a-b": "x"});
//! let mut vars = Activation::new();
//! vars.bind("self", Value::declared(&object, &decl).unwrap());
//! assert!(matches!(rule.eval(&vars, &mut Budget::per_object()), Ok(Value::Bool(true))));
//! ```
//!
//! * A transition rule mentions `oldSelf`: [`Program::uses`]. Declare it with the same [`Decl`], or with
//!   [`EnvBuilder::declared_optional`] for `optionalOldSelf`; bind it as [`Value::some`] or
//!   `Value::Optional(None)`.
//! * For a rule on the root of a resource pass `root: true` to [`declare`].
//! * A rule below lists or maps is charged once per element: multiply [`Program::cost_estimate`] by
//!   the number of elements that the schema allows.
//! * One [`Budget`] serves all the rules of one object; [`EvalError::kind`] tells a rule that failed from
//!   one that was too expensive.
//!
//! Not here: what becomes of a rule's answer; where schemas and policies come from.

mod ast;
mod check;
mod compare;
mod cost;
mod env;
mod error;
mod escape;
mod eval;
mod library;
mod parse;
mod schema;
mod source;
mod structural;
mod types;
mod value;

pub use cost::{CostEstimate, limits};
pub use env::{Env, EnvBuilder, Program};
pub use error::{EvalError, EvalErrorKind};
pub use escape::escape;
pub use eval::{Activation, Budget};
pub use library::{Authorizer, AuthzCheck, AuthzDecision};
pub use schema::{Decl, ListType, Schema, declare};
pub use source::{CompileError, CompileErrors};
pub use types::{FieldDecl, Fields, ObjectType, Type};
pub use value::{Key, LazyObject, List, Map, Object, Text, Value};
