//! All the faults of syntax in an expression, as upstream tells them. Not here: expressions that can be
//! read (`cases`).

#![allow(clippy::unwrap_used)]

use isopod_cel::Env;

/// What may begin an expression, as messages list it.
const START: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

/// The column of each fault and what is said there.
const ROWS: &[(&str, &[&str])] = &[
    ("1 + + 2", &["5 extraneous input '+' expecting START"]),
    (
        "1 + ) + (",
        &["5 mismatched input ')' expecting START", "10 mismatched input '<EOF>' expecting START"],
    ),
    ("object.", &["8 no viable alternative at input '.'"]),
    ("object..a", &["8 no viable alternative at input '..'"]),
    (
        "object.in",
        &["8 no viable alternative at input '.in'", "10 mismatched input '<EOF>' expecting START"],
    ),
    ("o.map(x y)", &["9 extraneous input 'y' expecting ')'"]),
    ("!", &["2 extraneous input '<EOF>' expecting START"]),
    ("--", &["3 no viable alternative at input '-'", "3 mismatched input '<EOF>' expecting START"]),
    (
        "'a' + \"\\d\"",
        &[
            "7 token recognition error at: '\"\\d'",
            "10 token recognition error at: '\"'",
            "11 mismatched input '<EOF>' expecting START",
        ],
    ),
    ("[1,,2]", &["4 mismatched input ',' expecting ']'"]),
    (
        "true ? : 2",
        &["8 extraneous input ':' expecting START", "11 mismatched input '<EOF>' expecting ':'"],
    ),
    (
        "? 1 : 2",
        &["1 extraneous input '?' expecting START", "5 mismatched input ':' expecting <EOF>"],
    ),
    (
        "|| ",
        &["1 mismatched input '||' expecting START", "4 mismatched input '<EOF>' expecting START"],
    ),
    ("{1 2}", &["4 missing ':' at '2'"]),
    (
        "(1 + ) * (2 + )",
        &["6 mismatched input ')' expecting START", "15 mismatched input ')' expecting START"],
    ),
    ("true && && false", &["9 extraneous input '&&' expecting START"]),
    (
        "replicas = 1",
        &["10 token recognition error at: '= '", "12 extraneous input '1' expecting <EOF>"],
    ),
    (
        "1 @ 2 # 3",
        &[
            "3 token recognition error at: '@'",
            "5 mismatched input '2' expecting <EOF>",
            "7 token recognition error at: '#'",
        ],
    ),
    ("`a`", &["1 mismatched input '`a`' expecting START"]),
];

#[test]
fn every_fault_is_told() {
    let env = Env::builder().build();
    for (expression, expected) in ROWS {
        let faults = env.compile(expression).unwrap_err();
        let told: Vec<String> = faults
            .errors
            .iter()
            .filter_map(|fault| {
                let what = fault.message.strip_prefix("Syntax error: ")?;
                Some(format!("{} {}", fault.offset + 1, what.replace(START, "START")))
            })
            .collect();
        assert_eq!(told, *expected, "{expression}");
    }
}

#[test]
fn going_on_has_an_end() {
    let env = Env::builder().build();
    for part in ["+ ) ", "( . ", "[ } ", "? : ", "{ , ", "- ! ", ". . "] {
        let faults = env.compile(&part.repeat(10_000)).unwrap_err();
        assert!(faults.errors.len() < 100, "{part}: {}", faults.errors.len());
    }
}
