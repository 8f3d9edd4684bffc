//! The status of a job: what may stand together, and what may not be taken back.
//!
//! Most rules hold only where what they look at changes, so that a status that broke one earlier can
//! still be written. Not here: the spec (`batch`).

use std::collections::BTreeSet;

use super::at::{At, Faults, IMMUTABLE};
use super::batch::{count_indexes, interval, no_value};

fn is_true(status: &At<'_>, kind: &str) -> bool {
    has(status, kind, "True")
}

fn has(status: &At<'_>, kind: &str, state: &str) -> bool {
    status
        .get("conditions")
        .items()
        .any(|c| c.get("type").text() == kind && c.get("status").text() == state)
}

/// The conditions of a status that rules speak of.
struct Conditions {
    complete: bool,
    failed: bool,
    target: bool,
    met: bool,
}

impl Conditions {
    fn of(status: &At<'_>) -> Self {
        Self {
            complete: is_true(status, "Complete"),
            failed: is_true(status, "Failed"),
            target: is_true(status, "FailureTarget"),
            met: is_true(status, "SuccessCriteriaMet"),
        }
    }

    fn finished(&self) -> bool {
        self.complete || self.failed
    }
}

pub(super) fn job_status(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    let (status, was) = (new.get("status"), old.get("status"));
    for field in ["active", "succeeded", "failed", "ready", "terminating"] {
        status.get(field).non_negative(f);
    }
    uncounted(&status.get("uncountedTerminatedPods"), f);
    let (now, before) = (Conditions::of(&status), Conditions::of(&was));
    let changed = |field: &str| status.get(field).value != was.get(field).value;
    let conditions = status.get("conditions");
    let failed_changed = now.failed != before.failed;
    let complete_changed = now.complete != before.complete;
    let finished_changed = now.finished() != before.finished();

    if (complete_changed || failed_changed) && now.complete && now.failed {
        no_value(&conditions, "cannot set Complete=True and Failed=true conditions", f);
    }
    if (complete_changed || now.target != before.target) && now.complete && now.target {
        no_value(&conditions, "cannot set Complete=True and FailureTarget=true conditions", f);
    }
    times(&status, &now, complete_changed, &changed, f);
    if (failed_changed || changed("failedIndexes")) && now.failed && !now.target {
        let why = "cannot set Failed=True condition without the FailureTarget=true condition";
        no_value(&conditions, why, f);
    }
    if (complete_changed || now.met != before.met) && now.complete && !now.met {
        let why =
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
        no_value(&conditions, why, f);
    }
    let active = status.get("active");
    if (finished_changed || changed("active")) && now.finished() && active.number() > 0 {
        active.invalid(f, "active>0 is invalid for finished job");
    }
    let start = status.get("startTime");
    let idle = new.get("spec.suspend").is_true() && new.get("spec.completions").int() == Some(0);
    if (finished_changed || changed("startTime")) && !idle && now.finished() && !start.is_set() {
        start.required(f, "startTime is required for finished job");
    }
    let pods = status.get("uncountedTerminatedPods");
    if (finished_changed || changed("uncountedTerminatedPods"))
        && now.finished()
        && pods.get("failed").len() + pods.get("succeeded").len() > 0
    {
        pods.invalid_struct(f, "UncountedTerminatedPods", "must be empty for finished job");
    }
    indexes(new, &changed, f);
    let terminating = status.get("terminating");
    if (finished_changed || changed("terminating")) && now.finished() && terminating.number() > 0 {
        terminating.invalid(f, "terminating>0 is invalid for finished job");
    }
    let ready = status.get("ready");
    if (changed("ready") || changed("active"))
        && ready.int().is_some_and(|ready| ready > active.number())
    {
        ready.invalid(f, "cannot set more ready pods than active");
    }
    if now.met && now.failed {
        no_value(&conditions, "cannot set SuccessCriteriaMet=True and Failed=true conditions", f);
    }
    if now.met && now.target {
        let why = "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions";
        no_value(&conditions, why, f);
    }
    if new.get("spec.successPolicy").is_set() && !now.met && now.complete {
        let why =
            "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
        no_value(&conditions, why, f);
    }
    taken_back(new, &status, &was, f);
    if before.met && !now.met {
        no_value(&conditions, "cannot disable the SuccessCriteriaMet=True condition", f);
    }
    if before.complete && !before.met && now.met {
        let why = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        no_value(&conditions, why, f);
    }
}

/// Pods that ended and are not counted yet: each once.
fn uncounted(pods: &At<'_>, f: &mut Faults) {
    let mut seen = BTreeSet::new();
    for list in ["succeeded", "failed"] {
        for uid in pods.get(list).items() {
            if uid.is_empty() {
                uid.invalid_as(f, "", "must not be empty");
            } else if !seen.insert(uid.text().to_owned()) {
                uid.duplicate(f);
            }
        }
    }
}

