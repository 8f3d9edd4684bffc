//! API priority and fairness: how many requests run at once, whose turn it is, and what the others are
//! told.
//!
//! A flow schema puts a request into a priority level and a flow (`config`); the level gives it a seat
//! at once, lets it wait in a queue, or turns it away (`level`). Not here: which schemas and levels
//! there are by default (`bootstrap`).

mod config;
mod feed;
mod level;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use prometheus::{IntCounterVec, IntGaugeVec, register_int_counter_vec, register_int_gauge_vec};

use crate::edge::respond::{self, Reply};
use crate::gate::UserInfo;
use crate::request::RequestInfo;

pub use config::Config;
pub use feed::start;
use level::{Levels, Refusal, Seat};

static REJECTED: LazyLock<Option<IntCounterVec>> = LazyLock::new(|| {
    register_int_counter_vec!(
        "apiserver_flowcontrol_rejected_requests_total",
        "Number of requests rejected by API Priority and Fairness subsystem",
        &["priority_level", "reason"]
    )
    .ok()
});
static EXECUTING: LazyLock<Option<IntGaugeVec>> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "apiserver_flowcontrol_current_executing_requests",
        "Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage",
        &["priority_level"]
    )
    .ok()
});

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
    seat: Option<Seat>,
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
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        self.marks.put(&mut reply);
        reply
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let (Some(seat), Some(gauge)) = (&self.seat, &*EXECUTING) {
            gauge.with_label_values(&[seat.level()]).dec();
        }
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
        self.levels.configure(&config.levels);
        self.config.store(Arc::new(config));
    }

    /// Waits for a seat, which ends with the response's head: a running watch holds none.
    pub async fn admit(&self, user: &UserInfo, info: &RequestInfo) -> Result<Admitted, Refused> {
        if crate::deadline::lasts(info) {
            return Ok(Admitted { seat: None, marks: None });
        }
        let config = self.config.load();
        let Some(class) = config.classify(user, info) else {
            return Ok(Admitted { seat: None, marks: None });
        };
        let marks = Marks { schema: class.schema.clone(), level: class.level_uid.clone() };
        let (level, flow, exempt) = (class.level.clone(), class.flow, class.exempt);
        drop(config);
        if exempt {
            return Ok(Admitted { seat: None, marks: Some(marks) });
        }
        match self.levels.clone().seat(&level, flow, PATIENCE).await {
            Ok(seat) => {
                if let Some(gauge) = &*EXECUTING {
                    gauge.with_label_values(&[seat.level()]).inc();
                }
                Ok(Admitted { seat: Some(seat), marks: Some(marks) })
            }
            Err(refusal) => {
                if let Some(counter) = &*REJECTED {
                    counter.with_label_values(&[&level, reason(refusal)]).inc();
                }
                Err(Refused { marks })
            }
        }
    }
}

fn reason(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::QueueFull => "queue-full",
        Refusal::ConcurrencyLimit => "concurrency-limit",
        Refusal::TimeOut => "time-out",
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
}
