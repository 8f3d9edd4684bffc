//! Named formats: `format.dns1123Label().validate(text)`.

use api::names;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Row;
use super::opaque::Opaque;
use super::strings::{text, texts};
use crate::EvalError;
use crate::value::Value;

type Out<'a> = Result<Value<'a>, EvalError>;

pub(super) const ROWS: &[Row] = &[
    ("format-validate", "format|validate(string) optional(list(string))", validate),
    ("format-named", "format.named(string) optional(format)", named),
    ("format.dns1123Label", "format.dns1123Label() format", |_| nth(0)),
    ("format.dns1123Subdomain", "format.dns1123Subdomain() format", |_| nth(1)),
    ("format.dns1035Label", "format.dns1035Label() format", |_| nth(2)),
    ("format.qualifiedName", "format.qualifiedName() format", |_| nth(3)),
    ("format.dns1123LabelPrefix", "format.dns1123LabelPrefix() format", |_| nth(4)),
    ("format.dns1123SubdomainPrefix", "format.dns1123SubdomainPrefix() format", |_| nth(5)),
    ("format.dns1035LabelPrefix", "format.dns1035LabelPrefix() format", |_| nth(6)),
    ("format.labelValue", "format.labelValue() format", |_| nth(7)),
    ("format.uri", "format.uri() format", |_| nth(8)),
    ("format.uuid", "format.uuid() format", |_| nth(9)),
    ("format.byte", "format.byte() format", |_| nth(10)),
    ("format.date", "format.date() format", |_| nth(11)),
    ("format.datetime", "format.datetime() format", |_| nth(12)),
];

/// A named format.
#[derive(Debug)]
pub struct Format {
    /// As `format.named` takes it.
    pub name: &'static str,
    /// How long its regular expression is taken to be, for costs.
    pub cost: u64,
    faults: fn(&str) -> Vec<String>,
}

static FORMATS: [Format; 13] = [
    Format { name: "dns1123Label", cost: 30, faults: |s| all(names::dns_label(s)) },
    Format { name: "dns1123Subdomain", cost: 60, faults: |s| all(names::dns_subdomain(s)) },
    Format { name: "dns1035Label", cost: 30, faults: |s| all(names::dns_1035_label(s)) },
    Format { name: "qualifiedName", cost: 60, faults: |s| all(names::qualified_name(s)) },
    Format {
        name: "dns1123LabelPrefix",
        cost: 30,
        faults: |s| all(names::prefix(s, names::dns_label)),
    },
    Format {
        name: "dns1123SubdomainPrefix",
        cost: 60,
        faults: |s| all(names::prefix(s, names::dns_subdomain)),
    },
    Format {
        name: "dns1035LabelPrefix",
        cost: 30,
        faults: |s| all(names::prefix(s, names::dns_1035_label)),
    },
    Format { name: "labelValue", cost: 40, faults: |s| all(names::label_value(s)) },
    Format {
        name: "uri",
        cost: 1000,
        faults: |s| super::url::parse(s).err().into_iter().collect(),
    },
    Format {
        name: "uuid",
        cost: 120,
        faults: |s| unless(is_uuid(s), "does not match the UUID format"),
    },
    Format { name: "byte", cost: 85, faults: |s| unless(is_base64(s), "invalid base64") },
    Format { name: "date", cost: 130, faults: |s| unless(is_date(s), "invalid date") },
    Format { name: "datetime", cost: 130, faults: |s| unless(is_datetime(s), "invalid datetime") },
];

fn all(faults: impl IntoIterator<Item = impl Into<String>>) -> Vec<String> {
    faults.into_iter().map(Into::into).collect()
}

fn unless(good: bool, fault: &str) -> Vec<String> {
    if good { Vec::new() } else { vec![fault.to_owned()] }
}

fn is_uuid(text: &str) -> bool {
    let hex: String = text.chars().filter(|c| *c != '-').collect();
    let dashes = text.len() - hex.len();
    hex.len() == 32
        && hex.bytes().all(|b| b.is_ascii_hexdigit())
        && (dashes == 0 || [8, 13, 18, 23].iter().all(|at| text.as_bytes()[*at] == b'-'))
        && dashes <= 4
}

fn is_base64(text: &str) -> bool {
    !text.is_empty() && STANDARD.decode(text).is_ok()
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()
}

fn is_datetime(text: &str) -> bool {
    super::convert::parse_timestamp(text).is_some()
}

fn nth<'a>(at: usize) -> Out<'a> {
    Ok(Value::Opaque(Opaque::Format(&FORMATS[at])))
}

fn named<'a>(args: &[Value<'a>]) -> Out<'a> {
    let name = text(args, 0)?;
    Ok(match FORMATS.iter().find(|f| f.name == name) {
        Some(format) => Value::some(Value::Opaque(Opaque::Format(format))),
        None => Value::Optional(None),
    })
}

fn validate<'a>(args: &[Value<'a>]) -> Out<'a> {
    let Value::Opaque(Opaque::Format(format)) = &args[0] else {
        return Err(EvalError::no_such_overload());
    };
    let faults = (format.faults)(text(args, 1)?);
    Ok(if faults.is_empty() { Value::Optional(None) } else { Value::some(texts(faults)) })
}