fn times(
    status: &At<'_>,
    now: &Conditions,
    complete_changed: bool,
    changed: &impl Fn(&str) -> bool,
    f: &mut Faults,
) {
    let (start, end) = (status.get("startTime"), status.get("completionTime"));
    if complete_changed || changed("completionTime") {
        if end.is_set() && !now.complete {
            end.invalid(f, "cannot set completionTime when there is no Complete=True condition");
        }
        if !end.is_set() && now.complete {
            end.required(f, "completionTime is required for Complete jobs");
        }
    }
    if (changed("startTime") || changed("completionTime"))
        && let (Some(a), Some(b)) =
            (crate::clock::parse_time(start.text()), crate::clock::parse_time(end.text()))
        && b < a
    {
        end.invalid(f, "must be equal to or after `startTime`");
    }
}

/// The indexes that succeeded and that failed.
fn indexes(job: &At<'_>, changed: &impl Fn(&str) -> bool, f: &mut Faults) {
    let (spec, status) = (job.get("spec"), job.get("status"));
    let (done, failed) = (status.get("completedIndexes"), status.get("failedIndexes"));
    let completions = spec.get("completions").int();
    let per_index = spec.get("backoffLimitPerIndex").is_set();
    if let (true, Some(all)) = (changed("completedIndexes"), completions)
        && let Err(why) = count_indexes(done.text(), all)
    {
        done.invalid_as(f, done.text(), &format!("error parsing completedIndexes: {why}"));
    }
    if let (true, Some(all)) =
        (changed("failedIndexes") && per_index && failed.is_set(), completions)
        && let Err(why) = count_indexes(failed.text(), all)
    {
        failed.invalid(f, &format!("error parsing failedIndexes: {why}"));
    }
    let indexed = spec.get("completionMode").text() == "Indexed";
    if changed("completedIndexes") && !done.is_empty() && !indexed {
        done.invalid(f, "cannot set non-empty completedIndexes when non-indexed completion mode");
    }
    if changed("failedIndexes") && !per_index && failed.is_set() {
        failed.invalid(f, "cannot set non-null failedIndexes when backoffLimitPerIndex is null");
    }
    if let (true, Some(all)) =
        (changed("failedIndexes") || changed("completedIndexes"), completions)
        && let Some(at) = overlap(done.text(), failed.text(), all)
    {
        let why = format!("failedIndexes and completedIndexes overlap at index: {at}");
        failed.invalid(f, &why);
    }
}

/// The first index that two lists of intervals share. Intervals that cannot be read are passed over.
fn overlap(done: &str, failed: &str, completions: i64) -> Option<i64> {
    let read = |text: &str| -> Vec<(i64, i64)> {
        text.split(',').filter_map(|part| interval(part, completions).ok()).collect()
    };
    let (done, failed) = (read(done), read(failed));
    let (mut i, mut j) = (0, 0);
    while let (Some(a), Some(b)) = (done.get(i), failed.get(j)) {
        if a.0 <= b.1 && b.0 <= a.1 {
            return Some(a.0.max(b.0));
        }
        if a.0 <= b.0 {
            i += 1;
        } else {
            j += 1;
        }
    }
    None
}

/// What once is said stays said.
fn taken_back(new: &At<'_>, status: &At<'_>, was: &At<'_>, f: &mut Faults) {
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if is_true(was, kind) && !is_true(status, kind) {
            let why = format!("cannot disable the terminal {kind}=True condition");
            no_value(&status.get("conditions"), &why, f);
        }
    }
    let spec = new.get("spec");
    // An indexed job that is as wide as it is long may be scaled down.
    let scalable = spec.get("completionMode").text() == "Indexed"
        && spec.get("completions").value == spec.get("parallelism").value;
    for (field, fixed) in [("failed", true), ("succeeded", !scalable)] {
        let at = status.get(field);
        if fixed && at.number() < was.get(field).number() {
            at.invalid_as(f, at.number(), &format!("cannot decrease the {field} counter"));
        }
    }
    let (end, ended) = (status.get("completionTime"), was.get("completionTime"));
    if end.is_set() && ended.is_set() && end.value != ended.value {
        end.invalid(f, IMMUTABLE);
    }
    let (start, had) = (status.get("startTime"), was.get("startTime"));
    let resuming = is_true(was, "Suspended") && has(status, "Suspended", "False");
    if had.is_set() && had.value != start.value && !resuming && !spec.get("suspend").is_true() {
        start.invalid(f, "field is immutable for unsuspended job once set");
    }
}
