//! The table of results. Not here: measuring.

use std::fmt::Write as _;

/// A row of the budgets: its name, upstream's figure when the budget was set, the budget, the unit,
/// and whether less is better.
struct Budget(&'static str, f64, f64, &'static str, bool);

/// DESIGN section 6.
const BUDGETS: &[Budget] = &[
    Budget("ready, empty", 3.4, 0.3, "s", true),
    Budget("resident memory, empty", 309.0, 25.0, "MB", true),
    Budget("resident memory, loaded", 757.0, 110.0, "MB", true),
    Budget("create pods, 64 in flight", 1100.0, 6000.0, "/s", false),
    Budget("create configmaps, 64 in flight", 1690.0, 10_000.0, "/s", false),
    Budget("GET one pod, 32 in flight", 2840.0, 25_000.0, "/s", false),
    Budget("LIST 10,000 pods", 0.78, 0.03, "s", true),
    Budget("LIST, selector matches nothing", 24.0, 1.0, "ms", true),
    Budget("watch fan-out, 200 watchers", 39_000.0, 400_000.0, "events/s", false),
    Budget("delete a collection of 10,000 pods", 37.0, 1.5, "s", true),
    Budget("server start to node Ready", 3.0, 0.5, "s", true),
    Budget("server start to first pod Running", 9.9, 1.0, "s", true),
    Budget("one pod, created to ready", 0.32, 0.2, "s", true),
    Budget("40 pods at once, created to ready (median)", 5.0, 1.5, "s", true),
    Budget("resident memory, whole node at rest", 645.0, 60.0, "MB", true),
    Budget("CPU at rest", 6.5, 0.5, "% of a core", true),
];

/// What was measured.
#[derive(Default)]
pub struct Report {
    rows: Vec<(String, f64, bool)>,
}

impl Report {
    /// Takes a figure, in the budget's unit; `upstream` tells whose it is.
    pub fn add(&mut self, name: &str, figure: f64, upstream: bool) {
        eprintln!("{}{name}: {}", if upstream { "upstream: " } else { "" }, short(figure));
        self.rows.push((name.to_owned(), figure, upstream));
    }

    /// The table in Markdown. The ratio is to the upstream figure of the same run where there is one.
    pub fn table(&self) -> String {
        let mut out = String::from(
            "| work | unit | isopod | budget | met | upstream, this run | ratio | upstream, recorded |\n|---|---|---|---|---|---|---|---|\n",
        );
        for Budget(name, recorded, budget, unit, less) in BUDGETS {
            let find =
                |of: bool| self.rows.iter().find(|(n, _, u)| n == name && *u == of).map(|r| r.1);
            let Some(ours) = find(false) else { continue };
            let met = if *less { ours <= *budget } else { ours >= *budget };
            let theirs = find(true);
            let ratio = theirs.map(|t| if *less { t / ours } else { ours / t });
            let or_dash = |v: Option<f64>, end: &str| {
                v.map_or("–".into(), |v| format!("{}{end}", short(v)))
            };
            let _ = writeln!(
                out,
                "| {name} | {unit} | {} | {}{} | {} | {} | {} | {} |",
                short(ours),
                if *less { "≤ " } else { "≥ " },
                short(*budget),
                if met { "yes" } else { "no" },
                or_dash(theirs, ""),
                or_dash(ratio, "×"),
                short(*recorded),
            );
        }
        out
    }
}

fn short(v: f64) -> String {
    match v {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 1.0 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}
