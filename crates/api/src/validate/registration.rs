//! Events, API services and certificate requests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::at::{At, Faults, IMMUTABLE};
use crate::names;

/// An event of the core group.
pub(super) fn core_event(root: &At<'_>, f: &mut Faults) {
    event(root, ["involvedObject", "reportingComponent"], f);
}

/// An event of the events group; faults have the names of the core group, as upstream's do.
pub(super) fn new_event(root: &At<'_>, f: &mut Faults) {
    event(root, ["regarding", "reportingController"], f);
    series(root, f);
    root.get("eventTime").need(f);
    let kind = root.get("type");
    if !["Normal", "Warning"].contains(&kind.text()) {
        kind.invalid_as(f, "", &format!("has invalid value: {}", kind.text()));
    }
    for (field, name) in [
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
    ] {
        if root.get(field).is_set() && root.get(field).int() != Some(0) {
            root.get(name).invalid_as(f, "", "needs to be unset");
        }
    }
    let source = root.get("deprecatedSource");
    if !source.get("component").is_empty() || !source.get("host").is_empty() {
        root.get("source").invalid_as(f, "", "needs to be unset");
    }
}

/// Not a struct: a text, which prints even where there is none.
const TEXT: &str = "text";

pub(super) fn new_event_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    event(new, ["regarding", "reportingController"], f);
    if new.get("series").value != old.get("series").value {
        series(new, f);
    }
    for (field, name, of) in [
        ("regarding", "involvedObject", "ObjectReference"),
        ("reason", "reason", TEXT),
        ("note", "message", TEXT),
        ("deprecatedSource", "source", "EventSource"),
        ("deprecatedFirstTimestamp", "firstTimestamp", ""),
        ("deprecatedLastTimestamp", "lastTimestamp", ""),
        ("deprecatedCount", "count", ""),
        ("type", "type", TEXT),
        ("eventTime", "eventTime", ""),
        ("action", "action", TEXT),
        ("related", "related", "ObjectReference"),
        ("reportingController", "reportingController", TEXT),
        ("reportingInstance", "reportingInstance", TEXT),
    ] {
        let (now, was) = (new.get(field), old.get(field));
        if now.value != was.value && !(now.is_empty() && was.is_empty()) {
            let at = new.get(name);
            // Upstream compares a reason twice.
            for _ in 0..if name == "reason" { 2 } else { 1 } {
                match of {
                    TEXT => at.invalid_as(f, now.text(), IMMUTABLE),
                    _ => at.with(now.value).invalid_struct(f, of, IMMUTABLE),
                }
            }
        }
    }
}

fn series(root: &At<'_>, f: &mut Faults) {
    let series = root.get("series");
    if series.is_set() {
        if series.get("count").number() < 2 {
            series.get("count").invalid_as(f, "", "should be at least 2");
        }
        series.get("lastObservedTime").need(f);
    }
}

fn event(root: &At<'_>, [object, reporter]: [&str; 2], f: &mut Faults) {
    let own = root.get("metadata.namespace");
    let other = root.get(object);
    let other = other.get("namespace");
    let new_form = root.get("eventTime").is_set();
    let matches = match (other.text(), own.text()) {
        ("", "default") => true,
        ("", "kube-system") => new_form,
        ("", own) => own.is_empty() && !new_form,
        (other, own) => new_form || other == own,
    };
    if !matches {
        root.get("involvedObject.namespace").invalid_as(
            f,
            other.text(),
            "does not match event.namespace",
        );
    }
    if new_form {
        root.get(reporter).need(f);
        root.get(reporter).qualified(f);
        for (field, limit) in [("reportingInstance", 128), ("action", 128), ("reason", 128)] {
            let at = root.get(field);
            at.need(f);
            too_long(&at, at.len(), limit, f);
        }
        let length = root.get("message").len() + root.get("note").len();
        too_long(&root.get("message"), length, 1024, f);
    }
    for why in names::dns_subdomain(own.text()) {
        root.get("namespace").invalid_as(f, own.text(), &why);
    }
}

fn too_long(at: &At<'_>, length: usize, limit: usize, f: &mut Faults) {
    if length > limit {
        at.invalid_as(f, "", &format!("can have at most {limit} characters"));
    }
}

