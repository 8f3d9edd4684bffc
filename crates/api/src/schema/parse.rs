//! Reads the text of the schema table.
//!
//! The text is checked in and covered by tests: a line that cannot be read is a fault of the build,
//! so it panics.

use std::collections::HashMap;

use super::{
    Field, FieldType, Gvk, ListKind, PatchStrategy, ProtoItem, ProtoWhat, Table, Type, TypeRef,
};

pub(super) fn table(text: &'static str) -> Table {
    let names = names(text);
    let by_name: HashMap<&'static str, u16> =
        names.iter().enumerate().map(|(at, name)| (*name, at as u16)).collect();
    let mut types: Vec<Type> = Vec::with_capacity(names.len());
    let mut package = "";
    let mut fields = Vec::new();
    for line in text.lines() {
        match line.as_bytes().first() {
            None | Some(b'#') => {}
            Some(b'P') if line.starts_with("P ") => package = &line[2..],
            Some(b'T') if line.starts_with("T ") => {
                finish(&mut types, &mut fields);
                types.push(head(names[types.len()], &line[2..]));
            }
            Some(_) => fields.push(field(package, line, &by_name)),
        }
    }
    finish(&mut types, &mut fields);
    let mut by_gvk = HashMap::new();
    for (at, ty) in types.iter().enumerate() {
        match &ty.gvk {
            Gvk::None => {}
            Gvk::All => {
                by_gvk.insert(("*", "*", ty.short()), at as u16);
            }
            Gvk::Of(list) => by_gvk.extend(list.iter().map(|gvk| (*gvk, at as u16))),
        }
    }
    Table { types, by_name, by_gvk }
}

/// Full names in the order of the text. They are made once and live as long as the program.
fn names(text: &'static str) -> Vec<&'static str> {
    let mut package = "";
    let mut spans = Vec::new();
    let mut joined = String::with_capacity(48 * 1024);
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("P ") {
            package = name;
        } else if let Some(rest) = line.strip_prefix("T ") {
            let short = rest.split(' ').next().unwrap_or(rest);
            let start = joined.len();
            joined.push_str(package);
            joined.push('.');
            joined.push_str(short);
            spans.push(start..joined.len());
        }
    }
    let joined: &'static str = Box::leak(joined.into_boxed_str());
    spans.into_iter().map(|span| &joined[span]).collect()
}

fn head(name: &'static str, line: &'static str) -> Type {
    let mut ty = Type {
        name,
        fields: Box::default(),
        atomic: false,
        gvk: Gvk::None,
        unions: None,
        heads: Box::default(),
        always: Box::default(),
        proto: Box::default(),
    };
    for word in line.split(' ').skip(1) {
        match word.split_once('=') {
            Some(("gvk", "all")) => ty.gvk = Gvk::All,
            Some(("gvk", list)) => {
                let triple = |text: &'static str| {
                    let mut parts = text.split('/');
                    let mut next = || parts.next().unwrap_or("");
                    (next(), next(), next())
                };
                ty.gvk = Gvk::Of(list.split(',').map(triple).collect());
            }
            Some(("map", kind)) => ty.atomic = kind == "atomic",
            Some(("unions", json)) => ty.unions = Some(json),
            _ => panic!("schema table: {line}"),
        }
    }
    ty
}

