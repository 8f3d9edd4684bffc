//! Jobs and cron jobs.

use std::collections::BTreeSet;

use serde_json::Value;

use super::at::{At, Faults, IMMUTABLE};
use super::{common, cron, network, pod};
use crate::names;

pub(super) fn job(root: &At<'_>, f: &mut Faults) {
    let spec = root.get("spec");
    generated_selector(root, f);
    job_rules(&spec, f);
    let (count, name) = (spec.get("completions").number(), root.get("metadata.name"));
    if spec.get("completionMode").text() == "Indexed" && count > 0 {
        let last = format!("{}-{}", name.text(), count - 1);
        if !names::dns_label(&last).is_empty() {
            name.invalid_as(
                f,
                name.text(),
                &format!("will not able to create pod with invalid DNS label: {last}"),
            );
        }
    }
}

/// The labels and the selector that the server itself made.
fn generated_selector(root: &At<'_>, f: &mut Faults) {
    let spec = root.get("spec");
    let selector = spec.get("selector");
    if spec.get("manualSelector").is_true() || !selector.is_set() {
        return;
    }
    let (name, uid) = (root.get("metadata.name"), root.get("metadata.uid"));
    let meta = spec.get("template.metadata");
    let labels = meta.get("labels");
    for (key, value) in [
        ("controller-uid", &uid),
        ("job-name", &name),
        ("batch.kubernetes.io/controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
    ] {
        let label = labels.key(key);
        if !label.is_set() {
            label.required(f, &format!("must be '{}'", value.text()));
        } else if label.text() != value.text() {
            label.invalid_as(f, labels.value.clone(), &format!("must be '{}'", value.text()));
        }
    }
    let made = serde_json::json!({
        "controller-uid": uid.value, "job-name": name.value,
        "batch.kubernetes.io/controller-uid": uid.value, "batch.kubernetes.io/job-name": name.value,
    });
    if common::selects(selector.value, &made) == Some(false) {
        selector.invalid_struct(f, "LabelSelector", "`selector` not auto-generated");
    }
}

/// A job's own spec.
fn job_rules(spec: &At<'_>, f: &mut Faults) {
    template_rules(spec, f);
    let selector = spec.get("selector");
    if selector.is_set() {
        common::label_selector(&selector, f);
    } else {
        selector.required(f, "");
    }
    let labels = spec.get("template.metadata.labels");
    if !selector.is_set() || common::selects(selector.value, labels.value) == Some(false) {
        labels.invalid(f, "`selector` does not match template `labels`");
    }
}

/// What jobs share with the templates of cron jobs.
fn template_rules(spec: &At<'_>, f: &mut Faults) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        spec.get(field).non_negative(f);
    }
    let (per_index, most_failed) = (spec.get("backoffLimitPerIndex"), spec.get("maxFailedIndexes"));
    if most_failed.is_set() && !per_index.is_set() {
        per_index.required(f, "when maxFailedIndexes is specified");
    }
    managed_by(&spec.get("managedBy"), f);
    let mode = spec.get("completionMode");
    mode.one_of_if_set(f, &["NonIndexed", "Indexed"]);
    if mode.text() == "Indexed" {
        indexed(spec, f);
    } else if !mode.is_set() || mode.text() == "NonIndexed" {
        for at in [&per_index, &most_failed] {
            if at.is_set() {
                at.invalid(f, "requires indexed completion mode");
            }
        }
    }
    let failure = spec.get("podFailurePolicy");
    if failure.is_set() {
        failure_policy(spec, &failure, f);
    }
    let success = spec.get("successPolicy");
    if success.is_set() {
        if mode.text() == "Indexed" {
            success_policy(spec, &success, f);
        } else {
            success_shown(&success, f);
        }
    }
    let replacement = spec.get("podReplacementPolicy");
    if replacement.is_set() {
        let supported: &[&str] =
            if failure.is_set() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
        replacement.one_of(f, supported);
    }
    pod::template(&spec.get("template"), f);
    let restart = spec.get("template.spec.restartPolicy");
    match restart.text() {
        "" | "Always" => restart.required(f, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if failure.is_set() => {
            restart.invalid(f, "only \"Never\" is supported when podFailurePolicy is specified");
        }
        "OnFailure" | "Never" => {}
        _ => restart.unsupported(f, &["OnFailure", "Never"]),
    }
}

/// Upstream shows its own struct.
fn success_shown(at: &At<'_>, f: &mut Faults) {
    let rules: Vec<String> = at
        .get("rules")
        .items()
        .map(|r| {
            format!(
                "{{\"SucceededIndexes\":{},\"SucceededCount\":{}}}",
                r.get("succeededIndexes").value,
                r.get("succeededCount").value
            )
        })
        .collect();
    let text = format!(
        "Invalid value: {{\"Rules\":[{}]}}: requires indexed completion mode",
        rules.join(",")
    );
    f.push(crate::Cause::new(crate::CauseReason::Invalid, at.path(), text));
}

fn managed_by(at: &At<'_>, f: &mut Faults) {
    if at.is_set() {
        network::domain_path(at, f);
    }
    if at.len() > 63 {
        at.too_long(f, 63);
    }
}

fn indexed(spec: &At<'_>, f: &mut Faults) {
    let (completions, parallelism) = (spec.get("completions"), spec.get("parallelism"));
    let most_failed = spec.get("maxFailedIndexes");
    if !completions.is_set() {
        completions.required(f, "when completion mode is Indexed");
    }
    if parallelism.number() > 100_000 {
        parallelism
            .invalid(f, "must be less than or equal to 100000 when completion mode is Indexed");
    }
    if let (Some(all), Some(failed)) = (completions.int(), most_failed.int())
        && failed > all
    {
        most_failed.invalid(f, "must be less than or equal to completions");
    }
    if most_failed.number() > 100_000 {
        most_failed.invalid(f, "must be less than or equal to 100000");
    }
    if completions.number() > 100_000 && spec.get("backoffLimitPerIndex").is_set() {
        if !most_failed.is_set() {
            most_failed.required(f, "must be specified when completions is above 100000");
        }
        let why = "must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index";
        for at in [&parallelism, &most_failed] {
            if at.number() > 10_000 {
                at.invalid(f, why);
            }
        }
    }
}

fn failure_policy(spec: &At<'_>, at: &At<'_>, f: &mut Faults) {
    const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];
    let rules = at.get("rules");
    if rules.len() > 20 {
        rules.too_many(f, 20);
    }
    for rule in rules.items() {
        let action = rule.get("action");
        match action.text() {
            "" => {
                action.required(f, "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]")
            }
            "FailIndex" => {
                if !spec.get("backoffLimitPerIndex").is_set() {
                    action.invalid(f, "requires the backoffLimitPerIndex to be set");
                }
            }
            _ => action.one_of(f, ACTIONS),
        }
        let (codes, conditions) = (rule.get("onExitCodes"), rule.get("onPodConditions"));
        if codes.is_set() {
            exit_codes(spec, &codes, f);
        }
        if conditions.len() > 20 {
            conditions.too_many(f, 20);
        }
        for pattern in conditions.items() {
            pattern.get("type").qualified(f);
            let status = pattern.get("status");
            if status.is_empty() {
                status.required(f, "valid values: [\"False\" \"True\" \"Unknown\"]");
            } else {
                status.one_of(f, &["False", "True", "Unknown"]);
            }
        }
        let both = codes.is_set() && !conditions.is_empty();
        if both {
            no_value(&rule, "specifying both OnExitCodes and OnPodConditions is not supported", f);
        }
        if !codes.is_set() && conditions.is_empty() {
            no_value(&rule, "specifying one of OnExitCodes and OnPodConditions is required", f);
        }
    }
}

