//! The table of expressions and what becomes of them (`cases.txt`).

#![allow(clippy::unwrap_used)]

use isopod_cel::{Activation, Budget, Env, List, Map, Object, Value};

/// A value as the table writes it.
fn show(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(b) => b.to_string(),
        Value::Int(i) => i.to_string(),
        Value::Uint(u) => u.to_string(),
        Value::Double(d) if d.is_infinite() => if *d > 0.0 { "+Inf" } else { "-Inf" }.into(),
        Value::Double(d) => format!("{d:?}"),
        Value::String(s) => s.to_string(),
        Value::Timestamp(t) => t.to_string(),
        Value::List(list) => show_list(list),
        Value::Map(map) => show_map(map),
        Value::Object(Object::Made(ty, fields)) => {
            let fields: Vec<String> =
                fields.iter().map(|(k, v)| format!("{k}: {}", show(v))).collect();
            format!("{}{{{}}}", ty.name, fields.join(", "))
        }
        other => match other.to_json() {
            Ok(serde_json::Value::String(s)) => s,
            _ => format!("{other:?}"),
        },
    }
}

fn show_list(list: &List<'_>) -> String {
    let items: Vec<String> = list.iter().map(|v| show(&v.unwrap())).collect();
    format!("[{}]", items.join(", "))
}

fn show_map(map: &Map<'_>) -> String {
    let mut entries = Vec::new();
    for key in map.keys() {
        entries.push(format!("{}: {}", show(&key), show(&map.get(&key).unwrap().unwrap())));
    }
    format!("{{{}}}", entries.join(", "))
}

fn outcome(env: &Env, expression: &str) -> String {
    match env.compile(expression) {
        Err(errors) => format!("? {}", errors.errors[0].message),
        Ok(program) => match program.eval(&Activation::new(), &mut Budget::per_object()) {
            Ok(value) => show(&value),
            Err(error) => format!("! {error}"),
        },
    }
}

#[test]
fn expressions_do_as_the_table_says() {
    let env = Env::builder().build();
    let (mut failures, mut rows) = (Vec::new(), 0);
    for line in include_str!("cases.txt").lines() {
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        let (expression, expected) = line.split_once(" => ").expect(line);
        rows += 1;
        let found = outcome(&env, expression);
        if found != expected {
            failures.push(format!("{expression}\n  expected {expected}\n  found    {found}"));
        }
    }
    assert!(rows > 250, "only {rows} rows");
    assert!(failures.is_empty(), "{} of {rows}:\n{}", failures.len(), failures.join("\n"));
}
