//! Whether a namespace needs its default service account.
//!
//! Pure. Not here: requests.

use api::resource::SERVICE_ACCOUNTS;
use serde_json::json;

use crate::action::{Action, Plan};

/// The account of pods that name none.
pub const DEFAULT: &str = "default";

/// Plans for a namespace, which is active or not, and has the account or not.
pub fn plan(namespace: &str, active: bool, there: bool) -> Plan {
    let mut plan = Plan::default();
    if active && !there {
        plan.push(Action::Create {
            resource: SERVICE_ACCOUNTS,
            namespace: namespace.into(),
            object: json!({
                "apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": {"name": DEFAULT, "namespace": namespace},
            }),
        });
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        crate::golden::run(include_str!("cases.yaml"), |case| {
            plan("a", case.role("active"), case.role("there"))
        });
    }
}