/// Invalid without a value in the message.
pub(super) fn no_value(at: &At<'_>, why: &str, f: &mut Faults) {
    f.push(crate::Cause::new(
        crate::CauseReason::Invalid,
        at.path(),
        format!("Invalid value: {why}"),
    ));
}

fn exit_codes(spec: &At<'_>, at: &At<'_>, f: &mut Faults) {
    let (operator, container, values) =
        (at.get("operator"), at.get("containerName"), at.get("values"));
    if operator.is_empty() {
        operator.required(f, "valid values: [\"In\" \"NotIn\"]");
    } else {
        operator.one_of(f, &["In", "NotIn"]);
    }
    let known = ["containers", "initContainers"].iter().any(|list| {
        spec.get("template.spec").get(list).items().any(|c| c.get("name").value == container.value)
    });
    if container.is_set() && !known {
        container
            .invalid(f, "must be one of the container or initContainer names in the pod template");
    }
    if values.is_empty() {
        values.invalid(f, "at least one value is required");
    } else if values.len() > 255 {
        values.too_many(f, 255);
    }
    let (mut seen, mut last, mut ordered) = (BTreeSet::new(), i64::MIN, true);
    for value in values.items() {
        let n = value.number();
        if operator.text() == "In" && n == 0 {
            value.invalid(f, "must not be 0 for the In operator");
        }
        if !seen.insert(n) {
            value.duplicate(f);
        }
        ordered &= last <= n;
        last = n;
    }
    if !ordered {
        values.invalid(f, "must be ordered");
    }
}