pub(super) fn api_service(root: &At<'_>, f: &mut Faults) {
    let spec = root.get("spec");
    let (group, version) = (spec.get("group"), spec.get("version"));
    let wanted = format!("{}.{}", version.text(), group.text());
    let why = format!("must be `spec.version+\".\"+spec.group`: {}", names::quote(&wanted));
    // Names that cannot be part of a path are refused for that alone.
    let wrong = |at: &At<'_>| {
        !at.is_empty() && at.text() != wanted && names::path_segment(at.text()).is_empty()
    };
    for at in [root.get("metadata.generateName"), root.get("metadata.name")] {
        if wrong(&at) {
            at.invalid(f, &why);
        }
    }
    if group.is_empty() {
        if version.text() != "v1" {
            group.required(f, "only v1 may have an empty group and it better be legacy kube");
        }
    } else {
        group.check(f, names::dns_subdomain);
    }
    version.check(f, names::dns_1035_label);
    let order = spec.get("groupPriorityMinimum");
    if !(1..=20_000).contains(&order.number()) {
        order.invalid_as(f, order.number(), "must be positive and less than 20000");
    }
    let order = spec.get("versionPriority");
    if !(1..=1000).contains(&order.number()) {
        order.invalid_as(f, order.number(), "must be positive and less than 1000");
    }
    let (service, bundle) = (spec.get("service"), spec.get("caBundle"));
    let unverified = spec.get("insecureSkipTLSVerify");
    if !service.is_set() {
        if !bundle.is_empty() {
            bundle.invalid_as(
                f,
                format!("{} bytes", bundle.len() / 4 * 3),
                "local APIServices may not have a caBundle",
            );
        }
        if unverified.is_true() {
            unverified.invalid(f, "local APIServices may not have insecureSkipTLSVerify");
        }
        return;
    }
    service.get("namespace").need(f);
    service.get("name").need(f);
    let port = service.get("port");
    if port.is_set() {
        for why in names::port_number(port.number()) {
            port.invalid(f, &format!("port is not valid: {why}"));
        }
    }
    if unverified.is_true() && !bundle.is_empty() {
        unverified.invalid(f, "may not be true if caBundle is present");
    }
}

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// What is wrong with a request in PEM. Whether its signature is good is the signer's business.
fn request_fault(text: &str) -> Option<&'static str> {
    let bytes = STANDARD.decode(text).unwrap_or_default();
    match pem(&String::from_utf8_lossy(&bytes)).first() {
        Some(block) if block.name == "CERTIFICATE REQUEST" => {
            (block.der.first() != Some(&0x30)).then_some("asn1: syntax error: sequence truncated")
        }
        _ => Some("PEM block type must be CERTIFICATE REQUEST"),
    }
}

/// A certificate signing request.
pub(super) fn signing_request(root: &At<'_>, f: &mut Faults) {
    let spec = root.get("spec");
    spec_of_request(&spec, f);
    conditions(&root.get("status.conditions"), f);
}

fn spec_of_request(spec: &At<'_>, f: &mut Faults) {
    let request = spec.get("request");
    if let Some(why) = request_fault(request.text()) {
        request.invalid(f, why);
    }
    let usages = spec.get("usages");
    usages.need(f);
    for usage in usages.items() {
        usage.one_of(f, &USAGES);
    }
    let mut seen = std::collections::BTreeSet::new();
    for usage in usages.items() {
        if !seen.insert(usage.text().to_owned()) {
            usage.duplicate(f);
        }
    }
    let signer = spec.get("signerName");
    if signer.text() == "kubernetes.io/legacy-unknown" {
        signer.invalid(f, "the legacy signerName is not allowed via this API version");
    } else {
        signer_name(&signer, f);
    }
    let seconds = spec.get("expirationSeconds");
    if seconds.int().is_some_and(|s| s < 600) {
        seconds.invalid(f, "may not specify a duration less than 600 seconds (10 minutes)");
    }
}

/// `example.com/path`.
pub(super) fn signer_name(at: &At<'_>, f: &mut Faults) {
    let text = at.text();
    if text.is_empty() {
        at.required(f, "");
        return;
    }
    let parts: Vec<&str> = text.split('/').collect();
    let [domain, path] = parts[..] else {
        at.invalid(
            f,
            "must be a fully qualified domain and path of the form 'example.com/signer-name'",
        );
        return;
    };
    if domain.len() > 253 {
        at.too_long(f, 253);
    }
    signer_part(at, domain, names::dns_label, f);
    if domain.split('.').count() < 2 {
        at.invalid_as(f, domain, "should be a domain with at least two segments separated by dots");
    }
    signer_part(at, path, names::dns_subdomain, f);
    if text.len() > 571 {
        at.too_long(f, 571);
    }
}

/// Labels between dots; the first bad one is told.
fn signer_part(at: &At<'_>, part: &str, rule: fn(&str) -> names::Faults, f: &mut Faults) {
    let bad = part.split('.').map(|label| (label, rule(label))).find(|(_, why)| !why.is_empty());
    for (label, why) in
        bad.into_iter().flat_map(|(label, all)| all.into_iter().map(move |why| (label, why)))
    {
        at.invalid_as(f, part, &format!("validating label {}: {why}", names::quote(label)));
    }
}

