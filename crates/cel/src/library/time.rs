//! Moments and spans of time: reading, printing, their parts.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use super::Row;
use crate::EvalError;
use crate::value::Value;

type Out<'a> = Result<Value<'a>, EvalError>;

const SECOND: i64 = 1_000_000_000;

pub(super) const ROWS: &[Row] = &[
    ("timestamp_to_year", "timestamp|getFullYear() int", year),
    ("timestamp_to_year_with_tz", "timestamp|getFullYear(string) int", year),
    ("timestamp_to_month", "timestamp|getMonth() int", month),
    ("timestamp_to_month_with_tz", "timestamp|getMonth(string) int", month),
    ("timestamp_to_day_of_year", "timestamp|getDayOfYear() int", day_of_year),
    ("timestamp_to_day_of_year_with_tz", "timestamp|getDayOfYear(string) int", day_of_year),
    ("timestamp_to_day_of_month", "timestamp|getDayOfMonth() int", day_of_month),
    ("timestamp_to_day_of_month_with_tz", "timestamp|getDayOfMonth(string) int", day_of_month),
    ("timestamp_to_day_of_month_1_based", "timestamp|getDate() int", date),
    ("timestamp_to_day_of_month_1_based_with_tz", "timestamp|getDate(string) int", date),
    ("timestamp_to_day_of_week", "timestamp|getDayOfWeek() int", day_of_week),
    ("timestamp_to_day_of_week_with_tz", "timestamp|getDayOfWeek(string) int", day_of_week),
    ("timestamp_to_hours", "timestamp|getHours() int", hours),
    ("timestamp_to_hours_with_tz", "timestamp|getHours(string) int", hours),
    ("timestamp_to_minutes", "timestamp|getMinutes() int", minutes),
    ("timestamp_to_minutes_with_tz", "timestamp|getMinutes(string) int", minutes),
    ("timestamp_to_seconds", "timestamp|getSeconds() int", seconds),
    ("timestamp_to_seconds_tz", "timestamp|getSeconds(string) int", seconds),
    ("timestamp_to_milliseconds", "timestamp|getMilliseconds() int", milliseconds),
    ("timestamp_to_milliseconds_with_tz", "timestamp|getMilliseconds(string) int", milliseconds),
    ("duration_to_hours", "duration|getHours() int", hours),
    ("duration_to_minutes", "duration|getMinutes() int", minutes),
    ("duration_to_seconds", "duration|getSeconds() int", seconds),
    ("duration_to_milliseconds", "duration|getMilliseconds() int", milliseconds),
];

/// The years 1 to 9999.
pub(crate) fn timestamp(nanos: i128) -> Option<Timestamp> {
    const FIRST: i128 = -62_135_596_800;
    const LAST: i128 = 253_402_300_799;
    let seconds = nanos.div_euclid(i128::from(SECOND));
    (FIRST..=LAST).contains(&seconds).then(|| Timestamp::from_nanosecond(nanos).ok()).flatten()
}

fn zone(name: &str) -> Option<TimeZone> {
    if name == "UTC" || name.is_empty() {
        return Some(TimeZone::UTC);
    }
    if let Some((hours, minutes)) = name.split_once(':') {
        let negative = hours.starts_with('-');
        let hours: i32 = hours.parse().ok()?;
        let minutes: i32 = minutes.parse().ok()?;
        let seconds = hours * 3600 + if negative { -minutes } else { minutes } * 60;
        return Offset::from_seconds(seconds).ok().map(TimeZone::fixed);
    }
    TimeZone::get(name).ok()
}

fn local<'a, T>(args: &[Value<'a>], part: impl Fn(&jiff::Zoned) -> T) -> Result<T, EvalError> {
    let Value::Timestamp(at) = &args[0] else { return Err(EvalError::no_such_overload()) };
    let zone = match args.get(1) {
        None => TimeZone::UTC,
        Some(Value::String(name)) => {
            zone(name).ok_or_else(|| EvalError::new(format!("unknown time zone {}", &**name)))?
        }
        _ => return Err(EvalError::no_such_overload()),
    };
    Ok(part(&at.to_zoned(zone)))
}