fn success_policy(spec: &At<'_>, at: &At<'_>, f: &mut Faults) {
    let rules = at.get("rules");
    if rules.is_empty() {
        rules.required(
            f,
            "at least one rules must be specified when the successPolicy is specified",
        );
    }
    if rules.len() > 20 {
        rules.too_many(f, 20);
    }
    let all = spec.get("completions").number();
    for rule in rules.items() {
        let (count, indexes) = (rule.get("succeededCount"), rule.get("succeededIndexes"));
        if !count.is_set() && !indexes.is_set() {
            rule.required(
                f,
                "at least one of succeededCount or succeededIndexes must be specified",
            );
        }
        let mut total = None;
        if indexes.is_set() {
            if indexes.len() > 64 * 1024 {
                indexes.too_long(f, 64 * 1024);
            }
            match count_indexes(indexes.text(), all) {
                Ok(n) => total = Some(n),
                Err(why) => {
                    total = Some(0);
                    indexes.invalid(f, &format!("error parsing succeededIndexes: {why}"));
                }
            }
        }
        if let Some(n) = count.int() {
            count.non_negative(f);
            if n > all {
                count.invalid(
                    f,
                    &format!(
                        "must be less than or equal to {all} (the number of specified completions)"
                    ),
                );
            }
            if let Some(total) = total.filter(|t| n > *t) {
                count.invalid(f, &format!("must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"));
            }
        }
    }
}

/// How many indexes `0,2-4` names.
pub(super) fn count_indexes(text: &str, completions: i64) -> Result<i64, String> {
    let (mut last, mut total) = (None, 0);
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (x, y) = interval(part, completions)?;
        if let Some(last) = last.filter(|l| *l >= x) {
            return Err(format!("non-increasing order, previous: {last}, current: {x}"));
        }
        total += y - x + 1;
        last = Some(y);
    }
    Ok(total)
}

/// `3`, or `2-4`.
pub(super) fn interval(text: &str, completions: i64) -> Result<(i64, i64), String> {
    let mut parts = text.split('-');
    let (first, second, third) = (parts.next().unwrap_or(""), parts.next(), parts.next());
    if third.is_some() {
        return Err(format!(
            "the fragment {} violates the requirement that an index interval can have at most two parts separated by '-'",
            names::quote(text)
        ));
    }
    let read = |text: &str| {
        let number: i64 = text.parse().map_err(|_| {
            format!("cannot convert string to integer for index: {}", names::quote(text))
        })?;
        if number >= completions {
            return Err(format!("too large index: {}", names::quote(text)));
        }
        Ok(number)
    };
    let x = read(first)?;
    let y = second.map_or(Ok(x), read)?;
    if second.is_some() && x >= y {
        return Err(format!("non-increasing order, previous: {x}, current: {y}"));
    }
    Ok((x, y))
}

pub(super) fn job_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    let (spec, was) = (new.get("spec"), old.get("spec"));
    // Upstream looks twice.
    job(new, f);
    job_rules(&spec, f);
    let completions = spec.get("completions");
    if spec.get("completionMode").text() != "Indexed" {
        completions.immutable(f, &was.get("completions"));
    } else if completions.value != was.get("completions").value
        && completions.is_set()
        && completions.value != spec.get("parallelism").value
    {
        completions.invalid(f, "can only be modified in tandem with spec.parallelism");
    }
    spec.get("selector").immutable_struct(f, &was.get("selector"), "LabelSelector");
    template_update(&spec, &was, new, old, f);
    spec.get("completionMode").immutable(f, &was.get("completionMode"));
    for (field, of) in [
        ("podFailurePolicy", "PodFailurePolicy"),
        ("backoffLimitPerIndex", ""),
        ("managedBy", ""),
        ("successPolicy", "SuccessPolicy"),
    ] {
        spec.get(field).immutable_struct(f, &was.get(field), of);
    }
}

