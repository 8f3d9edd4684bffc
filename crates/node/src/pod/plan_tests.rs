//! Tests of the plan: spec and observation in, next steps out.

use serde_json::{Value, json};

use super::super::view::tests::pod;
use super::*;
use crate::pod::observed::Sandbox;

struct Fixed(Health);

impl Probes for Fixed {
    fn health(&self, _: &str) -> Health {
        self.0
    }
}

const FINE: Health = Health { startup: Some(true), liveness_failed: false };

fn now() -> Timestamp {
    Timestamp::from_second(2_000_000_000).expect("in range")
}

fn sandbox_of(ready: bool) -> Sandbox {
    Sandbox { id: "s".into(), ready, ips: vec!["10.0.0.1".into()], ..Sandbox::default() }
}

fn container(pod: &PodView, name: &str, state: State, exit_code: i32) -> Container {
    Container {
        id: format!("id-{name}"),
        name: name.into(),
        state,
        exit_code,
        finished_at: if state == State::Exited { 1_999_999_990_000_000_000 } else { 0 },
        hash: pod.by_name(name).map(|(_, c)| hash(c)).unwrap_or_default(),
        ..Container::default()
    }
}

fn run(pod: &PodView, containers: &[(&str, State, i32)], health: Health) -> Plan {
    let mut observed = Observed::default();
    observed.put_sandbox(sandbox_of(true));
    for (name, state, code) in containers {
        observed.put_container(container(pod, name, *state, *code));
    }
    let input = Input {
        pod,
        observed: &observed,
        probes: &Fixed(health),
        backoff: &Backoff::default(),
        now: now(),
    };
    plan(&input)
}

fn names(pod: &PodView, plan: &Plan) -> Vec<String> {
    plan.start.iter().map(|s| pod.container(s.at).expect("in the spec").name.clone()).collect()
}

fn spec(policy: &str, init: Value, regular: Value) -> PodView {
    pod(json!({ "metadata": { "name": "p", "uid": "u" },
        "spec": { "restartPolicy": policy, "initContainers": init, "containers": regular } }))
}

fn two(policy: &str) -> PodView {
    spec(policy, json!([]), json!([{ "name": "a", "image": "i" }, { "name": "b", "image": "i" }]))
}

#[test]
fn nothing_yet_asks_for_a_sandbox_only() {
    let pod = two("Always");
    let observed = Observed::default();
    let input = Input {
        pod: &pod,
        observed: &observed,
        probes: &Fixed(FINE),
        backoff: &Backoff::default(),
        now: now(),
    };
    let plan = plan(&input);
    assert_eq!(plan, Plan { create_sandbox: Some(0), ..Plan::default() });
}

#[test]
fn a_dead_sandbox_is_replaced_unless_all_is_done() {
    for (policy, code, again) in
        [("Always", 0, true), ("OnFailure", 0, false), ("OnFailure", 1, true), ("Never", 1, false)]
    {
        let pod = two(policy);
        let mut observed = Observed::default();
        observed.put_sandbox(Sandbox { attempt: 2, ..sandbox_of(false) });
        for name in ["a", "b"] {
            observed.put_container(container(&pod, name, State::Exited, code));
        }
        let input = Input {
            pod: &pod,
            observed: &observed,
            probes: &Fixed(FINE),
            backoff: &Backoff::default(),
            now: now(),
        };
        let plan = plan(&input);
        assert!(!plan.stop_pod, "nothing runs");
        assert_eq!(plan.create_sandbox, again.then_some(3), "{policy} {code}");
        assert_eq!(plan.finished, !again);
        assert!(plan.start.is_empty());
    }
}

#[test]
fn restart_policies() {
    let cases: [(&str, i32, &[&str], bool); 6] = [
        ("Always", 0, &["a"], false),
        ("Always", 1, &["a"], false),
        ("OnFailure", 0, &[], false),
        ("OnFailure", 1, &["a"], false),
        ("Never", 0, &[], false),
        ("Never", 1, &[], false),
    ];
    for (policy, code, expected, stop) in cases {
        let pod = two(policy);
        let plan = run(&pod, &[("a", State::Exited, code), ("b", State::Running, 0)], FINE);
        assert_eq!(names(&pod, &plan), expected, "{policy} {code}");
        assert_eq!(plan.finished, stop);
    }
    let pod = two("Never");
    assert!(run(&pod, &[("a", State::Exited, 0), ("b", State::Exited, 3)], FINE).finished);
}

#[test]
fn a_crashed_container_waits_for_its_back_off() {
    let pod = two("Always");
    let mut observed = Observed::default();
    observed.put_sandbox(sandbox_of(true));
    observed.put_container(container(&pod, "a", State::Exited, 1));
    observed.put_container(container(&pod, "b", State::Running, 0));
    let mut backoff = Backoff::default();
    let key = backoff_key(&pod.containers(Kind::Regular)[0]);
    for _ in 0..2 {
        backoff.next(&key, now(), now());
    }
    let input = Input {
        pod: &pod,
        observed: &observed,
        probes: &Fixed(FINE),
        backoff: &backoff,
        now: now(),
    };
    let plan = plan(&input);
    assert!(plan.start.is_empty() && !plan.finished);
    assert_eq!(plan.wait.len(), 1);
    assert_eq!(plan.wait[0].until.as_second(), 2_000_000_010, "20 s after its end 10 s ago");
}

