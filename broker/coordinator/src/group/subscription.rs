//! The topics that consumers subscribe to, read from their join metadata.

use std::collections::BTreeSet;

use bytes::{Buf, Bytes};

use super::GroupState;

impl GroupState {
    /// `None` if the protocol is opaque, or a member's metadata is not what Kafka's consumers send.
    pub(super) fn compute_subscribed_topics(&self) -> Option<BTreeSet<String>> {
        if !self.is_consumer_group() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol_name.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            read_topics(member.metadata(protocol), &mut topics)?;
        }
        Some(topics)
    }
}

/// `ConsumerProtocolSubscription`: a two-byte version, then an array of topic names; the rest does not matter here.
fn read_topics(mut metadata: Bytes, topics: &mut BTreeSet<String>) -> Option<()> {
    if metadata.try_get_i16().ok()? < 0 {
        return None;
    }
    let count = metadata.try_get_i32().ok()?;
    for _ in 0..count {
        let length = usize::try_from(metadata.try_get_i16().ok()?).ok()?;
        if length > metadata.remaining() {
            return None;
        }
        topics.insert(String::from_utf8(metadata.split_to(length).to_vec()).ok()?);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topics_of_a_subscription_are_read_and_broken_ones_refused() {
        let mut topics = BTreeSet::new();
        let metadata = Bytes::from_static(b"\x00\x01\x00\x00\x00\x02\x00\x01a\x00\x02bc\xff\xff\xff\xff");
        assert_eq!(read_topics(metadata.clone(), &mut topics), Some(()));
        assert_eq!(topics, BTreeSet::from(["a".to_owned(), "bc".to_owned()]));
        for end in 0..13 {
            assert_eq!(read_topics(metadata.slice(..end), &mut BTreeSet::new()), None);
        }
        assert_eq!(read_topics(Bytes::from_static(b"\x00\x01\x7f\xff\xff\xff"), &mut topics), None);
    }
}
