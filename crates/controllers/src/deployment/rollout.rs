//! Arithmetic of rollouts: surge and unavailability, and how a change of size is spread over several
//! replica sets.
//!
//! Pure. Not here: when which of it applies (`plan`).

use api::Value;

use super::{Deployment, RollingUpdate};

/// The limits of a rolling update, resolved to pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub surge: i64,
    pub unavailable: i64,
}

/// A number of pods, or a percentage of `total`.
fn resolve(value: Option<&Value>, total: i64, round_up: bool) -> i64 {
    match value {
        Some(Value::Number(n)) => n.as_i64().unwrap_or(0),
        Some(Value::String(text)) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let scaled = total.saturating_mul(percent);
            if round_up { (scaled + 99) / 100 } else { scaled / 100 }
        }
        _ => 0,
    }
}

/// The limits of a deployment. If both came to nothing, nothing could move: then one pod may be
/// unavailable.
pub fn limits(deployment: &Deployment) -> Limits {
    let spec = &deployment.spec;
    if spec.strategy.kind == "Recreate" {
        return Limits { surge: 0, unavailable: 0 };
    }
    let total = spec.replicas.unwrap_or(1);
    let quarter = Value::from("25%");
    let rolling = spec.strategy.rolling_update.clone().unwrap_or_else(|| RollingUpdate {
        max_surge: Some(quarter.clone()),
        max_unavailable: Some(quarter),
    });
    let surge = resolve(rolling.max_surge.as_ref(), total, true);
    let mut unavailable = resolve(rolling.max_unavailable.as_ref(), total, false);
    if surge == 0 && unavailable == 0 {
        unavailable = 1;
    }
    Limits { surge, unavailable: unavailable.min(total) }
}

/// A replica set that takes part in proportional scaling.
pub struct Part {
    pub size: i64,
    /// The deployment's maximum when this set was last sized.
    pub max_then: i64,
}

/// Sizes for parts (the largest first) so that together they have `allowed` pods, each in proportion to
/// what it had of `max_then`; what rounding leaves goes to the first.
pub fn proportional(parts: &[Part], wanted: i64, max_now: i64, allowed: i64) -> Vec<i64> {
    let total: i64 = parts.iter().map(|p| p.size).sum();
    let to_add = allowed - total;
    let mut added = 0;
    let mut sizes: Vec<i64> = parts
        .iter()
        .map(|part| {
            if part.size == 0 || to_add == 0 || to_add == added {
                return part.size;
            }
            let fraction = fraction(part, wanted, max_now);
            let left = to_add - added;
            let share = if to_add > 0 { fraction.min(left) } else { fraction.max(left) };
            added += share;
            part.size + share
        })
        .collect();
    if let Some(first) = sizes.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    sizes
}

fn fraction(part: &Part, wanted: i64, max_now: i64) -> i64 {
    if wanted == 0 {
        return -part.size;
    }
    if part.max_then == 0 {
        return 0;
    }
    // Rounded to the nearest, halves away from zero; all are positive here.
    let (numerator, denominator) = (part.size * max_now, part.max_then);
    (2 * numerator + denominator) / (2 * denominator) - part.size
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn limits_of(replicas: i64, surge: Value, unavailable: Value) -> (i64, i64) {
        let deployment: Deployment = serde_json::from_value(json!({"spec": {
            "replicas": replicas,
            "strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
        }}))
        .expect("a deployment");
        let limits = limits(&deployment);
        (limits.surge, limits.unavailable)
    }

    #[test]
    fn percentages_round_apart() {
        assert_eq!(limits_of(10, json!("25%"), json!("25%")), (3, 2));
        assert_eq!(limits_of(3, json!("25%"), json!("25%")), (1, 0));
        assert_eq!(limits_of(1, json!(0), json!("25%")), (0, 1), "something must move");
        assert_eq!(limits_of(2, json!(1), json!(5)), (1, 2));
    }

    #[test]
    fn sizes_keep_their_proportions() {
        let parts = [Part { size: 8, max_then: 13 }, Part { size: 5, max_then: 13 }];
        // 10 with a surge of 3, grown to 15 with a surge of 3.
        assert_eq!(proportional(&parts, 15, 18, 18), [11, 7]);
        let parts = [Part { size: 8, max_then: 13 }, Part { size: 5, max_then: 13 }];
        let shrunk = proportional(&parts, 5, 8, 8);
        assert_eq!(shrunk.iter().sum::<i64>(), 8);
        assert_eq!(proportional(&parts, 0, 0, 0), [0, 0]);
    }
}
