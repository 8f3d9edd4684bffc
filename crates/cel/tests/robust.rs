//! Whatever is thrown at it, the crate answers: no panic, no endless loop, no stack exhausted.

#![allow(clippy::unwrap_used)]

use isopod_cel::{Activation, Budget, Env, Type, Value};
use proptest::prelude::*;

fn run(source: &str) {
    let env = Env::builder().variable("self", Type::Dyn).mutation().bindings().build();
    let object = serde_json::json!({"a": [1, 2.5, "x", null], "b": {"c": true}});
    match env.compile(source) {
        Ok(program) => {
            let mut vars = Activation::new();
            vars.bind("self", Value::json(&object));
            let _ = program.eval(&vars, &mut Budget::per_object());
            let _ = program.cost_estimate();
        }
        Err(errors) => assert!(errors.to_string().starts_with("ERROR: <input>:")),
    }
}

#[test]
fn depth_is_bounded() {
    for (open, close) in [("(", ")"), ("[", "]"), ("!", ""), ("-", ""), ("{'a':", "}"), ("f(", ")")]
    {
        run(&format!("{}1{}", open.repeat(5000), close.repeat(5000)));
    }
    for chain in [".a", "[0]", " + 1", " || true", " ? 1 : 2", ".map(x, x)", ".?a", " == 1"] {
        run(&format!("self{}", chain.repeat(5000)));
        run(&format!("{}self{}", "(".repeat(200), format!("{chain})").repeat(200)));
    }
    run(&"x".repeat(200_000));
}

#[test]
fn amplification_is_bounded() {
    let long = "a".repeat(1000);
    let bombs = [
        format!("cel.bind(a, '{long}', {})", "a + ".repeat(300) + "a"),
        "lists.range(100000000)".to_owned(),
        (0..30).fold("[1]".to_owned(), |l, i| format!("cel.bind(x{i}, {l}, x{i} + x{i})")),
        format!("cel.bind(a, '{long}'.replace('a', '{long}'), a.replace('a', a).replace('a', a))"),
        "lists.range(1000).all(a, lists.range(1000).all(b, lists.range(1000).all(c, true)))"
            .to_owned(),
    ];
    for bomb in bombs {
        run(&bomb);
    }
}

const PIECES: [&str; 44] = [
    "self",
    ".a",
    ".b",
    ".c",
    "[0]",
    "['a']",
    "[",
    "]",
    "(",
    ")",
    "{",
    "}",
    ",",
    ":",
    "?",
    ".?a",
    "+",
    "-",
    "*",
    "/",
    "%",
    "==",
    "<",
    ">=",
    "&&",
    "||",
    "!",
    "in",
    "1",
    "2.5",
    "3u",
    "'x'",
    "b'y'",
    "true",
    "null",
    ".all(x,",
    ".map(x,",
    ".filter(x,",
    "has(",
    "x",
    "size(",
    ".startsWith(",
    "Object{a:",
    "duration('1s')",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text(source in "\\PC{0,60}") {
        run(&source);
    }

    #[test]
    fn any_tokens(picks in proptest::collection::vec(0..PIECES.len(), 0..25)) {
        let source: Vec<&str> = picks.iter().map(|at| PIECES[*at]).collect();
        run(&source.join(" "));
    }

    #[test]
    fn whole_numbers_are_exact(a in any::<i64>(), b in any::<i64>()) {
        let env = Env::builder().variable("a", Type::Int).variable("b", Type::Int).build();
        let mut vars = Activation::new();
        vars.bind("a", Value::Int(a));
        vars.bind("b", Value::Int(b));
        let value = |source: &str| {
            let program = env.compile(source).unwrap();
            program.eval(&vars, &mut Budget::per_object()).ok().map(|v| v.to_json().unwrap().as_i64())
        };
        prop_assert_eq!(value("a + b"), a.checked_add(b).map(Some));
        prop_assert_eq!(value("a - b"), a.checked_sub(b).map(Some));
        prop_assert_eq!(value("a * b"), a.checked_mul(b).map(Some));
        prop_assert_eq!(value("a / b"), a.checked_div(b).map(Some));
        prop_assert_eq!(value("a % b"), a.checked_rem(b).map(Some));
        prop_assert_eq!(value("int(string(a))"), Some(Some(a)));
    }

    #[test]
    fn sorting_sorts(items in proptest::collection::vec(any::<i64>(), 0..40)) {
        let env = Env::builder().variable("l", Type::list(Type::Int)).build();
        let json = serde_json::json!(items);
        let mut vars = Activation::new();
        vars.bind("l", Value::json(&json));
        let value = |source: &str| {
            let program = env.compile(source).unwrap();
            program.eval(&vars, &mut Budget::per_object()).unwrap().to_json().unwrap()
        };
        let mut sorted = items.clone();
        sorted.sort_unstable();
        prop_assert_eq!(value("l.sort()"), serde_json::json!(sorted));
        prop_assert_eq!(value("l.sort().isSorted()"), serde_json::json!(true));
        prop_assert_eq!(value("l.map(x, x) == l"), serde_json::json!(true));
        prop_assert_eq!(value("l.filter(x, x > 0).all(x, x > 0)"), serde_json::json!(true));
    }
}
