//! What flow control is doing, as tables for people.
//!
//! What runs is counted by level, not by queue, and only what waits is known by request. Not here: the
//! numbers themselves (`level`, `meter`).

use api::clock::Clock;

use super::FlowControl;

/// A table's head: the levels.
const LEVELS: [&str; 10] = [
    "PriorityLevelName",
    "ActiveQueues",
    "IsIdle",
    "IsQuiescing",
    "WaitingRequests",
    "ExecutingRequests",
    "DispatchedRequests",
    "RejectedRequests",
    "TimedoutRequests",
    "CancelledRequests",
];
/// Their queues.
const QUEUES: [&str; 4] = ["PriorityLevelName", "Index", "PendingRequests", "NextDispatchR"];
/// What waits in them, without and with details.
const REQUESTS: [&str; 18] = [
    "PriorityLevelName",
    "FlowSchemaName",
    "QueueIndex",
    "RequestIndexInQueue",
    "FlowDistingsher",
    "ArriveTime",
    "InitialSeats",
    "FinalSeats",
    "AdditionalLatency",
    "StartTime",
    "UserName",
    "Verb",
    "APIPath",
    "Namespace",
    "Name",
    "APIVersion",
    "Resource",
    "SubResource",
];
/// So many of these are no details.
const PLAIN: usize = 10;

/// The table that a path names. `details`: with what each request asks for.
pub fn table(flow: &FlowControl, clock: &Clock, path: &str, details: bool) -> Option<String> {
    Some(match path.strip_prefix("/debug/api_priority_and_fairness/")? {
        "dump_priority_levels" => print(&LEVELS, &levels(flow)),
        "dump_queues" => print(&QUEUES, &queues(flow)),
        "dump_requests" if details => print(&REQUESTS, &requests(flow, clock)),
        "dump_requests" => print(&REQUESTS[..PLAIN], &requests(flow, clock)),
        _ => return None,
    })
}

fn levels(flow: &FlowControl) -> Vec<Vec<String>> {
    let config = flow.config.load();
    let row = |level: super::level::Picture| {
        let spec = config.levels.iter().find(|spec| spec.name == level.name);
        let waiting: usize = level.queues.iter().map(|(_, all)| all.len()).sum();
        let active = level.queues.iter().filter(|(_, all)| !all.is_empty()).count();
        let mut executing = i64::from(level.executing);
        let (mut dispatched, mut refused) = (0, [0; 4]);
        for (_, _, meter) in config.meters().filter(|(name, ..)| **name == *level.name) {
            let (ran, by_reason) = meter.totals();
            dispatched += ran;
            for (sum, count) in refused.iter_mut().zip(by_reason) {
                *sum += count;
            }
            if spec.is_some_and(|spec| spec.exempt) {
                executing += meter.now().0;
            }
        }
        let [full, limit, late, cancelled] = refused;
        vec![
            level.name.to_string(),
            active.to_string(),
            (waiting == 0 && executing == 0).to_string(),
            spec.is_none().to_string(),
            waiting.to_string(),
            executing.to_string(),
            dispatched.to_string(),
            (full + limit).to_string(),
            late.to_string(),
            cancelled.to_string(),
        ]
    };
    flow.levels.picture().into_iter().map(row).collect()
}

fn queues(flow: &FlowControl) -> Vec<Vec<String>> {
    let of = |level: super::level::Picture| {
        let name = level.name;
        level.queues.into_iter().enumerate().map(move |(at, (turn, waiting))| {
            vec![
                name.to_string(),
                at.to_string(),
                waiting.len().to_string(),
                format!("{turn}.00000000ss"),
            ]
        })
    };
    flow.levels.picture().into_iter().flat_map(of).collect()
}

fn requests(flow: &FlowControl, clock: &Clock) -> Vec<Vec<String>> {
    let now = clock.now();
    let mut rows = Vec::new();
    for level in flow.levels.picture() {
        for (queue, (_, waiting)) in level.queues.into_iter().enumerate() {
            for (at, about) in waiting.into_iter().enumerate() {
                let arrived = now.checked_sub(about.since.elapsed()).unwrap_or(now);
                let info = about.info;
                rows.push(vec![
                    level.name.to_string(),
                    about.schema.to_string(),
                    queue.to_string(),
                    at.to_string(),
                    about.flow,
                    arrived.to_string(),
                    "1".to_owned(),
                    "0".to_owned(),
                    "0s".to_owned(),
                    "0001-01-01T00:00:00Z".to_owned(),
                    about.user,
                    info.verb.to_owned(),
                    info.path,
                    info.namespace,
                    info.name,
                    info.version,
                    info.resource,
                    info.subresource,
                ]);
            }
        }
    }
    rows
}

/// Columns with a comma behind each, as wide as their widest cell.
fn print(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |at: usize| {
        let cells = rows.iter().map(|row| row[at].chars().count());
        cells.chain([head[at].len()]).max().unwrap_or(0) + 2
    };
    let widths: Vec<usize> = (0..head.len() - 1).map(width).collect();
    let mut out = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        for (at, cell) in cells.take(head.len()).enumerate() {
            match widths.get(at) {
                Some(width) => out.push_str(&format!("{:<width$}", format!("{cell},"))),
                None => out.push_str(cell),
            }
        }
        out.push('\n');
    };
    line(&mut head.iter().copied());
    rows.iter().for_each(|row| line(&mut row.iter().map(String::as_str)));
    out
}
