//! Resource quantities: `500m`, `1.5Gi`, `12e6`.
//!
//! A quantity is a count of billionths in 128 bits: exact for everything a cluster can hold
//! (beyond 1.7e29 it saturates). Not here: which resources allow fractions (`validate` says).

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

/// How a quantity is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `12M`.
    DecimalSi,
    /// `12Mi`.
    BinarySi,
    /// `12e6`.
    DecimalExponent,
}

/// A fixed-point number with the format it prints in. Compares by value.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// Why a text is not a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// It does not look like one.
    #[error(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Format,
    /// The suffix is not known.
    #[error("unable to parse quantity's suffix")]
    Suffix,
    /// The number cannot be read.
    #[error("unable to parse numeric part of quantity")]
    Number,
}

const NANO: i128 = 1_000_000_000;
/// The greatest quantity with a binary suffix.
const MAX_BINARY: i128 = (i64::MAX as i128) * NANO;
const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY: [(&str, u32); 6] =
    [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

/// The greatest decimal quantity: a number that reads back as it prints.
const MAX_DECIMAL: i128 = 10i128.pow(38);

/// The parts of a quantity's text.
struct Parts<'a> {
    negative: bool,
    /// Integer digits without leading zeros.
    whole: &'a str,
    fraction: &'a str,
    format: Format,
    /// Of 10 or 2, by the format.
    exponent: i32,
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

fn split(text: &str) -> Result<Parts<'_>, QuantityError> {
    if text.is_empty() {
        return Err(QuantityError::Format);
    }
    let negative = text.starts_with('-');
    let rest = text.strip_prefix(['-', '+']).unwrap_or(text).trim_start_matches('0');
    let (whole, rest) = rest.split_at(digits(rest));
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    let letters = suffix.bytes().take_while(|b| b"eEinumkKMGTP".contains(b)).count();
    let tail = &suffix[letters..];
    let number = tail.strip_prefix(['-', '+']).unwrap_or(tail);
    if digits(number) != number.len() {
        return Err(QuantityError::Format);
    }
    let (format, exponent) = if let Some((_, e)) = DECIMAL.iter().find(|(s, _)| *s == suffix) {
        (Format::DecimalSi, *e)
    } else if let Some((_, e)) = BINARY.iter().find(|(s, _)| *s == suffix) {
        (Format::BinarySi, i32::try_from(*e).unwrap_or(0))
    } else {
        let number = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError::Suffix)?;
        let exponent: i32 = number.parse().map_err(|_| QuantityError::Suffix)?;
        (Format::DecimalExponent, exponent)
    };
    Ok(Parts { negative, whole, fraction, format, exponent })
}

/// `mantissa * 10^power`, rounded away from zero, saturating.
fn shift(mantissa: i128, power: i32) -> i128 {
    if mantissa == 0 {
        return 0;
    }
    match u32::try_from(power) {
        Ok(up) => {
            let shifted = 10i128.checked_pow(up).and_then(|f| mantissa.checked_mul(f));
            shifted.map_or(MAX_DECIMAL, |nanos| nanos.min(MAX_DECIMAL))
        }
        Err(_) => match 10i128.checked_pow(power.unsigned_abs()) {
            Some(f) => mantissa / f + i128::from(mantissa % f != 0),
            None => 1,
        },
    }
}

impl Quantity {
    /// Zero.
    pub const ZERO: Self = Self { nanos: 0, format: Format::DecimalSi };

