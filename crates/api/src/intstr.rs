//! Values that are a number or a text: ports by number or name, amounts by count or percentage.
//!
//! Not here: which of both a field allows.

use serde_json::Value;

use crate::names::quote;

/// A number or a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntOrString {
    /// A number.
    Int(i64),
    /// A text.
    Text(String),
}

impl IntOrString {
    /// The value in JSON; `None` where it is neither an integer nor a text.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Number(n) => n.as_i64().map(Self::Int),
            Value::String(s) => Some(Self::Text(s.clone())),
            _ => None,
        }
    }

    /// The count out of `total`: the number itself, or the percentage, rounded up or down.
    pub fn scaled(&self, total: i64, round_up: bool) -> Result<i64, String> {
        let text = match self {
            Self::Int(n) => return Ok(*n),
            Self::Text(text) => text,
        };
        let number = text
            .strip_suffix('%')
            .ok_or("invalid value for IntOrString: invalid type: string is not a percentage")?;
        let number: i64 = number.parse().map_err(|_| {
            format!(
                "invalid value for IntOrString: invalid value {}: strconv.Atoi: parsing {}: invalid syntax",
                quote(text),
                quote(number)
            )
        })?;
        let product = number.saturating_mul(total);
        Ok(if round_up {
            product.div_euclid(100) + i64::from(product.rem_euclid(100) != 0)
        } else {
            product.div_euclid(100)
        })
    }
}

impl std::fmt::Display for IntOrString {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Int(n) => write!(f, "{n}"),
            Self::Text(s) => f.write_str(s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling() {
        let p = |t: &str| IntOrString::Text(t.to_owned());
        assert_eq!(p("25%").scaled(10, true), Ok(3));
        assert_eq!(p("25%").scaled(10, false), Ok(2));
        assert_eq!(p("100%").scaled(10, true), Ok(10));
        assert_eq!(IntOrString::Int(7).scaled(10, true), Ok(7));
        assert!(p("25").scaled(10, true).is_err() && p("x%").scaled(1, true).is_err());
    }
}
