//! Declared types: schemas, escaped names, list types, costs and limits.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use isopod_cel::{
    Activation, Budget, CostEstimate, Decl, Env, EvalErrorKind, ListType, Schema, Type, Value,
    declare,
};
use serde_json::{Value as Json, json};

/// A schema as JSON says it.
struct Node<'a>(&'a Json, Vec<(String, Node<'a>)>, Option<Box<Node<'a>>>, Option<Box<Node<'a>>>);

impl<'a> Node<'a> {
    fn new(json: &'a Json) -> Self {
        let properties = json["properties"].as_object().into_iter().flatten();
        let below = |key: &str| json.get(key).map(|of| Box::new(Node::new(of)));
        Self(
            json,
            properties.map(|(name, of)| (name.clone(), Node::new(of))).collect(),
            below("items"),
            below("additionalProperties"),
        )
    }
}

impl Schema for Node<'_> {
    fn kind(&self) -> &str {
        self.0["type"].as_str().unwrap_or("")
    }
    fn format(&self) -> &str {
        self.0["format"].as_str().unwrap_or("")
    }
    fn int_or_string(&self) -> bool {
        self.0["x-kubernetes-int-or-string"] == true
    }
    fn list_type(&self) -> ListType {
        match self.0["x-kubernetes-list-type"].as_str() {
            Some("set") => ListType::Set,
            Some("map") => ListType::Map,
            _ => ListType::Atomic,
        }
    }
    fn list_map_keys(&self) -> Vec<&str> {
        let keys = self.0["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
        keys.filter_map(Json::as_str).collect()
    }
    fn items(&self) -> Option<&dyn Schema> {
        self.2.as_deref().map(|n| n as &dyn Schema)
    }
    fn additional_properties(&self) -> Option<&dyn Schema> {
        self.3.as_deref().map(|n| n as &dyn Schema)
    }
    fn properties(&self) -> Vec<(&str, &dyn Schema)> {
        self.1.iter().map(|(name, n)| (name.as_str(), n as &dyn Schema)).collect()
    }
    fn max_length(&self) -> Option<i64> {
        self.0["maxLength"].as_i64()
    }
    fn max_items(&self) -> Option<i64> {
        self.0["maxItems"].as_i64()
    }
    fn max_properties(&self) -> Option<i64> {
        self.0["maxProperties"].as_i64()
    }
}

fn decl() -> Arc<Decl> {
    let schema = json!({"type": "object", "properties": {
        "x": {"type": "integer"},
        "d": {"type": "number"},
        "s": {"type": "string", "maxLength": 20},
        "u": {"type": "array", "items": {"type": "string"}},
        "l": {"type": "array", "maxItems": 5, "items": {"type": "string", "maxLength": 9}},
        "set": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object",
                "properties": {"k": {"type": "string"}, "v": {"type": "integer"}}}},
        "m": {"type": "object", "maxProperties": 5, "additionalProperties": {"type": "string", "maxLength": 9}},
        "p": {"x-kubernetes-int-or-string": true},
        "a-b": {"type": "integer"},
        "namespace": {"type": "string"},
        "t": {"type": "string", "format": "date-time"},
        "day": {"type": "string", "format": "date"},
        "bytes": {"type": "string", "format": "byte"},
        "span": {"type": "string", "format": "duration"},
        "unknown": {"x-kubernetes-preserve-unknown-fields": true},
    }});
    declare(&Node::new(&schema), "selfType", false).unwrap()
}

fn object() -> Json {
    json!({
        "x": 3, "d": 2, "s": "abc", "l": ["a", "b"], "m": {"must": "x"}, "p": "50%",
        "set": ["a", "b"], "map": [{"k": "a", "v": 1}, {"k": "b", "v": 2}],
        "a-b": 1, "namespace": "n", "t": "2020-01-01T00:00:00Z", "day": "2020-01-02",
        "bytes": "YWJj", "span": "1h", "unknown": {"q": 1}, "undeclared": 5,
    })
}

