//! Kafka's rules for topic names.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest topic name.
pub const MAX_TOPIC_NAME_LEN: usize = 249;

/// A text that cannot name a topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("topic name `{name}` is illegal: {reason}")]
pub struct InvalidTopicName {
    /// The text, cut to a length fit for a message.
    pub name: String,
    /// Which rule it breaks.
    pub reason: String,
}

/// Checks a name against Kafka's rules.
pub fn check_topic_name(name: &str) -> Result<(), InvalidTopicName> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name == "." || name == ".." {
        "`.` and `..` are not allowed"
    } else if name.len() > MAX_TOPIC_NAME_LEN {
        "it is longer than 249 characters"
    } else if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        "only ASCII letters, digits, `.`, `_` and `-` are allowed"
    } else {
        return Ok(());
    };
    let name = name.chars().take(MAX_TOPIC_NAME_LEN).collect();
    Err(InvalidTopicName { name, reason: reason.to_owned() })
}

/// What must differ between two topics: the name with `.` and `_` taken for the same.
pub(crate) fn canonical(name: &str) -> Arc<str> {
    name.replace('.', "_").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kafkas_own_examples() {
        for good in ["valid", "TOPIC", "nAmEs", "ar6", "VaL1d", "_0-9_.", "...", &"a".repeat(249)] {
            assert_eq!(check_topic_name(good), Ok(()), "{good}");
        }
        for bad in ["", "foo bar", "..", ".", "foo:bar", "foo=bar", "ü", "a\0", &"a".repeat(250)] {
            assert!(check_topic_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_message_names_the_rule() {
        let error = check_topic_name("my topic").unwrap_err();
        assert_eq!(
            error.to_string(),
            "topic name `my topic` is illegal: only ASCII letters, digits, `.`, `_` and `-` are allowed"
        );
    }
}
