//! Small texts that several commands print: durations, columns, choices. Not here: whole objects.

use std::time::Duration;

use api::clock::{Clock, parse_time};

use crate::{Error, Result};

/// A span as kubectl prints ages: `5s`, `2m3s`, `3h`, `4d2h`, `2y10d`.
pub fn human(seconds: i64) -> String {
    let (minute, hour, day, year) = (60, 3600, 86_400, 365 * 86_400);
    let two = |big: i64, small: i64, names: [&str; 2]| {
        if small == 0 {
            format!("{big}{}", names[0])
        } else {
            format!("{big}{}{small}{}", names[0], names[1])
        }
    };
    match seconds {
        ..0 => "<invalid>".to_owned(),
        s if s < 2 * minute => format!("{s}s"),
        s if s < 10 * minute => two(s / minute, s % minute, ["m", "s"]),
        s if s < 3 * hour => format!("{}m", s / minute),
        s if s < 8 * hour => two(s / hour, s % hour / minute, ["h", "m"]),
        s if s < 2 * day => format!("{}h", s / hour),
        s if s < 8 * day => two(s / day, s % day / hour, ["d", "h"]),
        s if s < 2 * year => format!("{}d", s / day),
        s if s < 8 * year => two(s / year, s % year / day, ["y", "d"]),
        s => format!("{}y", s / year),
    }
}

/// How long ago an RFC 3339 time was; `<unknown>` where there is none.
pub fn age(time: &str, clock: &Clock) -> String {
    match parse_time(time) {
        Some(then) => human((clock.now().as_second() - then.as_second()).max(0)),
        None => "<unknown>".to_owned(),
    }
}

/// Reads a Go duration: `1h2m3s`, `500ms`, or plain seconds.
pub fn duration(text: &str) -> Result<Duration> {
    let bad = || Error::usage(format!("invalid duration \"{text}\", as in 30s or 5m"));
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return Err(bad()),
        };
        rest = &rest[letters..];
        total += Duration::try_from_secs_f64(number * unit).map_err(|_| bad())?;
    }
    Ok(total)
}

/// Rows in columns, three blanks apart, as kubectl's tables. The last column is not padded.
pub fn columns(rows: &[Vec<String>]) -> String {
    let width = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut widths = vec![0; width];
    for row in rows {
        for (cell, width) in row.iter().zip(&mut widths) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for row in rows {
        let last = row.len().saturating_sub(1);
        for (at, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if at < last {
                let pad = widths[at] + 3 - cell.chars().count();
                out.extend(std::iter::repeat_n(' ', pad));
            }
        }
        out.push('\n');
    }
    out
}

/// Writes to standard output; a reader that went away ends the program quietly, as it does kubectl.
pub fn print(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Aligns text whose cells end in tabs: a column is as wide as its widest cell over consecutive lines
/// that have it, and two blanks more.
pub fn align(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|l| vec![0; l.len() - 1]).collect();
    block(&lines, 0..lines.len(), 0, &mut widths);
    let mut out = String::with_capacity(text.len() * 2);
    for (cells, widths) in lines.iter().zip(&widths) {
        for (at, cell) in cells.iter().enumerate() {
            out.push_str(cell);
            if let Some(width) = widths.get(at) {
                out.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
            }
        }
        while out.ends_with(' ') {
            out.pop();
        }
        out.push('\n');
    }
    out
}

/// Sets the widths of one column, and within each run of lines that have it, of the next.
fn block(
    lines: &[Vec<&str>],
    range: std::ops::Range<usize>,
    column: usize,
    widths: &mut [Vec<usize>],
) {
    let mut at = range.start;
    while at < range.end {
        let start = at;
        while at < range.end && widths[at].len() > column {
            at += 1;
        }
        if at == start {
            at += 1;
            continue;
        }
        let widest = lines[start..at].iter().map(|l| l[column].chars().count()).max().unwrap_or(0);
        for line in &mut widths[start..at] {
            line[column] = widest + 2;
        }
        block(lines, start..at, column + 1, widths);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        let cases = [
            (5, "5s"),
            (119, "119s"),
            (123, "2m3s"),
            (600, "10m"),
            (3 * 3600, "3h"),
            (7 * 3600 + 120, "7h2m"),
            (26 * 3600, "26h"),
            (2 * 86_400 + 3600, "2d1h"),
            (30 * 86_400, "30d"),
        ];
        for (seconds, text) in cases {
            assert_eq!(human(seconds), text);
        }
    }

    #[test]
    fn alignment_ends_where_a_column_ends() {
        let text = "Name:\tweb\nLabels:\ta=b\nContainers:\n  c:\n    Image:\tx\n";
        assert_eq!(align(text), "Name:    web\nLabels:  a=b\nContainers:\n  c:\n    Image:  x\n");
    }

    #[test]
    fn durations() {
        assert_eq!(duration("1m30s").ok(), Some(Duration::from_secs(90)));
        assert_eq!(duration("500ms").ok(), Some(Duration::from_millis(500)));
        assert!(duration("5 minutes").is_err());
    }
}