/// Where pods go may change until the job first starts.
fn template_update(spec: &At<'_>, was: &At<'_>, _new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    let template = spec.get("template");
    let mut before = was.get("template").value.clone();
    let suspended = was.get("suspend").is_true();
    if suspended && !old.get("status.startTime").is_set() {
        let copy = |into: &mut Value, parent: &str, fields: &[&str]| {
            let Some(map) = into.get_mut(parent).and_then(Value::as_object_mut) else { return };
            for field in fields {
                match template.get(parent).value.get(field) {
                    Some(value) => map.insert((*field).to_owned(), value.clone()),
                    None => map.remove(*field),
                };
            }
        };
        copy(&mut before, "metadata", &["annotations", "labels"]);
        copy(&mut before, "spec", &["nodeSelector", "tolerations", "schedulingGates"]);
        node_affinity(&template.get("spec.affinity"), &mut before);
        for list in ["containers", "initContainers"] {
            let now = template.get("spec").get(list).value.clone();
            let before =
                before.get_mut("spec").and_then(|s| s.get_mut(list)).and_then(Value::as_array_mut);
            let same_length =
                before.as_ref().map(|list| list.len()) == now.as_array().map(Vec::len);
            for (into, from) in before
                .into_iter()
                .flatten()
                .zip(now.as_array().into_iter().flatten())
                .filter(|(into, from)| same_length && into.get("name") == from.get("name"))
            {
                into["resources"] = from.get("resources").cloned().unwrap_or(Value::Null);
            }
        }
        // Of what waits, only the spec is compared.
        let spec = template.get("spec");
        if Some(spec.value) != before.get("spec") {
            spec.invalid_struct(f, "PodSpec", IMMUTABLE);
        }
    } else if template.value != &before {
        template.invalid_struct(f, "PodTemplateSpec", IMMUTABLE);
    }
}

/// Takes over the affinity to nodes, and no other.
fn node_affinity(now: &At<'_>, template: &mut Value) {
    let Some(spec) = template.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let wanted = now.get("nodeAffinity");
    if !now.is_set() && !spec.contains_key("affinity") {
        return;
    }
    let Some(affinity) = spec
        .entry("affinity")
        .or_insert_with(|| Value::Object(serde_json::Map::new()))
        .as_object_mut()
    else {
        return;
    };
    if wanted.is_set() {
        affinity.insert("nodeAffinity".to_owned(), wanted.value.clone());
    } else {
        affinity.remove("nodeAffinity");
    }
    if affinity.is_empty() && !now.is_set() {
        spec.remove("affinity");
    }
}

pub(super) fn cron_job(root: &At<'_>, f: &mut Faults) {
    cron_spec(&root.get("spec"), None, f);
    let name = root.get("metadata.name");
    if name.len() > 52 {
        name.invalid(f, "must be no more than 52 characters");
    }
}

pub(super) fn cron_job_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    cron_spec(&new.get("spec"), Some(&old.get("spec")), f);
}

fn cron_spec(spec: &At<'_>, old: Option<&At<'_>>, f: &mut Faults) {
    let (schedule, zone) = (spec.get("schedule"), spec.get("timeZone"));
    if schedule.is_empty() {
        schedule.required(f, "");
    } else {
        if let Err(why) = cron::check(schedule.text()) {
            schedule.invalid(f, &why);
        }
        let had = old.is_some_and(|o| o.get("schedule").text().contains("TZ"));
        if schedule.text().contains("TZ") {
            if !had {
                schedule
                    .invalid(f, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
            } else if zone.is_set() {
                schedule.invalid(f, "cannot use both timeZone field and TZ or CRON_TZ in schedule");
            }
        }
    }
    spec.get("startingDeadlineSeconds").non_negative(f);
    if old.is_none_or(|o| o.get("timeZone").value != zone.value) {
        time_zone(&zone, f);
    }
    spec.get("concurrencyPolicy").need_one_of(f, &["Allow", "Forbid", "Replace"]);
    let job = spec.get("jobTemplate.spec");
    template_rules(&job, f);
    if job.get("selector").is_set() {
        let why = "`selector` will be auto-generated";
        job.get("selector").invalid_struct(f, "LabelSelector", why);
    }
    if job.get("manualSelector").is_true() {
        job.get("manualSelector").unsupported(f, &["nil", "false"]);
    }
    spec.get("successfulJobsHistoryLimit").non_negative(f);
    spec.get("failedJobsHistoryLimit").non_negative(f);
}

fn time_zone(at: &At<'_>, f: &mut Faults) {
    if !at.is_set() {
        return;
    }
    let text = at.text();
    if text.is_empty() {
        return at.invalid(f, "timeZone must be nil or non-empty string");
    }
    let part = |p: &str| {
        !matches!(p, "." | ".." | "")
            && !p.starts_with('-')
            && p.len() <= 14
            && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+".contains(&b))
    };
    if !text.split('/').all(part) {
        return at.invalid(f, &format!("unknown time zone {text}"));
    }
    if text.eq_ignore_ascii_case("local") {
        at.invalid(
            f,
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        );
    }
    if !cron::is_time_zone(text) && text != "Local" {
        at.invalid(f, &format!("unknown time zone {text}"));
    }
}