fn conditions(list: &At<'_>, f: &mut Faults) {
    let (mut approved, mut denied) = (false, false);
    let mut seen = std::collections::BTreeSet::new();
    for condition in list.items() {
        let (kind, status) = (condition.get("type"), condition.get("status"));
        kind.need(f);
        let decided = ["Approved", "Denied", "Failed"].contains(&kind.text());
        let allowed: &[&str] = if decided { &["True"] } else { &["False", "True", "Unknown"] };
        status.need_one_of(f, allowed);
        approved |= kind.text() == "Approved";
        denied |= kind.text() == "Denied";
        if ["Approved", "Denied"].contains(&kind.text()) && approved && denied {
            list.invalid_as(
                f,
                kind.text(),
                "Approved and Denied conditions are mutually exclusive",
            );
        }
        if !seen.insert(kind.text().to_owned()) {
            kind.duplicate(f);
        }
    }
}

/// A signed certificate: PEM blocks of certificates and nothing else. What was stored stays good.
fn certificate(at: &At<'_>, old: &At<'_>, f: &mut Faults) {
    let decode = |text: &str| STANDARD.decode(text).ok();
    let Some(bytes) = decode(at.text()).filter(|b| !b.is_empty() && at.text() != old.text()) else {
        return;
    };
    let blocks = pem(&String::from_utf8_lossy(&bytes));
    let wrong = blocks.iter().find_map(|block| match block {
        block if block.name != "CERTIFICATE" => Some(format!(
            "only CERTIFICATE PEM blocks are allowed, found {}",
            names::quote(&block.name)
        )),
        block if block.headers => Some("no PEM block headers are permitted".to_owned()),
        // A certificate is a sequence; whether it is a good one is the signer's business.
        block if block.der.first() != Some(&0x30) => Some("x509: malformed certificate".to_owned()),
        _ => None,
    });
    let none = || "must contain at least one CERTIFICATE PEM block".to_owned();
    if let Some(why) = wrong.or_else(|| blocks.is_empty().then(none)) {
        at.invalid_as(f, "<certificate data>", &why);
    }
}

/// A block of a PEM text.
pub(super) struct Pem {
    pub name: String,
    pub headers: bool,
    pub der: Vec<u8>,
}

/// The blocks of a PEM text; what is between them, or cannot be read, does not count.
pub(super) fn pem(text: &str) -> Vec<Pem> {
    const BEGIN: &str = "-----BEGIN ";
    let (mut blocks, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(BEGIN) {
        rest = &rest[at + BEGIN.len()..];
        let Some((name, body)) = rest.split_once("-----") else { break };
        let Some((body, after)) = body.split_once(&format!("-----END {name}-----")) else {
            continue;
        };
        let (headers, lines): (Vec<&str>, Vec<&str>) =
            body.lines().partition(|line| line.contains(':'));
        let packed: String = lines.concat().split_whitespace().collect();
        let Ok(der) = STANDARD.decode(packed) else { continue };
        blocks.push(Pem { name: name.to_owned(), headers: !headers.is_empty(), der });
        rest = after;
    }
    blocks
}

/// How many conditions of a type an object has, and whether they are the same as another's.
fn of_type(root: &At<'_>, kind: &str) -> Vec<serde_json::Value> {
    let list = root.get("status.conditions");
    list.items().filter(|c| c.get("type").text() == kind).map(|c| c.value.clone()).collect()
}

/// What may change where: approval conditions by `approval`, the certificate by `status`.
fn request_update(new: &At<'_>, old: &At<'_>, approving: bool, signing: bool, f: &mut Faults) {
    signing_request(new, f);
    certificate(&new.get("status.certificate"), &old.get("status.certificate"), f);
    let conditions = new.get("status.conditions");
    for kind in ["Approved", "Denied", "Failed"] {
        let (now, was) = (of_type(new, kind), of_type(old, kind));
        let why = if now.len() < was.len() {
            "remove"
        } else if approving || kind == "Failed" || now == was {
            continue;
        } else if now.len() > was.len() {
            "add"
        } else {
            "modify"
        };
        conditions.forbidden(f, &format!("updates may not {why} a condition of type \"{kind}\""));
    }
    let (now, was) = (new.get("status.certificate"), old.get("status.certificate"));
    if now.text() != was.text() {
        if !signing {
            now.forbidden(f, "updates may not set certificate content");
        } else if !was.is_empty() {
            now.forbidden(f, "updates may not modify existing certificate content");
        }
    }
}

pub(super) fn signing_request_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    request_update(new, old, false, false, f);
}

pub(super) fn signing_request_status(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    request_update(new, old, false, true, f);
}

pub(super) fn signing_request_approval(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    request_update(new, old, true, false, f);
}
