//! What this process takes of the machine, under the names that Prometheus' clients use: read from
//! `/proc/self` when somebody asks.
//!
//! Not here: other processes, which are the node's.

use std::fs;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, Opts};

/// Ticks a second of times in `/proc` (proc(5): `USER_HZ`, a constant of Linux's interface).
const TICKS: f64 = 100.0;

/// The families; those that cannot be read are left out.
pub fn collect() -> Vec<MetricFamily> {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let machine = fs::read_to_string("/proc/stat").unwrap_or_default();
    let (user, system, start) = (field(&stat, 14), field(&stat, 15), field(&stat, 22));
    let open = fs::read_dir("/proc/self/fd").ok().map(|all| all.count());
    #[allow(clippy::cast_precision_loss)]
    let open = open.map(|count| count as f64);
    let rows = [
        (
            "process_cpu_seconds_total",
            "CPU time of user and system, in seconds.",
            user.zip(system).map(|(user, system)| (user + system) / TICKS),
        ),
        ("process_open_fds", "Open file descriptors.", open),
        (
            "process_max_fds",
            "File descriptors that may be open.",
            word_after(&limits, "Max open files"),
        ),
        (
            "process_resident_memory_bytes",
            "Resident memory.",
            word_after(&status, "VmRSS:").map(|kib| kib * 1024.0),
        ),
        (
            "process_virtual_memory_bytes",
            "Virtual memory.",
            word_after(&status, "VmSize:").map(|kib| kib * 1024.0),
        ),
        (
            "process_start_time_seconds",
            "Start, in seconds since 1970.",
            start.zip(word_after(&machine, "btime")).map(|(start, boot)| boot + start / TICKS),
        ),
    ];
    let read = rows.into_iter().filter_map(|(name, help, value)| {
        let gauge = Gauge::with_opts(Opts::new(name, help)).ok()?;
        gauge.set(value?);
        Some(gauge.collect())
    });
    read.flatten().collect()
}

/// A field of `/proc/self/stat` by its number in proc(5). The second, a name in parentheses, may hold
/// anything.
fn field(stat: &str, number: usize) -> Option<f64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(number - 3)?.parse().ok()
}

/// A number in the line that starts so.
fn word_after(text: &str, start: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(start))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_behind_the_name() {
        let stat = "12 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14 15 16 17 18 4000 20";
        assert_eq!((field(stat, 14), field(stat, 15)), (Some(250.0), Some(50.0)));
        assert_eq!(field(stat, 22), Some(4000.0));
        assert_eq!(field("nothing", 14), None);
        let limits = "Max cpu time  unlimited\nMax open files            1024        4096  files\n";
        assert_eq!(word_after(limits, "Max open files"), Some(1024.0));
        assert_eq!(word_after(limits, "Max cpu time"), None);
    }
}
