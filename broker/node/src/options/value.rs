use std::fmt;

use aquifer_server::OptionType;

/// The type of an option, with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number within bounds, both included.
    Int { min: i64, max: i64 },
    /// Bytes: a whole number, or one with a unit (`KiB`, `MiB`, `GiB`, `TiB`).
    Bytes { min: i64, max: i64 },
    /// One of some words.
    Choice(&'static [&'static str]),
    /// A comma-separated list.
    List,
    /// Text.
    Text,
    /// Text that is never shown.
    Secret,
}

/// A value that has passed its [`Kind`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Bool(bool),
    Int(i64),
    Text(String),
    List(Vec<String>),
}

impl fmt::Display for Value {
    /// As it would stand in a properties file; bytes without a unit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(flag) => write!(f, "{flag}"),
            Value::Int(number) => write!(f, "{number}"),
            Value::Text(text) => f.write_str(text),
            Value::List(items) => f.write_str(&items.join(",")),
        }
    }
}

impl Kind {
    /// Checks `text`.
    ///
    /// # Errors
    /// What would have been right, to follow "expected".
    pub(crate) fn parse(self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        match self {
            Kind::Bool => match text {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ => Err("'true' or 'false'".to_owned()),
            },
            Kind::Int { min, max } => bounded(text.parse().ok(), min, max)
                .ok_or_else(|| format!("a whole number {}", Bounds(min, max))),
            Kind::Bytes { min, max } => bounded(bytes(text), min, max)
                .ok_or_else(|| format!("a number of bytes such as 1073741824 or 1GiB, {}", Bounds(min, max))),
            Kind::Choice(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
            Kind::Choice(words) => Err(format!("one of {}", words.join(", "))),
            Kind::List => Ok(Value::List(
                text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect(),
            )),
            Kind::Text | Kind::Secret => Ok(Value::Text(text.to_owned())),
        }
    }
}

impl From<Kind> for OptionType {
    /// Numbers are as wide as their upper bound, which is how Kafka chose its types.
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Bool => Self::Boolean,
            Kind::Int { max, .. } | Kind::Bytes { max, .. } if max <= i64::from(i16::MAX) => Self::Short,
            Kind::Int { max, .. } | Kind::Bytes { max, .. } if max <= i64::from(i32::MAX) => Self::Int,
            Kind::Int { .. } | Kind::Bytes { .. } => Self::Long,
            Kind::Choice(_) | Kind::Text => Self::String,
            Kind::List => Self::List,
            Kind::Secret => Self::Password,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Bool => f.write_str("true or false"),
            Kind::Int { min, max } => write!(f, "whole number, {}", Bounds(*min, *max)),
            Kind::Bytes { min, max } => write!(f, "bytes, {}", Bounds(*min, *max)),
            Kind::Choice(words) => write!(f, "one of {}", words.join(", ")),
            Kind::List => f.write_str("list, separated by commas"),
            Kind::Text => f.write_str("text"),
            Kind::Secret => f.write_str("text, never shown"),
        }
    }
}

struct Bounds(i64, i64);

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            (i64::MIN, i64::MAX) => f.write_str("of 64 bits"),
            (min, i64::MAX) => write!(f, "at least {min}"),
            (min, max) => write!(f, "from {min} to {max}"),
        }
    }
}

fn bounded(value: Option<i64>, min: i64, max: i64) -> Option<Value> {
    value.filter(|value| (min..=max).contains(value)).map(Value::Int)
}

fn bytes(text: &str) -> Option<i64> {
    const UNITS: [(&str, i64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
    for (unit, factor) in UNITS {
        if let Some(number) = text.strip_suffix(unit) {
            return number.trim().parse::<i64>().ok()?.checked_mul(factor);
        }
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_a_unit() {
        let kind = Kind::Bytes { min: 0, max: i64::MAX };
        assert_eq!(kind.parse("2GiB"), Ok(Value::Int(2 << 30)));
        assert_eq!(kind.parse("64 MiB"), Ok(Value::Int(64 << 20)));
        assert_eq!(kind.parse("4096"), Ok(Value::Int(4096)));
        assert!(kind.parse("9999999999TiB").is_err(), "an overflow is no number");
        assert!(kind.parse("2GB").is_err());
    }

    #[test]
    fn bounds_are_part_of_the_message() {
        let error = Kind::Int { min: 1, max: 10 }.parse("11").expect_err("out of bounds");
        assert_eq!(error, "a whole number from 1 to 10");
    }

    #[test]
    fn a_list_drops_blanks() {
        assert_eq!(Kind::List.parse(" a, ,b"), Ok(Value::List(vec!["a".to_owned(), "b".to_owned()])));
    }
}