    /// Reads a quantity.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let parts = split(text)?;
        let mut mantissa: i128 = 0;
        let mut dropped = 0i32;
        let mut rest = false;
        for b in parts.whole.bytes().chain(parts.fraction.bytes()) {
            let next = mantissa.checked_mul(10).and_then(|m| m.checked_add(i128::from(b - b'0')));
            // The first digits suffice: what does not fit is below a billionth or saturates.
            match next.filter(|n| dropped == 0 && *n < 10i128.pow(36)) {
                Some(next) => mantissa = next,
                None => {
                    dropped = dropped.saturating_add(1);
                    rest |= b != b'0';
                }
            }
        }
        let fraction = i32::try_from(parts.fraction.len()).unwrap_or(i32::MAX);
        let scale = dropped.saturating_sub(fraction);
        if rest && scale < 0 {
            mantissa += 1;
        }
        let mut format = parts.format;
        let nanos = if format == Format::BinarySi {
            let factor = 1i128 << parts.exponent;
            let whole = mantissa
                .checked_mul(factor)
                .map_or(MAX_BINARY, |m| shift(m, scale.saturating_add(9)));
            if whole > 0 && whole < NANO {
                format = Format::DecimalSi;
            }
            whole.min(MAX_BINARY)
        } else {
            shift(mantissa, scale.saturating_add(parts.exponent).saturating_add(9))
        };
        Ok(Self { nanos: if parts.negative { -nanos } else { nanos }, format })
    }

    /// A whole number in the given format.
    pub fn new(value: i64, format: Format) -> Self {
        Self { nanos: i128::from(value) * NANO, format }
    }

    /// Thousandths.
    pub fn milli(value: i64) -> Self {
        Self { nanos: i128::from(value) * 1_000_000, format: Format::DecimalSi }
    }

    /// The whole number, rounded away from zero.
    pub fn value(self) -> i64 {
        self.scaled(NANO)
    }

    /// Thousandths, rounded away from zero.
    pub fn milli_value(self) -> i64 {
        self.scaled(1_000_000)
    }

    fn scaled(self, unit: i128) -> i64 {
        let up = i128::from(self.nanos % unit != 0) * self.nanos.signum();
        let value = self.nanos / unit + up;
        i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
    }

    /// Whether it is a multiple of a thousandth (`1_000_000`) or of one (`1_000_000_000`) billionths.
    pub fn is_multiple_of_nanos(self, unit: i128) -> bool {
        self.nanos % unit == 0
    }

    /// Rounded away from zero to a multiple of a thousandth.
    #[must_use]
    pub fn round_up_to_milli(self) -> Self {
        let milli = 1_000_000;
        let up = i128::from(self.nanos % milli != 0) * self.nanos.signum();
        Self { nanos: (self.nanos / milli + up) * milli, format: self.format }
    }

    /// -1, 0 or 1.
    pub fn signum(self) -> i32 {
        match self.nanos.cmp(&0) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }
    }

    /// Whether it is zero.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// How it prints.
    pub fn format(self) -> Format {
        self.format
    }

    /// As a floating-point number.
    #[allow(clippy::cast_precision_loss)]
    pub fn as_f64(self) -> f64 {
        self.nanos as f64 / NANO as f64
    }

    /// The product with a whole number, saturating.
    #[must_use]
    pub fn times(self, factor: i64) -> Self {
        Self { nanos: self.nanos.saturating_mul(i128::from(factor)), format: self.format }
    }
}

impl std::ops::Add for Quantity {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Self { nanos: self.nanos.saturating_add(other.nanos), format }
    }
}

impl std::ops::Sub for Quantity {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl std::ops::Neg for Quantity {
    type Output = Self;
    fn neg(self) -> Self {
        Self { nanos: -self.nanos, format: self.format }
    }
}

impl std::ops::AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl fmt::Display for Quantity {
    /// The canonical form: no fraction, the greatest suffix that keeps it exact.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let binary = self.format == Format::BinarySi
            && self.nanos % NANO == 0
            && self.nanos.abs() >= 1024 * NANO;
        if binary {
            let mut number = self.nanos / NANO;
            let mut suffix = "";
            for (name, _) in BINARY {
                if number % 1024 != 0 {
                    break;
                }
                number /= 1024;
                suffix = name;
            }
            return write!(f, "{number}{suffix}");
        }
        let (mut number, mut exponent) = (self.nanos, -9);
        let cap = if self.format == Format::DecimalExponent { 27 } else { 18 };
        while number % 1000 == 0 && exponent < cap {
            number /= 1000;
            exponent += 3;
        }
        if self.format == Format::DecimalExponent {
            return if exponent == 0 {
                write!(f, "{number}")
            } else {
                write!(f, "{number}e{exponent}")
            };
        }
        let suffix = DECIMAL.iter().find(|(_, e)| *e == exponent).map_or("", |(s, _)| *s);
        write!(f, "{number}{suffix}")
    }
}

