//! Ids of 128 random bits, shown as Kafka shows a `Uuid`: 22 characters of URL-safe base64 without padding.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A text that is not an id in Kafka's form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind}: expected 22 characters of URL-safe base64 without padding")]
pub struct InvalidId {
    /// What the text was meant to be.
    pub kind: &'static str,
    /// The text, cut to a length fit for a message.
    pub text: String,
}

/// Declares one newtype over a [`Uuid`], shown and parsed in Kafka's base64 form.
macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// All bits zero: Kafka's way to say "no id".
            pub const ZERO: Self = Self(Uuid::nil());

            /// The bare UUID, for the places where it leaves the typed world.
            pub const fn get(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&URL_SAFE_NO_PAD.encode(self.0.as_bytes()))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse(text).map(Self).ok_or_else(|| InvalidId { kind: $kind, text: text.chars().take(64).collect() })
            }
        }
    };
}

uuid_id! {
    /// A cluster, drawn once when its quorum is bootstrapped.
    ClusterId, "cluster id"
}
uuid_id! {
    /// A topic. A name that is deleted and created again gets a new id.
    TopicId, "topic id"
}
uuid_id! {
    /// A WAL disk, written on it when it is formatted; a blank or replaced disk has another one.
    DiskId, "disk id"
}

fn parse(text: &str) -> Option<Uuid> {
    // The length is checked first: base64 of 16 bytes has exactly 22 characters.
    if text.len() != 22 {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    Some(Uuid::from_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_shown_as_kafka_shows_it() {
        // org.apache.kafka.common.Uuid: METADATA_TOPIC_ID is (0, 1).
        assert_eq!(TopicId(Uuid::from_u128(1)).to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(TopicId::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
    }

    #[test]
    fn what_is_shown_parses_back() {
        let id = ClusterId(Uuid::from_u128(0xfedc_ba98_7654_3210_0123_4567_89ab_cdef));
        assert_eq!(id.to_string().parse::<ClusterId>(), Ok(id));
    }

    #[test]
    fn a_wrong_text_says_what_was_expected() {
        let error = "not-an-id".parse::<ClusterId>().unwrap_err();
        assert!(error.to_string().starts_with("`not-an-id` is not a cluster id: expected 22"), "{error}");
        assert!("AAAAAAAAAAAAAAAAAAAA!!".parse::<ClusterId>().is_err());
        assert!("ééééééééééé".parse::<ClusterId>().is_err());
    }
}