fn part<'a>(args: &[Value<'a>], of: impl Fn(&jiff::Zoned) -> i64) -> Out<'a> {
    local(args, of).map(Value::Int)
}

fn year<'a>(args: &[Value<'a>]) -> Out<'a> {
    part(args, |z| i64::from(z.year()))
}
fn month<'a>(args: &[Value<'a>]) -> Out<'a> {
    part(args, |z| i64::from(z.month()) - 1)
}
fn day_of_year<'a>(args: &[Value<'a>]) -> Out<'a> {
    part(args, |z| i64::from(z.day_of_year()) - 1)
}
fn day_of_month<'a>(args: &[Value<'a>]) -> Out<'a> {
    part(args, |z| i64::from(z.day()) - 1)
}
fn date<'a>(args: &[Value<'a>]) -> Out<'a> {
    part(args, |z| i64::from(z.day()))
}
fn day_of_week<'a>(args: &[Value<'a>]) -> Out<'a> {
    part(args, |z| i64::from(z.weekday().to_sunday_zero_offset()))
}

/// A part of a moment, or the whole of a span in a unit.
fn clock<'a>(args: &[Value<'a>], of: impl Fn(&jiff::Zoned) -> i64, unit: i64) -> Out<'a> {
    match args {
        [Value::Duration(nanos)] => Ok(Value::Int(nanos / unit)),
        _ => part(args, of),
    }
}

fn hours<'a>(args: &[Value<'a>]) -> Out<'a> {
    clock(args, |z| i64::from(z.hour()), 3600 * SECOND)
}
fn minutes<'a>(args: &[Value<'a>]) -> Out<'a> {
    clock(args, |z| i64::from(z.minute()), 60 * SECOND)
}
fn seconds<'a>(args: &[Value<'a>]) -> Out<'a> {
    clock(args, |z| i64::from(z.second()), SECOND)
}
fn milliseconds<'a>(args: &[Value<'a>]) -> Out<'a> {
    clock(args, |z| i64::from(z.millisecond()), SECOND / 1000)
}

/// `1h30m`, `1.5s`, `-2ms`, in nanoseconds.
pub fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let whole = rest.bytes().take_while(u8::is_ascii_digit).count();
        let fraction = match rest[whole..].strip_prefix('.') {
            Some(after) => after.bytes().take_while(u8::is_ascii_digit).count() + 1,
            None => 0,
        };
        if whole == 0 && fraction < 2 {
            return None;
        }
        let number = &rest[..whole];
        let decimals = rest[whole..whole + fraction].trim_start_matches('.');
        rest = &rest[whole + fraction..];
        let length = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit: i128 = match &rest[..length] {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        rest = &rest[length..];
        let number: i128 = if number.is_empty() { 0 } else { number.parse().ok()? };
        total = total.checked_add(number.checked_mul(unit)?)?;
        let decimals = &decimals[..decimals.len().min(18)];
        if !decimals.is_empty() {
            let scale = 10i128.pow(u32::try_from(decimals.len()).ok()?);
            total += decimals.parse::<i128>().ok()? * unit / scale;
        }
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// As `string(duration)` prints it: seconds with up to nine decimals, `90s`, `1.5s`.
pub fn print_duration(nanos: i64) -> String {
    let (whole, rest) = (nanos / SECOND, (nanos % SECOND).unsigned_abs());
    if rest == 0 {
        return format!("{whole}s");
    }
    let sign = if nanos < 0 && whole == 0 { "-" } else { "" };
    let decimals = format!("{rest:09}");
    format!("{sign}{whole}.{}s", decimals.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        let rows = [
            ("1h30m", Some(5400 * SECOND)),
            ("1.5s", Some(SECOND * 3 / 2)),
            ("-2ms", Some(-2_000_000)),
            ("0", Some(0)),
            (".5s", Some(SECOND / 2)),
            ("1", None),
            ("", None),
            ("1x", None),
            ("s", None),
            ("99999999999h", None),
        ];
        for (text, nanos) in rows {
            assert_eq!(parse_duration(text), nanos, "{text}");
        }
        assert_eq!(print_duration(5400 * SECOND), "5400s");
        assert_eq!(print_duration(-SECOND / 2), "-0.5s");
        assert_eq!(print_duration(1_500_000), "0.0015s");
    }
}