fn field(package: &str, line: &'static str, by_name: &HashMap<&str, u16>) -> Field {
    let mut words = line.split(' ');
    let (Some(name), Some(code)) = (words.next(), words.next()) else {
        panic!("schema table: {line}")
    };
    let mut field = Field {
        name,
        ty: code_type(package, code, by_name),
        proto: Box::default(),
        presence: false,
        keep_empty: false,
        nested: false,
        omit_zero: false,
        required: false,
        list: ListKind::Unset,
        list_keys: Box::default(),
        map_atomic: None,
        patch: PatchStrategy::default(),
        merge_key: None,
        default: None,
        zero_default: false,
        bare: false,
        wrapped: false,
        go: None,
    };
    for word in words {
        match word.split_once('=') {
            Some(("", path)) => {
                field.proto = path.split('/').map(|n| n.parse().unwrap_or(0)).collect();
            }
            Some(("list", kind)) => {
                field.list = match kind {
                    "set" => ListKind::Set,
                    "map" => ListKind::Map,
                    _ => ListKind::Atomic,
                };
            }
            Some(("keys", keys)) => field.list_keys = keys.split(',').collect(),
            Some(("map", kind)) => field.map_atomic = Some(kind == "atomic"),
            Some(("patch", strategy)) => {
                for part in strategy.split(',') {
                    field.patch.merge |= part == "merge";
                    field.patch.replace |= part == "replace";
                    field.patch.retain_keys |= part == "retainKeys";
                }
            }
            Some(("merge", key)) => field.merge_key = Some(key),
            Some(("default", json)) => field.default = Some(json),
            Some(("go", name)) => field.go = Some(name),
            Some(_) => panic!("schema table: {line}"),
            None => {
                for flag in word.chars() {
                    match flag {
                        '*' => field.presence = true,
                        '!' => field.keep_empty = true,
                        '~' => field.nested = true,
                        '?' => field.omit_zero = true,
                        '+' => field.required = true,
                        '^' => field.wrapped = true,
                        '-' => field.bare = true,
                        '0' => field.zero_default = true,
                        _ => panic!("schema table: {line}"),
                    }
                }
            }
        }
    }
    field
}

fn code_type(package: &str, code: &str, by_name: &HashMap<&str, u16>) -> FieldType {
    let reference = |name: &str| match by_name.get(name) {
        Some(at) => FieldType::Ref(TypeRef(*at)),
        None => panic!("schema table: no type {name}"),
    };
    if let Some(item) = code.strip_prefix("[]") {
        return FieldType::List(Box::new(code_type(package, item, by_name)));
    }
    if let Some(item) = code.strip_prefix("{}") {
        return FieldType::Map(Box::new(code_type(package, item, by_name)));
    }
    if let Some(short) = code.strip_prefix('.') {
        return reference(&format!("{package}.{short}"));
    }
    if let Some(name) = code.strip_prefix('&') {
        return reference(name);
    }
    match code {
        "s" => FieldType::String,
        "i" => FieldType::Int32,
        "l" => FieldType::Int64,
        "d" => FieldType::Double,
        "b" => FieldType::Bool,
        "y" => FieldType::Bytes,
        "t" => FieldType::Time,
        "m" => FieldType::MicroTime,
        "q" => FieldType::Quantity,
        "x" => FieldType::IntOrString,
        "r" => FieldType::Raw,
        "v" => FieldType::FieldSet,
        "j" => FieldType::Json,
        "B" => FieldType::SchemaOrBool,
        "A" => FieldType::SchemaOrArray,
        "S" => FieldType::SchemaOrStrings,
        _ => panic!("schema table: no type code {code}"),
    }
}

/// Completes the last type with the fields read for it.
fn finish(types: &mut [Type], fields: &mut Vec<Field>) {
    let Some(ty) = types.last_mut() else { return };
    fields.sort_by_key(|f| f.name);
    ty.fields = std::mem::take(fields).into_boxed_slice();
    ty.heads = ty.fields.iter().map(|f| super::head(f.name)).collect();
    ty.always =
        (0..ty.fields.len() as u16).filter(|at| ty.fields[usize::from(*at)].is_always()).collect();
    let mut items = Vec::new();
    for (at, field) in ty.fields.iter().enumerate() {
        if !field.proto.is_empty() {
            place(&mut items, &field.proto, at as u16);
        }
    }
    sort(&mut items);
    ty.proto = items.into_boxed_slice();
}

fn place(items: &mut Vec<ProtoItem>, path: &[u32], field: u16) {
    let [number, rest @ ..] = path else { return };
    if rest.is_empty() {
        items.push(ProtoItem { number: *number, what: ProtoWhat::Field(field) });
        return;
    }
    let at = items.iter().position(|item| item.number == *number).unwrap_or_else(|| {
        items.push(ProtoItem { number: *number, what: ProtoWhat::Inline(Vec::new()) });
        items.len() - 1
    });
    if let ProtoWhat::Inline(inner) = &mut items[at].what {
        place(inner, rest, field);
    }
}

fn sort(items: &mut [ProtoItem]) {
    items.sort_by_key(|item| item.number);
    for item in items {
        if let ProtoWhat::Inline(inner) = &mut item.what {
            sort(inner);
        }
    }
}