#[test]
fn init_containers_run_one_after_another() {
    let pod = spec(
        "Always",
        json!([{ "name": "i1", "image": "i" }, { "name": "i2", "image": "i" }]),
        json!([{ "name": "a", "image": "i" }]),
    );
    let steps: [(&[(&str, State, i32)], &[&str]); 6] = [
        (&[], &["i1"]),
        (&[("i1", State::Running, 0)], &[]),
        (&[("i1", State::Exited, 1)], &["i1"]),
        (&[("i1", State::Exited, 0)], &["i2"]),
        (&[("i1", State::Exited, 0), ("i2", State::Exited, 0)], &["a"]),
        (&[("i2", State::Exited, 0), ("a", State::Running, 0)], &[]),
    ];
    for (have, expected) in steps {
        assert_eq!(names(&pod, &run(&pod, have, FINE)), expected, "{have:?}");
    }
}

#[test]
fn a_failed_init_container_ends_a_pod_that_never_restarts() {
    let pod = spec("Never", json!([{ "name": "i1" }]), json!([{ "name": "a" }]));
    let plan = run(&pod, &[("i1", State::Exited, 1)], FINE);
    assert!(plan.finished && plan.start.is_empty());
}

#[test]
fn sidecars_start_in_order_and_stay() {
    let pod = spec(
        "Always",
        json!([{ "name": "s1", "image": "i", "restartPolicy": "Always", "startupProbe": { "tcpSocket": { "port": 1 } } },
               { "name": "i2", "image": "i" }]),
        json!([{ "name": "a", "image": "i" }]),
    );
    let unknown = Health { startup: None, liveness_failed: false };
    assert!(names(&pod, &run(&pod, &[("s1", State::Running, 0)], unknown)).is_empty());
    assert_eq!(names(&pod, &run(&pod, &[("s1", State::Running, 0)], FINE)), ["i2"]);
    let done = [("s1", State::Running, 0), ("i2", State::Exited, 0)];
    assert_eq!(names(&pod, &run(&pod, &done, FINE)), ["a"]);
    let crashed = [("s1", State::Exited, 1), ("i2", State::Exited, 0), ("a", State::Running, 0)];
    assert_eq!(names(&pod, &run(&pod, &crashed, FINE)), ["s1"]);
    let failed = Health { startup: Some(false), liveness_failed: false };
    let plan = run(&pod, &[("s1", State::Running, 0)], failed);
    assert_eq!(plan.kill[0].probe, Some(FailedProbe::Startup));
}

#[test]
fn sidecars_end_with_the_last_regular_container() {
    let pod = spec(
        "Never",
        json!([{ "name": "s1", "restartPolicy": "Always" }]),
        json!([{ "name": "a", "image": "i" }]),
    );
    let plan = run(&pod, &[("s1", State::Exited, 0), ("a", State::Exited, 0)], FINE);
    assert!(plan.finished && plan.start.is_empty());
}

#[test]
fn probes_and_changed_images_kill() {
    let pod = spec("Always", json!([]), json!([{ "name": "a", "image": "i" }]));
    let dead = Health { startup: Some(true), liveness_failed: true };
    let plan = run(&pod, &[("a", State::Running, 0)], dead);
    assert_eq!(plan.kill[0].message, "Container a failed liveness probe, will be restarted");
    assert!(!plan.stop_pod);

    let other = spec("Always", json!([]), json!([{ "name": "a", "image": "j" }]));
    let mut observed = Observed::default();
    observed.put_sandbox(sandbox_of(true));
    observed.put_container(container(&pod, "a", State::Running, 0));
    let input = Input {
        pod: &other,
        observed: &observed,
        probes: &Fixed(FINE),
        backoff: &Backoff::default(),
        now: now(),
    };
    assert_eq!(plan_of(&input), ["Container a definition changed, will be restarted"]);
}

fn plan_of(input: &Input<'_>) -> Vec<String> {
    plan(input).kill.into_iter().map(|k| k.message).collect()
}

#[test]
fn ephemeral_containers_start_beside_the_others() {
    let pod = pod(json!({ "metadata": { "name": "p" }, "spec": {
        "containers": [{ "name": "a", "image": "i" }],
        "ephemeralContainers": [{ "name": "debug", "image": "i", "targetContainerName": "a" }] } }));
    let plan = run(&pod, &[("a", State::Running, 0)], FINE);
    assert_eq!(names(&pod, &plan), ["debug"]);
    assert_eq!(pod.target_of(plan.start[0].at), Some("a"));
    let again = run(&pod, &[("a", State::Running, 0), ("debug", State::Exited, 0)], FINE);
    assert!(again.start.is_empty(), "never restarted");
}
