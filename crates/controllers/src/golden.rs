//! Runs the cases of a controller's `cases.yaml`: objects and a time in, a plan out.
//!
//! `ISOPOD_GOLDEN=print` prints the plans of failing cases instead of comparing. Not here: the cases.

use api::Value;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// One case.
#[derive(Deserialize)]
pub struct Case {
    pub case: String,
    #[serde(default = "midnight")]
    pub now: Timestamp,
    /// The objects by role; what roles there are is the controller's matter.
    pub given: Value,
    /// The plan.
    pub plan: Value,
}

fn midnight() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a time")
}

impl Case {
    /// The object or objects of a role.
    pub fn role<T: DeserializeOwned>(&self, role: &str) -> T {
        let value = self.given.get(role).cloned().unwrap_or(Value::Null);
        serde_json::from_value(value).unwrap_or_else(|e| panic!("{}: {role}: {e}", self.case))
    }

    /// The objects of a role; none where it is not filled.
    pub fn roles<T: DeserializeOwned>(&self, role: &str) -> Vec<T> {
        self.role::<Option<Vec<T>>>(role).unwrap_or_default()
    }
}

/// Plans every case and compares.
pub fn run<P: serde::Serialize>(cases: &str, plan: impl Fn(&Case) -> P) {
    let mut cases: yaml_serde::Value = yaml_serde::from_str(cases).expect("cases are YAML");
    cases.apply_merge().expect("merge keys hold maps");
    let cases: Vec<Case> = yaml_serde::from_value(cases).expect("cases parse");
    let print = std::env::var("ISOPOD_GOLDEN").is_ok_and(|v| v == "print");
    let mut failed = Vec::new();
    for case in &cases {
        let got = serde_json::to_value(plan(case)).expect("plans serialise");
        if got != case.plan {
            let text = yaml_serde::to_string(&got).expect("plans are YAML");
            println!("--- {}\n{text}", case.case);
            failed.push(case.case.as_str());
        }
    }
    assert!(print || failed.is_empty(), "failing cases: {failed:?}");
}
