//! Bundles of trust anchors, and pods' requests for certificates.
//!
//! The form only: signatures, and whether a certificate fits its request, are the signer's business.
//! Not here: certificate signing requests (`registration`).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::at::{At, Faults, IMMUTABLE};
use super::batch::no_value;
use super::{policy, registration};
use crate::names;

const MOST_BUNDLE: usize = 1024 * 1024;
const MOST_KEY: usize = 10 * 1024;
const MOST_CHAIN: usize = 100 * 1024;
const HOUR: i64 = 60 * 60;
const OUTCOMES: [&str; 3] = ["Issued", "Denied", "Failed"];

pub(super) fn bundle(root: &At<'_>, f: &mut Faults) {
    bundle_name(root, f);
    anchors(&root.get("spec.trustBundle"), f);
}

pub(super) fn bundle_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    bundle_name(new, f);
    let (now, was) = (new.get("spec"), old.get("spec"));
    if now.get("trustBundle").value != was.get("trustBundle").value {
        anchors(&now.get("trustBundle"), f);
    }
    now.get("signerName").immutable(f, &was.get("signerName"));
}

/// A signer's bundle is named after it.
fn bundle_name(root: &At<'_>, f: &mut Faults) {
    let (name, signer) = (root.get("metadata.name"), root.get("spec.signerName"));
    let text = name.text();
    let faults = if signer.is_empty() {
        if text.contains(':') {
            vec![
                "ClusterTrustBundle without signer name must not have \":\" in its name".to_owned(),
            ]
        } else {
            names::dns_subdomain(text)
        }
    } else {
        let prefix = signer.text().replace('/', ":") + ":";
        match text.strip_prefix(&prefix) {
            Some(rest) => names::dns_subdomain(rest),
            None => vec![format!(
                "ClusterTrustBundle for signerName {} must be named with prefix {prefix}",
                signer.text()
            )],
        }
    };
    for why in faults {
        name.invalid(f, &why);
    }
    if !signer.is_empty() {
        registration::signer_name(&signer, f);
    }
}

/// Certificates in PEM, each once.
fn anchors(at: &At<'_>, f: &mut Faults) {
    if at.len() > MOST_BUNDLE {
        return at.too_long(f, MOST_BUNDLE);
    }
    let before = f.len();
    let mut seen: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
    let fault = |f: &mut Faults, why: String| at.invalid_as(f, "<value omitted>", &why);
    for (entry, block) in registration::pem(at.text()).into_iter().enumerate() {
        if block.name != "CERTIFICATE" {
            fault(f, format!("entry {entry} has bad block type: {}", block.name));
        } else if block.headers {
            fault(f, format!("entry {entry} has PEM block headers"));
        } else if block.der.first() != Some(&0x30) {
            fault(f, format!("entry {entry} does not parse as X.509"));
        } else {
            seen.entry(block.der).or_default().push(entry);
        }
    }
    if f.len() > before {
        return;
    }
    if seen.is_empty() {
        fault(f, "at least one trust anchor must be provided".to_owned());
    }
    for entries in seen.into_values().filter(|entries| entries.len() > 1) {
        let list: Vec<String> = entries.iter().map(ToString::to_string).collect();
        fault(f, format!("duplicate trust anchor (indices [{}])", list.join(" ")));
    }
}

pub(super) fn request(root: &At<'_>, f: &mut Faults) {
    let spec = root.get("spec");
    registration::signer_name(&spec.get("signerName"), f);
    for (key, _) in spec.get("unverifiedUserAnnotations").entries() {
        let notes = spec.get("unverifiedUserAnnotations");
        for why in names::qualified_name(&key.to_lowercase()) {
            notes.invalid_as(f, key, &why);
        }
    }
    for (name, uid) in [
        ("podName", "podUID"),
        ("serviceAccountName", "serviceAccountUID"),
        ("nodeName", "nodeUID"),
    ] {
        spec.get(name).check(f, names::dns_subdomain);
        let uid = spec.get(uid);
        if uid.is_empty() {
            uid.invalid_as(f, "", "must not be empty");
        }
        if uid.len() > 128 {
            uid.too_long(f, 128);
        }
    }
    let seconds = spec.get("maxExpirationSeconds");
    let Some(given) = seconds.int() else { return seconds.required(f, "must be set") };
    let domain = spec.get("signerName").text().split('/').next().unwrap_or("").to_owned();
    let ours = domain == "kubernetes.io" || domain.ends_with(".kubernetes.io");
    let most = if ours { 24 * HOUR } else { 91 * 24 * HOUR };
    if !(HOUR..=most).contains(&given) {
        seconds.invalid(f, &format!("must be in the range [{HOUR}, {most}]"));
    }
    proof(&spec, f);
}

