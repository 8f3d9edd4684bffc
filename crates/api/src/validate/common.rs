//! Rules that many kinds share: labels, selectors, addresses, paths, and the like.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::at::{At, Faults};
pub(super) use crate::address::{masked, parse_cidr, parse_sloppy};
use crate::names;

/// `metadata.labels` and its like: faults name the map, not the entry.
pub(super) fn labels(at: &At<'_>, f: &mut Faults) {
    for (key, value) in at.map().into_iter().flatten() {
        for why in names::qualified_name(key) {
            at.invalid_as(f, key.as_str(), &why);
        }
        let value = value.as_str().unwrap_or("");
        for why in names::label_value(value) {
            at.invalid_as(f, value, &why);
        }
    }
}

/// Annotations: keys and total size.
pub(super) fn annotations(at: &At<'_>, f: &mut Faults) {
    let mut size = 0;
    for (key, value) in at.map().into_iter().flatten() {
        for why in names::qualified_name(&key.to_lowercase()) {
            at.invalid_as(f, key.as_str(), &why);
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > 256 * 1024 {
        at.too_long(f, 256 * 1024);
    }
}

/// A label selector.
pub(super) fn label_selector(at: &At<'_>, f: &mut Faults) {
    label_selector_with(at, f, false);
}

/// A label selector, whose values may be anything where old objects had such.
pub(super) fn label_selector_with(at: &At<'_>, f: &mut Faults, any_value: bool) {
    labels(&at.get("matchLabels"), f);
    expressions(&at.get("matchExpressions"), any_value, f);
}

/// The requirements of a selector in an access review: of labels, or of fields.
pub(super) fn requirements(list: &At<'_>, labels: bool, f: &mut Faults) {
    const OPERATORS: [&str; 4] = ["In", "NotIn", "Exists", "DoesNotExist"];
    for item in list.items() {
        let (key, values) = (item.get("key"), item.get("values"));
        // An operator of another kind is left out of account, not refused.
        let known = OPERATORS.contains(&item.get("operator").text());
        if !labels && key.is_empty() {
            key.required(f, "must be specified");
        }
        if known {
            operator(&item, &values, f);
        }
        if labels {
            key.qualified(f);
            for value in values.items() {
                value.check(f, names::label_value);
            }
        }
    }
}

fn operator(expression: &At<'_>, values: &At<'_>, f: &mut Faults) {
    match expression.get("operator").text() {
        "In" | "NotIn" if values.is_empty() => {
            values.required(f, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => values
            .forbidden(f, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"),
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => expression.get("operator").invalid_as(f, other, "not a valid selector operator"),
    }
}

fn expressions(list: &At<'_>, any_value: bool, f: &mut Faults) {
    for expression in list.items() {
        let values = expression.get("values");
        operator(&expression, &values, f);
        expression.get("key").qualified(f);
        if !any_value {
            for value in values.items() {
                value.check(f, names::label_value);
            }
        }
    }
}

/// Whether a label selector matches labels.
pub(super) fn selects(selector: &Value, labels: &Value) -> Option<bool> {
    let mut faults = Faults::new();
    label_selector(&At::root(selector), &mut faults);
    if !faults.is_empty() {
        return None;
    }
    let spec: crate::selector::LabelSelectorSpec =
        serde::Deserialize::deserialize(selector).ok()?;
    let selector = spec.selector().ok()?;
    Some(selector.matches_with(|key| labels.get(key).and_then(Value::as_str)))
}

/// Whether a selector has no requirement.
pub(super) fn selects_all(at: &At<'_>) -> bool {
    at.get("matchLabels").is_empty() && at.get("matchExpressions").is_empty()
}

/// No `..` among the parts of a path.
pub(super) fn no_backsteps(at: &At<'_>, f: &mut Faults) {
    if at.text().split('/').any(|part| part == "..") {
        at.invalid_as(f, at.text(), "must not contain '..'");
    }
}

/// A path below some directory.
pub(super) fn descending_path(at: &At<'_>, f: &mut Faults) {
    if at.text().starts_with('/') {
        at.invalid(f, "must be a relative path");
    }
    no_backsteps(at, f);
}

/// A path of a projected file.
pub(super) fn local_path(at: &At<'_>, f: &mut Faults) {
    descending_path(at, f);
    let text = at.text();
    if text.starts_with("..") && !text.starts_with("../") {
        at.invalid(f, "must not start with '..'");
    }
}

/// A port by number or name.
pub(super) fn port_or_name(at: &At<'_>, f: &mut Faults) {
    match at.value {
        Value::String(_) => at.check(f, names::port_name),
        _ => {
            for why in names::port_number(at.number()) {
                at.invalid_as(f, at.number(), &why);
            }
        }
    }
}

/// An address in a form that old fields take: leading zeros are refused, mapped IPv4 is refused.
pub(super) fn legacy_ip(at: &At<'_>, f: &mut Faults) -> Option<IpAddr> {
    let text = at.text();
    match parse_sloppy(text) {
        None => {
            at.invalid_as(f, text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
            None
        }
        Some(ip) => {
            if text.parse::<IpAddr>().is_err() {
                at.invalid_as(f, text, "must not have leading 0s");
            }
            if is_mapped(text) {
                at.invalid_as(f, text, "must not be an IPv4-mapped IPv6 address");
            }
            Some(ip)
        }
    }
}

/// Whether a text is an IPv6 address that stands for one of IPv4.
fn is_mapped(text: &str) -> bool {
    matches!(text.parse(), Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some())
}

/// An address in canonical form.
pub(super) fn canonical_ip(at: &At<'_>, f: &mut Faults) {
    let before = f.len();
    if let (Some(ip), true) = (legacy_ip(at, f), f.len() == before) {
        let canonical = ip.to_string();
        if canonical != at.text() {
            at.invalid_as(
                f,
                at.text(),
                &format!("must be in canonical form ({})", names::quote(&canonical)),
            );
        }
    }
}

/// An address with the length of its network, as an interface has it.
pub(super) fn interface_address(at: &At<'_>, f: &mut Faults) {
    let text = at.text();
    let Some((ip, bits)) = parse_cidr(text) else {
        let why = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
        return at.invalid_as(f, text, why);
    };
    let canonical = format!("{ip}/{bits}");
    if text != canonical {
        at.invalid_as(f, text, &format!("must be in canonical form (\"{canonical}\")"));
    }
}

/// A network in a form that old fields take.
pub(super) fn legacy_cidr(at: &At<'_>, f: &mut Faults) -> Option<(IpAddr, u8)> {
    let text = at.text();
    let Some((ip, bits)) = parse_cidr(text) else {
        at.invalid_as(f, text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        return None;
    };
    let (address, length) = text.split_once('/').unwrap_or((text, ""));
    if address.parse::<IpAddr>().is_err() || (length.len() > 1 && length.starts_with('0')) {
        at.invalid_as(f, text, "must not have leading 0s in IP or prefix length");
    } else if is_mapped(address) {
        at.invalid_as(f, text, "must not have an IPv4-mapped IPv6 address");
    } else if masked(ip, bits) != ip {
        at.invalid_as(f, text, "must not have bits set beyond the prefix length");
    }
    Some((ip, bits))
}

/// A network in canonical form.
pub(super) fn canonical_cidr(at: &At<'_>, f: &mut Faults) {
    let before = f.len();
    if let (Some((ip, bits)), true) = (legacy_cidr(at, f), f.len() == before) {
        let canonical = format!("{}/{bits}", masked(ip, bits));
        if canonical != at.text() {
            at.invalid_as(
                f,
                at.text(),
                &format!("must be in canonical form ({})", names::quote(&canonical)),
            );
        }
    }
}

/// A count or a percentage.
pub(super) fn count_or_percent(at: &At<'_>, f: &mut Faults) {
    match at.value {
        Value::String(text) => {
            if !names::percent(text).is_empty() {
                at.check(f, names::percent);
            }
        }
        _ => {
            if at.number() < 0 {
                at.invalid_as(f, at.number(), super::at::NON_NEGATIVE);
            }
        }
    }
}

/// The percentage, where it is one.
pub(super) fn percent_of(at: &At<'_>) -> Option<i64> {
    let text = at.value.as_str()?;
    text.strip_suffix('%').filter(|_| names::percent(text).is_empty())?.parse().ok()
}

/// At most 100 %.
pub(super) fn at_most_100(at: &At<'_>, f: &mut Faults) {
    if percent_of(at).is_some_and(|p| p > 100) {
        at.invalid(f, "must not be greater than 100%");
    }
}

/// A count or percentage as a number, where it decides whether it is zero.
pub(super) fn is_zero(at: &At<'_>) -> bool {
    // A text that is neither counts for nothing.
    let count = at.int().or_else(|| Some(at.value.as_str()?.parse().unwrap_or(0)));
    percent_of(at).or(count) == Some(0)
}

/// Whether a text came before.
pub(super) fn repeated(seen: &mut BTreeSet<String>, text: &str) -> bool {
    !seen.insert(text.to_owned())
}

/// A name of at least three parts.
pub(super) fn three_part_name(at: &At<'_>, f: &mut Faults) {
    let text = at.text();
    if text.is_empty() {
        at.required(f, "");
        return;
    }
    let faults = names::dns_subdomain(text);
    if !faults.is_empty() {
        at.invalid(f, &faults.join(","));
    } else if text.split('.').count() < 3 {
        at.invalid(f, "should be a domain with at least three segments separated by dots");
    }
}