fn outcome(expression: &str) -> String {
    let decl = decl();
    let env = Env::builder().declared("self", &decl).build();
    let object = object();
    match env.compile(expression) {
        Err(errors) => format!("? {}", errors.errors[0].message),
        Ok(program) => {
            let mut vars = Activation::new();
            vars.bind("self", Value::declared(&object, &decl).unwrap());
            match program.eval(&vars, &mut Budget::per_object()) {
                Ok(value) => value.to_json().unwrap().to_string(),
                Err(error) => format!("! {error}"),
            }
        }
    }
}

#[test]
fn fields_have_their_declared_types() {
    let rows = [
        ("self.x + 1", "4"),
        ("self.d", "2.0"),
        ("self.x == 'a'", "? found no matching overload for '_==_' applied to '(int, string)'"),
        ("self.p == '50%' && type(self.p) == string", "true"),
        ("self.a__dash__b == 1 && self.__namespace__ == 'n'", "true"),
        ("self.namespace", "? undefined field 'namespace'"),
        ("self.undeclared", "? undefined field 'undeclared'"),
        ("self.unknown", "? undefined field 'unknown'"),
        ("self.t.getFullYear()", "2020"),
        ("self.day == timestamp('2020-01-02T00:00:00Z')", "true"),
        ("string(self.bytes)", "\"abc\""),
        ("self.span == duration('60m')", "true"),
        ("has(self.u)", "false"),
        ("has(self.x)", "true"),
        ("self.u.size()", "! no such key: u"),
        ("self.m.all(k, self.m[k] != '') && 'must' in self.m", "true"),
        ("self.m.must", "\"x\""),
        ("self.?u.orValue(['z'])", "[\"z\"]"),
        ("self.set == ['b', 'a']", "true"),
        ("self.l == ['b', 'a']", "false"),
        ("self.set + ['b', 'c']", "[\"a\",\"b\",\"c\"]"),
        ("self.map.map(e, e.v).sum()", "3"),
        ("self.map[0].k.startsWith('a')", "true"),
        ("type(self.x) == int", "true"),
        ("self == self", "true"),
        ("self.map.exists_one(e, e.k == 'a')", "true"),
        ("self.s.find('b')", "\"b\""),
    ];
    for (expression, expected) in rows {
        assert_eq!(outcome(expression), expected, "{expression}");
    }
}

#[test]
fn resources_show_their_names() {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object"}}});
    let decl = declare(&Node::new(&schema), "selfType", true).unwrap();
    let env = Env::builder().declared("self", &decl).build();
    assert!(env.compile("self.metadata.name.startsWith('w') && self.kind != ''").is_ok());
    let errors = env.compile("self.metadata.labels").unwrap_err().to_string();
    assert_eq!(
        errors,
        "ERROR: <input>:1:14: undefined field 'labels'\n | self.metadata.labels\n | .............^"
    );
}

fn estimate(expression: &str) -> CostEstimate {
    let env = Env::builder().declared("self", &decl()).build();
    env.compile(expression).expect(expression).cost_estimate()
}

#[test]
fn estimates_follow_the_declared_sizes() {
    let rows = [
        ("true", 0, 0),
        ("self.x > 0", 3, 3),
        // Two selections, an identifier twice, and the shorter text at most.
        ("self.s == self.s", 5, 12),
        ("self.s.startsWith('abc')", 3, 3),
        ("self.s.matches('^[a-z]*$')", 4, 20),
        ("has(self.x)", 1, 1),
        ("size(self.l)", 3, 3),
        ("[1, 2, 3]", 10, 10),
        ("{'a': 1}", 30, 30),
        ("'a' in self.l", 2, 7),
        ("self.l.all(a, a != 'b')", 3, 3 + 5 * 5),
    ];
    for (expression, min, max) in rows {
        assert_eq!(estimate(expression), CostEstimate { min, max }, "{expression}");
    }
    // Three loops over a list without a bound.
    let rule = "self.u.all(a, self.u.all(b, self.u.all(c, a + b == c)))";
    assert!(estimate(rule).max > 100 * 10_000_000);
    assert!(estimate("self.l.all(a, self.l.all(b, self.l.all(c, a + b == c)))").max < 10_000_000);
}

