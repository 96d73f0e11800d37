//! Checking the values that users give.

use super::definition::{Bounds, Definition, Kind};

/// A value that a config cannot take. (INVALID_CONFIG)
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConfig {
    /// Kafka has no such topic config.
    #[error("Unknown topic config name: {name}")]
    Unknown {
        /// As given.
        name: String,
    },
    /// The value does not fit.
    #[error("Invalid value {value} for configuration {name}: {expected}")]
    Value {
        /// The config.
        name: String,
        /// As given.
        value: String,
        /// What would fit.
        expected: String,
    },
    /// Two configs contradict each other.
    #[error("{name} ({value}) {rule} {other} ({other_value})")]
    Conflict {
        /// One of them.
        name: &'static str,
        /// Its value.
        value: i64,
        /// How they should relate.
        rule: &'static str,
        /// The other one.
        other: &'static str,
        /// Its value.
        other_value: i64,
    },
}

impl Definition {
    /// Whether `value` may be set; says what would fit otherwise.
    pub fn check(&self, value: &str) -> Result<(), InvalidConfig> {
        self.fits(value.trim()).map_err(|expected| InvalidConfig::Value {
            name: self.name.to_owned(),
            value: value.to_owned(),
            expected,
        })
    }

    fn fits(&self, value: &str) -> Result<(), String> {
        match self.kind {
            Kind::Boolean if value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false") => {
                Ok(())
            }
            Kind::Boolean => Err("Expected value to be either true or false".to_owned()),
            Kind::Int => {
                let number = value.parse::<i32>().map_err(|_| "Not a number of type INT".to_owned())?;
                self.within(i64::from(number))
            }
            Kind::Long => {
                let number = value.parse::<i64>().map_err(|_| "Not a number of type LONG".to_owned())?;
                self.within(number)
            }
            Kind::Double => {
                let number = value.parse::<f64>().map_err(|_| "Not a number of type DOUBLE".to_owned())?;
                match self.bounds {
                    Bounds::Fraction(low, high) if !(low..=high).contains(&number) => {
                        Err(format!("Value must be between {low} and {high}"))
                    }
                    _ => Ok(()),
                }
            }
            Kind::String => self.word(value),
            Kind::List => self.list(value),
        }
    }

    fn within(&self, number: i64) -> Result<(), String> {
        match self.bounds {
            Bounds::AtLeast(low) if number < low => Err(format!("Value must be at least {low}")),
            Bounds::Between(low, high) if !(low..=high).contains(&number) => {
                Err(format!("Value must be between {low} and {high}"))
            }
            // Zero is no level of gzip: -1 is its default, 1 its fastest.
            Bounds::Between(-1, 9) if number == 0 => {
                Err("Value must be between 1 and 9 or equal to -1".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn word(&self, value: &str) -> Result<(), String> {
        match self.bounds {
            Bounds::Words(words) if !words.contains(&value) => {
                Err(format!("String must be one of: {}", words.join(", ")))
            }
            _ => Ok(()),
        }
    }

    fn list(&self, value: &str) -> Result<(), String> {
        let mut entries = list_entries(value);
        match self.bounds {
            Bounds::Words(words) => {
                if entries.clone().next().is_none() {
                    return Err(format!("must be at least one of: {}", words.join(", ")));
                }
                entries.try_for_each(|entry| self.word(entry))
            }
            Bounds::ThrottledReplicas if value != "*" => {
                let replica = |entry: &str| {
                    entry.split_once(':').is_some_and(|(partition, broker)| {
                        partition.parse::<u32>().is_ok() && broker.parse::<u32>().is_ok()
                    })
                };
                if entries.all(replica) {
                    Ok(())
                } else {
                    Err("must be the literal '*' or a list of replicas as [partitionId]:[brokerId],..."
                        .to_owned())
                }
            }
            _ => Ok(()),
        }
    }
}

/// The entries of a comma-separated list.
pub fn list_entries(value: &str) -> impl Iterator<Item = &str> + Clone {
    value.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// Checks what a topic's own configs would be after a change: each alone, then together, with `effective` giving the
/// value of those that the topic does not set.
pub fn check_topic_configs<'a>(
    configs: impl IntoIterator<Item = (&'a str, &'a str)>,
    effective: impl Fn(&Definition) -> String,
) -> Result<(), InvalidConfig> {
    let mut set = std::collections::BTreeMap::new();
    for (name, value) in configs {
        let definition =
            Definition::named(name).ok_or_else(|| InvalidConfig::Unknown { name: name.to_owned() })?;
        definition.check(value)?;
        set.insert(definition.name, value.trim().to_owned());
    }
    let number = |name: &'static str| {
        let definition = Definition::named(name).expect("named by this file");
        let value = set.get(name).cloned().unwrap_or_else(|| effective(definition));
        value.parse::<i64>().unwrap_or_default()
    };
    let conflict = |name, value, rule, other, other_value| {
        Err(InvalidConfig::Conflict { name, value, rule, other, other_value })
    };
    let (least, most) = (number("min.compaction.lag.ms"), number("max.compaction.lag.ms"));
    if least > most {
        let (name, other) = ("min.compaction.lag.ms", "max.compaction.lag.ms");
        return conflict(name, least, "must not be larger than", other, most);
    }
    for (local, total) in
        [("local.retention.ms", "retention.ms"), ("local.retention.bytes", "retention.bytes")]
    {
        let (local_value, total_value) = (number(local), number(total));
        if total_value >= 0 && local_value > total_value {
            return conflict(local, local_value, "must not be larger than", total, total_value);
        }
    }
    Ok(())
}
