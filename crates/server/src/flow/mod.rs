//! API priority and fairness: how many requests run at once, whose turn it is, and what the others are
//! told.
//!
//! A flow schema puts a request into a priority level and a flow (`config`); the level gives it a seat
//! at once, lets it wait in a queue, or turns it away (`level`). Not here: which schemas and levels
//! there are by default (`bootstrap`).

mod config;
pub mod dump;
mod feed;
mod level;
mod meter;

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderValue, StatusCode, header};

use crate::edge::respond::{self, Reply};
use crate::gate::UserInfo;
use crate::request::RequestInfo;

pub use config::Config;
pub use feed::start;
use level::{About, Levels, Seat};
use meter::{Meter, Running};

/// A request waits this long for a seat at most.
const PATIENCE: Duration = Duration::from_secs(15);
/// Seats of all levels together: upstream's `--max-requests-inflight` and
/// `--max-mutating-requests-inflight`.
const SEATS: u32 = 400 + 200;

/// Flow control with its present configuration.
pub struct FlowControl {
    config: arc_swap::ArcSwap<Config>,
    levels: Arc<Levels>,
}

impl Default for FlowControl {
    fn default() -> Self {
        let control = Self::with_seats(SEATS);
        let defaults = crate::bootstrap::flow_objects();
        control.configure(Config::read(defaults.iter()));
        control
    }
}

/// What became of a request that may run.
pub struct Admitted {
    _seat: Option<Seat>,
    _running: Option<Running>,
    /// The identities of the schema and the level, for the response.
    pub marks: Option<Marks>,
}

/// How a request was classified, as the response's headers say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    schema: Arc<str>,
    level: Arc<str>,
}

impl Marks {
    /// Says on a response how its request was classified.
    pub fn put(&self, reply: &mut Reply) {
        let headers = reply.headers_mut();
        for (name, uid) in [
            ("x-kubernetes-pf-flowschema-uid", &self.schema),
            ("x-kubernetes-pf-prioritylevel-uid", &self.level),
        ] {
            if let Ok(value) = HeaderValue::from_str(uid) {
                headers.insert(name, value);
            }
        }
    }
}

/// Why a request may not run, with how it was classified.
pub struct Refused {
    /// For the response.
    pub marks: Marks,
}

impl Refused {
    /// The answer.
    pub fn reply(&self) -> Reply {
        let text = "Too many requests, please try again later.\n";
        let mut reply = respond::text(StatusCode::TOO_MANY_REQUESTS, text);
        let headers = reply.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, respond::NOSNIFF);
        self.marks.put(&mut reply);
        reply
    }
}

impl FlowControl {
    fn with_seats(seats: u32) -> Self {
        Self {
            config: arc_swap::ArcSwap::from_pointee(Config::default()),
            levels: Levels::new(seats),
        }
    }

    /// Takes a configuration over. What waits keeps its place where its level stays.
    pub fn configure(&self, config: Config) {
        let before = self.config.load_full();
        let limits = self.levels.configure(&config.levels);
        let pairs: BTreeSet<(&str, &str)> = config.meters().map(|(l, s, _)| (l, s)).collect();
        for (level, schema, _) in before.meters().filter(|(l, s, _)| !pairs.contains(&(*l, *s))) {
            Meter::forget(level, schema);
        }
        for level in &before.levels {
            if !limits.iter().any(|(name, _)| *name == level.name) {
                meter::limits(&level.name, None);
            }
        }
        for (level, limits) in limits {
            meter::limits(&level, Some(limits));
        }
        self.config.store(Arc::new(config));
    }

    /// Brings those metrics up to date that are not kept so by every request.
    pub fn tell(&self) {
        self.config.load().meters().for_each(|(_, _, meter)| meter.tell_seats());
    }