#[test]
fn evaluation_is_charged_and_stopped() {
    let env = Env::builder().variable("self", Type::Dyn).build();
    let items: Vec<Json> = (0..2000).map(Json::from).collect();
    let object = Json::from(items);
    let mut vars = Activation::new();
    vars.bind("self", Value::json(&object));

    let mut budget = Budget::per_object();
    let one = env.compile("self[0] == 0").unwrap();
    one.eval(&vars, &mut budget).unwrap();
    // The list, its index, and the comparison.
    assert_eq!(budget.left(), 10_000_000 - 3);

    let nested = env.compile("self.all(a, self.all(b, a + b >= 0))").unwrap();
    let error = nested.eval(&vars, &mut budget).unwrap_err();
    assert_eq!(error.kind(), EvalErrorKind::CallCost);
    assert_eq!(error.to_string(), "operation cancelled: actual cost limit exceeded");
    // An expression cannot swallow that.
    let hidden = env.compile("true || false || self.all(a, self.all(b, a + b >= 0))").unwrap();
    assert!(hidden.eval(&vars, &mut Budget::per_object()).is_ok());
    let hidden = env.compile("self.all(a, self.all(b, a + b >= 0)) || true").unwrap();
    assert!(hidden.eval(&vars, &mut Budget::per_object()).is_err());

    let mut small = Budget::new(2);
    let error = one.eval(&vars, &mut small).unwrap_err();
    assert_eq!(error.kind(), EvalErrorKind::Budget);
}

#[test]
fn mutations_name_objects_by_their_path() {
    let env = Env::builder().variable("object", Type::Dyn).mutation().build();
    let run = |expression: &str| match env.compile(expression) {
        Err(errors) => format!("? {}", errors.errors[0].message),
        Ok(program) => match program.eval(&Activation::new(), &mut Budget::per_object()) {
            Ok(value) => value.to_json().unwrap().to_string(),
            Err(error) => format!("! {error}"),
        },
    };
    assert_eq!(
        run("Object{metadata: Object.metadata{labels: {'a': 'b'}}}"),
        r#"{"metadata":{"labels":{"a":"b"}}}"#
    );
    assert_eq!(
        run("Object{spec: Object.spec{list: [Object.spec.list.item{x: 1}]}}"),
        "! type mismatch: unexpected type name \"Object.spec.list.item\", expected \"Object.spec.list\", which matches field name path from root Object type"
    );
    assert_eq!(
        run("[JSONPatch{op: 'add', path: '/a', value: 1}]"),
        r#"[{"op":"add","path":"/a","value":1}]"#
    );
    assert_eq!(
        run("JSONPatch{op: 1}"),
        "? expected type of field 'op' is 'string' but provided type is 'int'"
    );
    assert_eq!(run("JSONPatch{foo: 1}"), "? undefined field 'foo'");
    let program = env.compile("[JSONPatch{op: 'add', path: '/a'}]").unwrap();
    assert_eq!(program.output_type().to_string(), "list(JSONPatch)");
    assert_eq!(env.compile("Object{}").unwrap().output_type().to_string(), "Object");
}

#[test]
fn bindings_only_where_they_are_switched_on() {
    let env = Env::builder().bindings().build();
    let program = env.compile("cel.bind(x, 'a' + 'b', x + x)").unwrap();
    let value = program.eval(&Activation::new(), &mut Budget::per_object()).unwrap();
    assert_eq!(value.to_json().unwrap(), json!("abab"));
}