impl std::str::FromStr for Quantity {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        Self::parse(text)
    }
}

/// The form in which an API server stores and returns a quantity: the text itself where it is
/// nearly canonical already (`1.5` becomes `1500m`, `1025Ki` and `0100m`… stay), else the canonical
/// form.
pub fn normalize(text: &str) -> Result<Cow<'_, str>, QuantityError> {
    let text = text.trim();
    let quantity = Quantity::parse(text)?;
    let parts = split(text)?;
    let places = i32::try_from(parts.whole.len().max(1) + parts.fraction.len()).unwrap_or(99);
    let keep = match parts.format {
        Format::BinarySi => {
            let room = 15 - places - parts.exponent * 3 / 10 - 1;
            let number: i64 = parts.whole.parse().unwrap_or(0);
            parts.fraction.is_empty() && room >= 0 && number & 7 != 0
        }
        Format::DecimalSi | Format::DecimalExponent => {
            let scale =
                parts.exponent.saturating_sub(i32::try_from(parts.fraction.len()).unwrap_or(0));
            let shifted_zero = parts.whole.is_empty();
            let ends = format!("{}{}", parts.whole, parts.fraction).ends_with("000");
            places <= 18 && scale >= -9 && scale % 3 == 0 && !shifted_zero && !ends
        }
    };
    Ok(if keep { Cow::Borrowed(text) } else { Cow::Owned(quantity.to_string()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_forms() {
        let cases = [
            ("0", "0"),
            ("1000m", "1"),
            ("1.5", "1500m"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("5.", "5"),
            ("1000", "1k"),
            ("12000M", "12G"),
            ("1024Ki", "1Mi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("0.0001Ki", "102400u"),
            ("1e3", "1e3"),
            ("12e6", "12e6"),
            ("1.2345678901", "1234567891n"),
            ("-1.5", "-1500m"),
            ("1E", "1E"),
            ("1n", "1n"),
            ("0.1n", "1n"),
        ];
        for (text, canonical) in cases {
            assert_eq!(
                Quantity::parse(text).map(|q| q.to_string()).as_deref(),
                Ok(canonical),
                "{text}"
            );
        }
    }

    #[test]
    fn normalized_keeps_what_is_nearly_canonical() {
        for (text, out) in [
            ("1025Ki", "1025Ki"),
            ("1024Ki", "1Mi"),
            ("1500m", "1500m"),
            ("1.5", "1500m"),
            ("+5", "+5"),
            ("2000m", "2"),
            ("0.5", "500m"),
            ("128974848", "128974848"),
            ("1e3", "1e3"),
        ] {
            assert_eq!(normalize(text).as_deref(), Ok(out), "{text}");
        }
    }

    #[test]
    fn faults() {
        assert_eq!(Quantity::parse(""), Err(QuantityError::Format));
        assert_eq!(Quantity::parse("1 Gi"), Err(QuantityError::Format));
        assert_eq!(Quantity::parse("1KiB"), Err(QuantityError::Format));
        assert_eq!(Quantity::parse("1KM"), Err(QuantityError::Suffix));
        assert_eq!(Quantity::parse("abc"), Err(QuantityError::Format));
    }

    #[test]
    fn arithmetic() {
        let q = |t: &str| Quantity::parse(t).expect("valid");
        assert_eq!((q("1") + q("500m")).to_string(), "1500m");
        assert_eq!((q("1Gi") - q("512Mi")).to_string(), "512Mi");
        assert_eq!(q("1Ki").cmp(&q("1k")), Ordering::Greater);
        assert_eq!((q("1500m").value(), q("-1500m").value(), q("1m").milli_value()), (2, -2, 1));
        assert_eq!(q("9e99").value(), i64::MAX);
    }
}