    /// Waits for a seat, which ends with the response's head: a running watch holds none.
    pub async fn admit(&self, user: &UserInfo, info: &RequestInfo) -> Result<Admitted, Refused> {
        if crate::deadline::lasts(info) {
            return Ok(Admitted { _seat: None, _running: None, marks: None });
        }
        let config = self.config.load();
        let Some(class) = config.classify(user, info) else {
            return Ok(Admitted { _seat: None, _running: None, marks: None });
        };
        let marks = Marks { schema: class.schema.clone(), level: class.level_uid.clone() };
        let meter = class.meter.cloned();
        let run = || meter.as_ref().map(|meter| meter.run(info.verb == "watch"));
        if class.exempt {
            return Ok(Admitted { _seat: None, _running: run(), marks: Some(marks) });
        }
        let (level, flow) = (class.level.clone(), class.flow);
        let (schema, by) = (class.name.clone(), class.distinguisher);
        drop(config);
        let about = || {
            Box::new(About {
                schema,
                flow: by.to_owned(),
                since: tokio::time::Instant::now(),
                user: user.name.clone(),
                info: info.clone(),
            })
        };
        let mut seat = pin!(self.levels.clone().seat(&level, flow, PATIENCE, about));
        let outcome = match futures_util::poll!(&mut seat) {
            Poll::Ready(outcome) => {
                if let (Ok(_), Some(meter)) = (&outcome, &meter) {
                    meter.at_once();
                }
                outcome
            }
            Poll::Pending => {
                let waiting = meter.as_ref().map(|meter| meter.wait());
                let outcome = seat.await;
                if let Some(waiting) = waiting {
                    waiting.end(outcome.is_ok());
                }
                outcome
            }
        };
        match outcome {
            Ok(seat) => Ok(Admitted { _seat: Some(seat), _running: run(), marks: Some(marks) }),
            Err(refusal) => {
                if let Some(meter) = &meter {
                    meter.refuse(refusal);
                }
                Err(Refused { marks })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(resource: &str) -> RequestInfo {
        RequestInfo {
            is_resource: true,
            verb: "get",
            resource: resource.into(),
            namespace: "default".into(),
            ..RequestInfo::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_level_queues_and_then_turns_away() {
        let flow = FlowControl::with_seats(1);
        flow.configure(Config::read(crate::bootstrap::flow_objects().iter()));
        let bob = UserInfo::new("bob", &["system:authenticated"]);
        let seat = flow.admit(&bob, &get("pods")).await.ok().expect("a seat");
        assert!(seat.marks.is_some());
        // Nobody leaves: the wait ends.
        let refused = flow.admit(&bob, &get("pods")).await.err().expect("no seat in time");
        assert_eq!(refused.reply().status(), 429);
        assert!(refused.reply().headers().contains_key("x-kubernetes-pf-prioritylevel-uid"));
        // Masters and long requests do not wait.
        let master = UserInfo::new("root", &["system:masters"]);
        assert!(flow.admit(&master, &get("pods")).await.is_ok());
        let exec = RequestInfo { subresource: "exec".into(), ..get("pods") };
        assert!(flow.admit(&bob, &exec).await.is_ok_and(|a| a.marks.is_none()));
        // Who waits gets the seat of who leaves.
        let info = get("pods");
        let waiting = flow.admit(&bob, &info);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(seat);
        assert!(waiting.await.is_ok());
    }

    fn metrics() -> String {
        let families = prometheus::gather();
        prometheus::TextEncoder::new().encode_to_string(&families).expect("text")
    }

    #[tokio::test(start_paused = true)]
    async fn what_runs_and_waits_is_counted_and_shown() {
        let flow = FlowControl::with_seats(2);
        flow.configure(Config::read(crate::bootstrap::flow_objects().iter()));
        let bob = UserInfo::new("bob", &["system:authenticated"]);
        let info = RequestInfo { path: "/api/v1/x".into(), ..get("pods") };
        let seat = flow.admit(&bob, &info).await.ok().expect("a seat");
        let pair = "{flow_schema=\"global-default\",priority_level=\"global-default\"}";
        let says = |name: &str, labels: &str, value: &str| {
            let line = format!("apiserver_flowcontrol_{name}{labels} {value}\n");
            flow.tell();
            let text = metrics();
            assert!(text.contains(&line), "{line} in {text}");
        };
        says("current_executing_requests", pair, "1");
        says("current_executing_seats", pair, "1");
        says("nominal_limit_seats", "{priority_level=\"global-default\"}", "1");
        {
            let waiting = flow.admit(&bob, &info);
            tokio::pin!(waiting);
            assert!(futures_util::poll!(&mut waiting).is_pending());
            says("current_inqueue_requests", pair, "1");
            let clock = api::clock::Clock::system();
            let show = |what: &str| {
                let path = format!("/debug/api_priority_and_fairness/{what}");
                let table = dump::table(&flow, &clock, &path, true).expect("a table");
                let cells = |line: &str| line.split(", ").map(|c| c.trim().to_owned()).collect();
                let rows: Vec<Vec<String>> = table.lines().map(cells).collect();
                rows.into_iter().filter(|row| row[0] == "global-default").collect::<Vec<_>>()
            };
            let level = ["global-default", "1", "false", "false", "1", "1", "1", "0", "0", "0"];
            assert_eq!(show("dump_priority_levels"), [level]);
            let requests = show("dump_requests");
            assert_eq!(requests.len(), 1);
            assert_eq!(requests[0][1], "global-default");
            assert_eq!(requests[0][10..13], ["bob", "get", "/api/v1/x"]);
            assert_eq!(show("dump_queues").iter().filter(|row| row[2] == "1").count(), 1);
        }
        // Given up by its client.
        says("current_inqueue_requests", pair, "0");
        drop(seat);
        says("current_executing_requests", pair, "0");
        says("dispatched_requests_total", pair, "1");
        let by = |more: &str| pair.replacen("flow", &format!("{more},flow"), 1);
        let cancelled = "{flow_schema=\"global-default\",priority_level=\"global-default\",reason=\"cancelled\"}";
        says("rejected_requests_total", cancelled, "1");
        says("request_wait_duration_seconds_count", &by("execute=\"true\""), "1");
        let ran = pair.replace('}', ",type=\"regular\"}");
        says("request_execution_seconds_count", &ran, "1");
        // What is gone says nothing.
        flow.configure(Config::default());
        assert!(!metrics().contains("priority_level=\"global-default\""));
    }
}