/// A signing request, or a key with a proof of its possession.
fn proof(spec: &At<'_>, f: &mut Faults) {
    let [stub, key, proof] =
        ["stubPKCS10Request", "pkixPublicKey", "proofOfPossession"].map(|field| spec.get(field));
    match (stub.is_empty(), key.is_empty(), proof.is_empty()) {
        (false, true, true) => {
            let der = STANDARD.decode(stub.text()).unwrap_or_default();
            if der.len() > MOST_KEY {
                stub.too_long(f, MOST_KEY);
            } else if der.first() != Some(&0x30) {
                no_value(&stub, "must be a valid PKCS#10 CSR", f);
            }
        }
        (true, false, false) => {
            for at in [&key, &proof] {
                let der = STANDARD.decode(at.text()).unwrap_or_default();
                if der.len() > MOST_KEY {
                    return at.too_long(f, MOST_KEY);
                }
            }
            let der = STANDARD.decode(key.text()).unwrap_or_default();
            if der.first() != Some(&0x30) {
                key.invalid(f, "must be a valid PKIX-serialized public key");
            }
        }
        _ => no_value(
            spec,
            "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set",
            f,
        ),
    }
}

pub(super) fn request_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    let (now, was) = (new.get("spec"), old.get("spec"));
    if now.value != was.value {
        now.invalid_struct(f, "PodCertificateRequestSpec", IMMUTABLE);
    }
}

pub(super) fn request_status(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    let (status, was) = (new.get("status"), old.get("status"));
    let conditions = status.get("conditions");
    let before = f.len();
    let mut known = 0;
    for (at, condition) in conditions.items().enumerate() {
        // Upstream writes these paths with a dot too many.
        let path = |field: &str| format!("status.conditions.[{at}].{field}");
        let (kind, state) = (condition.get("type"), condition.get("status"));
        if OUTCOMES.contains(&kind.text()) {
            known += 1;
            if known > 1 {
                let why = "There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\"";
                f.push(crate::Cause::invalid(path("type"), kind.value, why));
            }
            if state.text() != "True" {
                f.push(crate::Cause::not_supported(path("status"), state.value, &["True"]));
            }
        } else {
            let cause = crate::Cause::not_supported(path("type"), kind.value, &OUTCOMES);
            f.push(cause);
        }
    }
    policy::conditions(&conditions, f);
    if f.len() > before {
        return;
    }
    let outcome = |status: &At<'_>| {
        let list = status.get("conditions");
        let found = list
            .items()
            .find(|c| OUTCOMES.contains(&c.get("type").text()) && c.get("status").text() == "True");
        found.map(|c| c.get("type").text().to_owned())
    };
    if outcome(&was).is_some() {
        if status.value != was.value {
            no_value(
                &status,
                "immutable after PodCertificateRequest is issued, denied, or failed",
                f,
            );
        }
        return;
    }
    match outcome(&status).as_deref() {
        Some("Issued") => issued(&status, f),
        Some(_) => {
            if status.map().is_some_and(|map| map.keys().any(|key| key != "conditions")) {
                no_value(
                    &status,
                    "non-condition status fields must be empty when denying or failing the PodCertificateRequest",
                    f,
                );
            }
        }
        None => {
            if status.value != was.value {
                no_value(
                    &status,
                    "status is immutable unless transitioning to \"Issued\", \"Denied\", or \"Failed\"",
                    f,
                );
            }
        }
    }
}

/// A chain of certificates, and the times in which it is good.
fn issued(status: &At<'_>, f: &mut Faults) {
    let chain = status.get("certificateChain");
    if chain.len() > MOST_CHAIN {
        return chain.too_long(f, MOST_CHAIN);
    }
    let blocks = registration::pem(chain.text());
    if blocks.is_empty() {
        return chain.invalid_as(
            f,
            chain.text(),
            "issued certificate chain must contain at least one certificate",
        );
    }
    for (at, block) in blocks.iter().enumerate() {
        if block.name != "CERTIFICATE" {
            let why = "issued certificate chain must consist entirely of CERTIFICATE PEM blocks";
            return chain.invalid(f, why);
        }
        if block.der.first() != Some(&0x30) {
            let which = if at == 0 { "leaf" } else { "intermediate" };
            return chain.invalid(f, &format!("{which} certificate does not parse as valid X.509"));
        }
    }
    let stated = "must be present and consistent with the issued certificate";
    for (field, why) in [
        ("notBefore", stated),
        ("notAfter", stated),
        ("beginRefreshAt", "must be present and in the range [notbefore+10min, notafter-10min]"),
    ] {
        if !status.get(field).is_set() {
            status.get(field).required(f, why);
        }
    }
    let time = |field: &str| crate::clock::parse_time(status.get(field).text());
    if let (Some(from), Some(to), Some(refresh)) =
        (time("notBefore"), time("notAfter"), time("beginRefreshAt"))
    {
        let at = status.get("beginRefreshAt");
        if refresh.as_second() < from.as_second() + 600 {
            at.invalid(f, "must be at least 10 minutes after status.notBefore");
        } else if refresh.as_second() > to.as_second() - 600 {
            at.invalid(f, "must be at least 10 minutes before status.notAfter");
        }
    }
}
