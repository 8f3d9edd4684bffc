//! How long a request may take: what its `timeout` says, a minute at most. Watches, logs and streams
//! last as long as they want.
//!
//! A write that is late goes on without its client: what is half done must not be left so.

use std::future::Future;
use std::time::Duration;

use api::{ApiError, Reason};

use crate::query::Params;
use crate::request::RequestInfo;

/// Upstream's `--request-timeout`.
const MOST: Duration = Duration::from_secs(60);
/// Subresources whose requests last.
const LONG: [&str; 5] = ["attach", "exec", "proxy", "log", "portforward"];

/// Whether a request is for a stream that lasts (a watch is not one).
pub fn lasts(info: &RequestInfo) -> bool {
    info.is_resource && (info.verb == "proxy" || LONG.contains(&info.subresource.as_str()))
}

/// How long a request may take; `None` for those that last.
pub fn of(info: &RequestInfo, query: &str) -> Result<Option<Duration>, ApiError> {
    if lasts(info) || (info.is_resource && info.verb == "watch") {
        return Ok(None);
    }
    if !query.contains("timeout=") {
        return Ok(Some(MOST));
    }
    let params = Params::parse(query);
    let text = params.get("timeout");
    if text.is_empty() {
        return Ok(Some(MOST));
    }
    match parse(text) {
        Ok(given) if given.is_zero() => Ok(Some(MOST)),
        Ok(given) => Ok(Some(given.min(MOST))),
        Err(why) => Err(ApiError::bad_request(format!(
            "invalid timeout specified in the request URL - {why}"
        ))),
    }
}

/// Waits for an answer. `writes`: the work goes on when nobody waits for it any more.
pub async fn within<T: Send + 'static>(
    patience: Duration,
    writes: bool,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, ApiError> {
    let late = || {
        let why = "request did not complete within requested timeout - context deadline exceeded";
        ApiError::new(Reason::Timeout, format!("Timeout: {why}"))
    };
    if !writes {
        return tokio::time::timeout(patience, work).await.map_err(|_| late());
    }
    match tokio::time::timeout(patience, tokio::spawn(work)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(ApiError::internal(error)),
        Err(_) => Err(late()),
    }
}

/// Go's durations, as in `1m30s` or `500ms`.
fn parse(text: &str) -> Result<Duration, String> {
    let quoted = api::names::quote(text);
    let invalid = || format!("time: invalid duration {quoted}");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut seconds = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "" => return Err(format!("time: missing unit in duration {quoted}")),
            unit => {
                let unit = api::names::quote(unit);
                return Err(format!("time: unknown unit {unit} in duration {quoted}"));
            }
        };
        seconds += number * unit;
        rest = &rest[end..];
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [("1s", 1000), ("1m30s", 90_000), ("1.5h", 5_400_000), ("+20ms", 20)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for (text, why) in [
            ("x", "time: invalid duration \"x\""),
            ("5", "time: missing unit in duration \"5\""),
            ("5d", "time: unknown unit \"d\" in duration \"5d\""),
            ("-5s", "time: invalid duration \"-5s\""),
        ] {
            assert_eq!(parse(text), Err(why.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_lasts_has_no_deadline() {
        let info = |verb, sub: &str| RequestInfo {
            is_resource: true,
            verb,
            subresource: sub.into(),
            ..RequestInfo::default()
        };
        assert_eq!(of(&info("watch", ""), "timeout=1s"), Ok(None));
        assert_eq!(of(&info("get", "log"), ""), Ok(None));
        assert_eq!(of(&info("list", ""), ""), Ok(Some(MOST)));
        assert_eq!(of(&info("list", ""), "timeout=2h"), Ok(Some(MOST)));
        assert_eq!(of(&info("list", ""), "timeout=5s"), Ok(Some(Duration::from_secs(5))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_write_goes_on() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let work = async move {
            tokio::time::sleep(Duration::from_secs(10)).await;
            let _ = sender.send(());
        };
        let error = within(Duration::from_secs(5), true, work).await.expect_err("late");
        assert_eq!(error.code, 504);
        receiver.await.expect("done all the same");
    }
}
