//! Tests of the status: what is observed in, `status` out.

use super::super::observed::Sandbox;
use super::super::view::tests::pod;
use super::*;

fn make(pod: &PodView, observed: &Observed, ended: bool) -> Map<String, Value> {
    status(&Input {
        pod,
        observed,
        waiting: &HashMap::new(),
        readiness: &|_| Readiness { started: true, ready: true },
        ended,
        verdict: None,
        host_ips: &["192.0.2.1".to_owned()],
        qos: "BestEffort",
        runtime: "containerd",
        now: Timestamp::from_second(1_800_000_000).expect("in range"),
    })
}

fn observed(state: State, exit_code: i32) -> Observed {
    let mut o = Observed::default();
    o.put_sandbox(Sandbox {
        id: "s".into(),
        ready: true,
        ips: vec!["10.1.1.1".into()],
        ..Sandbox::default()
    });
    o.put_container(Container {
        id: "c".into(),
        name: "a".into(),
        state,
        exit_code,
        started_at: 1_700_000_000_000_000_000,
        ..Container::default()
    });
    o
}

fn verdict(status: &Map<String, Value>, kind: &str) -> String {
    let c = condition(status, kind).expect("present");
    format!(
        "{} {}",
        c["status"].as_str().unwrap_or(""),
        c.get("reason").and_then(Value::as_str).unwrap_or("")
    )
}

fn plain(policy: &str) -> PodView {
    pod(json!({ "metadata": { "name": "p", "uid": "u", "generation": 1 },
        "spec": { "restartPolicy": policy, "containers": [{ "name": "a", "image": "i" }] } }))
}

#[test]
fn a_running_pod() {
    let s = make(&plain("Always"), &observed(State::Running, 0), false);
    assert_eq!(s["phase"], "Running");
    assert_eq!(s["podIP"], "10.1.1.1");
    assert_eq!(s["containerStatuses"][0]["containerID"], "containerd://c");
    assert_eq!(s["containerStatuses"][0]["state"]["running"]["startedAt"], "2023-11-14T22:13:20Z");
    for kind in
        ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
    {
        assert_eq!(verdict(&s, kind), "True ", "{kind}");
    }
}

#[test]
fn phases() {
    for (policy, state, code, ended, phase) in [
        ("Always", State::Exited, 0, false, "Running"),
        ("OnFailure", State::Exited, 0, false, "Succeeded"),
        ("OnFailure", State::Exited, 1, false, "Running"),
        ("Never", State::Exited, 0, false, "Succeeded"),
        ("Never", State::Exited, 1, false, "Failed"),
        ("Always", State::Exited, 0, true, "Succeeded"),
        ("Always", State::Exited, 143, true, "Failed"),
        ("Always", State::Created, 0, false, "Pending"),
    ] {
        let s = make(&plain(policy), &observed(state, code), ended);
        assert_eq!(s["phase"], phase, "{policy} {state:?} {code} {ended}");
    }
}

#[test]
fn nothing_is_there_yet() {
    let s = make(&plain("Always"), &Observed::default(), false);
    assert_eq!(s["phase"], "Pending");
    assert_eq!(s["containerStatuses"][0]["state"]["waiting"]["reason"], "ContainerCreating");
    assert_eq!(verdict(&s, "PodReadyToStartContainers"), "False ");
    assert_eq!(verdict(&s, "Ready"), "False ContainersNotReady");
}

#[test]
fn initialization_is_reported() {
    let p = pod(json!({ "metadata": { "name": "p" }, "spec": {
        "initContainers": [{ "name": "i", "image": "i" }], "containers": [{ "name": "a", "image": "i" }] } }));
    let s = make(&p, &Observed::default(), false);
    assert_eq!(verdict(&s, "Initialized"), "False ContainersNotInitialized");
    assert_eq!(s["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
    assert_eq!(s["phase"], "Pending");
}

#[test]
fn a_patch_holds_only_what_changed() {
    let p = plain("Always");
    let before = make(&p, &Observed::default(), false);
    let after = make(&p, &observed(State::Running, 0), false);
    assert_eq!(patch(&after, &after, "u"), None);
    let change = patch(&before, &after, "u").expect("differs");
    assert_eq!(change["metadata"]["uid"], "u");
    assert_eq!(change["status"]["phase"], "Running");
    assert!(change["status"].get("startTime").is_none());
    let kinds: Vec<_> = change["status"]["conditions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|c| &c["type"])
        .collect();
    assert_eq!(kinds, ["PodReadyToStartContainers", "Ready", "ContainersReady"]);
    assert_eq!(change["status"]["conditions"][1]["reason"], Value::Null, "a reason is taken back");
}

#[test]
fn a_crash_loop_shows_the_wait_and_the_last_end() {
    let p = plain("Always");
    let w = Waiting { reason: "CrashLoopBackOff".into(), message: "back-off".into() };
    let observed = observed(State::Exited, 1);
    let waiting = HashMap::from([("a".to_owned(), w)]);
    let s = status(&Input {
        pod: &p,
        observed: &observed,
        waiting: &waiting,
        readiness: &|_| Readiness { started: true, ready: true },
        ended: false,
        verdict: None,
        host_ips: &[],
        qos: "BestEffort",
        runtime: "containerd",
        now: Timestamp::UNIX_EPOCH,
    });
    assert_eq!(s["phase"], "Running");
    assert_eq!(s["containerStatuses"][0]["state"]["waiting"]["reason"], "CrashLoopBackOff");
    assert_eq!(s["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 1);
}
