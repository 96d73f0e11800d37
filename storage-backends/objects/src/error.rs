use std::fmt;
use std::sync::Arc;

use crate::metrics::Operation;

/// What kind of failure it was; match on this, never on text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No object has this key.
    NotFound,
    /// Another object has this key; it was not touched.
    AlreadyExists,
    /// The store asked us to slow down (503 SlowDown, 429), again and again.
    Throttled,
    /// No answer within the time limit.
    Timeout,
    /// The store, or the way to it, is broken: connection refused, reset, 5xx, a DataNode is dead.
    Unavailable,
    /// Credentials or permissions do not suffice.
    Denied,
    /// The store's certificate is not one that we trust.
    Untrusted,
    /// The store has no space left, or a quota is used up.
    Full,
    /// The object is shorter than the range that was asked for.
    Truncated,
    /// The caller's mistake: a malformed key, an empty range, an upload used after it failed.
    Invalid,
}

impl ErrorKind {
    /// All kinds, in the order in which metrics count them.
    pub const ALL: [ErrorKind; 10] = [
        ErrorKind::NotFound,
        ErrorKind::AlreadyExists,
        ErrorKind::Throttled,
        ErrorKind::Timeout,
        ErrorKind::Unavailable,
        ErrorKind::Denied,
        ErrorKind::Untrusted,
        ErrorKind::Full,
        ErrorKind::Truncated,
        ErrorKind::Invalid,
    ];

    /// The kind as a metric label: `not_found`, `throttled`, …
    pub fn label(self) -> &'static str {
        match self {
            ErrorKind::NotFound => "not_found",
            ErrorKind::AlreadyExists => "already_exists",
            ErrorKind::Throttled => "throttled",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Denied => "denied",
            ErrorKind::Untrusted => "untrusted",
            ErrorKind::Full => "full",
            ErrorKind::Truncated => "truncated",
            ErrorKind::Invalid => "invalid",
        }
    }

    /// Whether the same call may succeed a moment later.
    pub fn is_transient(self) -> bool {
        matches!(self, ErrorKind::Throttled | ErrorKind::Timeout | ErrorKind::Unavailable)
    }

    fn describe(self) -> &'static str {
        match self {
            ErrorKind::NotFound => "there is no such object",
            ErrorKind::AlreadyExists => "another object has this key",
            ErrorKind::Throttled => "the store keeps asking to slow down",
            ErrorKind::Timeout => "no answer within the time limit",
            ErrorKind::Unavailable => "the store is not available",
            ErrorKind::Denied => "access denied",
            ErrorKind::Untrusted => "the store's certificate is not trusted",
            ErrorKind::Full => "the store is full",
            ErrorKind::Truncated => "the object is too short",
            ErrorKind::Invalid => "invalid request",
        }
    }

    fn remedy(self) -> Option<&'static str> {
        Some(match self {
            ErrorKind::Throttled => "reduce the load, or give the store more capacity",
            ErrorKind::Timeout | ErrorKind::Unavailable => {
                "check that the store runs and can be reached from this host (`aquifer store probe URL`)"
            }
            ErrorKind::Denied => {
                "check the credentials, this host's clock and the rights on bucket or directory"
            }
            ErrorKind::Untrusted => {
                "name the PEM file of the CA that signed it in store.s3.ca.file, and reach the store by a name that the certificate has"
            }
            ErrorKind::Full => "free or add space in the store, or raise the quota",
            ErrorKind::Truncated => "the object is damaged: restore it from a copy",
            ErrorKind::NotFound | ErrorKind::AlreadyExists | ErrorKind::Invalid => return None,
        })
    }
}

/// What a failed call may have done to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Nothing changed, and nothing will.
    None,
    /// It may have happened, or may still happen: look before relying on either.
    Unknown,
}

/// A failed call: what, where, with what effect, and what to do about it.
#[derive(Clone, Debug, thiserror::Error)]
pub struct StoreError {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// Whether the call may have had an effect.
    pub effect: Effect,
    /// What was tried.
    pub operation: Operation,
    /// The store's URL, without credentials.
    pub store: Arc<str>,
    /// The object's key; of a listing its prefix.
    pub key: String,
    /// How often it was tried.
    pub attempts: u32,
    /// The first line of what the store said, or our own finding.
    pub detail: String,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, store, key, detail, .. } = self;
        write!(f, "{} of '{key}' in {store} failed", operation.label())?;
        if self.attempts > 1 {
            write!(f, " after {} attempts", self.attempts)?;
        }
        write!(f, ": {}", self.kind.describe())?;
        if !detail.is_empty() {
            write!(f, " ({detail})")?;
        }
        if self.effect == Effect::Unknown {
            write!(f, "; it may have taken effect all the same")?;
        }
        match self.kind.remedy() {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

/// Why a store could not be opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL cannot be understood.
    #[error(
        "the store URL '{url}' is not valid: {reason}; use file:///path, s3://bucket/prefix, hdfs://service/path or memory://"
    )]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An option is wrong or missing.
    #[error("store {url}: option {option}: {reason}")]
    Option {
        /// The store's URL.
        url: String,
        /// The option's name under `store.`.
        option: &'static str,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The place cannot be used.
    #[error("the store {url} cannot be opened: {reason}")]
    Unusable {
        /// The store's URL.
        url: String,
        /// What is wrong and what to do.
        reason: String,
    },
}

/// What one attempt of a backend reports; `attempt` makes a [`StoreError`] of the last one.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    pub(crate) effect: Effect,
    pub(crate) detail: String,
}

impl Failure {
    /// A failure that certainly changed nothing.
    pub(crate) fn none(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, effect: Effect::None, detail: first_line(detail.into()) }
    }

    /// A failure that may have changed something.
    pub(crate) fn unknown(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, effect: Effect::Unknown, detail: first_line(detail.into()) }
    }

    /// The same failure of a call that only reads.
    pub(crate) fn of_read(self) -> Self {
        Self { effect: Effect::None, ..self }
    }
}

/// The first line, and not too much of it: stores answer with whole Java stacks and HTML pages.
fn first_line(text: String) -> String {
    const MAX_CHARS: usize = 300;
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    match line.char_indices().nth(MAX_CHARS) {
        None if line.len() == text.len() => text,
        None => line.to_owned(),
        Some((end, _)) => format!("{}…", &line[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_java_stack_only_the_first_line_is_kept() {
        let stack = "org.apache.hadoop.FileNotFound: gone\n\tat org.apache.Namenode(Namenode.java:1)\n";
        assert_eq!(Failure::none(ErrorKind::NotFound, stack).detail, "org.apache.hadoop.FileNotFound: gone");
        assert_eq!(first_line("ä".repeat(400)).chars().count(), 301);
    }

    #[test]
    fn an_error_says_what_where_effect_and_remedy() {
        let error = StoreError {
            kind: ErrorKind::Timeout,
            effect: Effect::Unknown,
            operation: Operation::PutNew,
            store: "s3://b".into(),
            key: "k".into(),
            attempts: 3,
            detail: "30 s".into(),
        };
        assert_eq!(
            error.to_string(),
            "put of 'k' in s3://b failed after 3 attempts: no answer within the time limit (30 s); it may \
             have taken effect all the same; check that the store runs and can be reached from this host \
             (`aquifer store probe URL`)"
        );
    }
}
