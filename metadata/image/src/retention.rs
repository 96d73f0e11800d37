//! Retention by time and size: which of a stream's committed ranges are no longer wanted.

use aquifer_types::StreamId;

use crate::entities::ObjectState;
use crate::image::Image;

/// What a topic's configs ask for. `None` (Kafka's -1) is "no limit".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// `retention.ms`: records older than this may go.
    pub ms: Option<i64>,
    /// `retention.bytes`: the oldest may go while what stays is at least this large.
    pub bytes: Option<u64>,
}

/// The stream's new start, or `None` if all of it stays.
///
/// Whole ranges go, oldest first, as Kafka's segments do: by time while the range's largest timestamp is
/// more than `ms` before `now_ms`; by size while what stays, `tail_bytes` included, is not below `bytes`.
/// `tail_bytes` is what the stream has in the WAL only; the tail itself never goes. A range whose records
/// have no timestamp is as old as the commit of its object.
pub fn new_start(
    image: &Image,
    stream: StreamId,
    retention: Retention,
    tail_bytes: u64,
    now_ms: i64,
) -> Option<u64> {
    let mut kept_bytes = image.stream(stream)?.bytes.saturating_add(tail_bytes);
    let mut start = None;
    for range in image.ranges(stream, 0) {
        let time_ms = if range.max_timestamp_ms >= 0 {
            range.max_timestamp_ms
        } else {
            match image.object(range.object) {
                Some(ObjectState::Committed { commit, .. }) => commit.at_ms,
                // A live range keeps its object committed; without its time nothing is old enough.
                _ => return start,
            }
        };
        let too_old = retention.ms.is_some_and(|ms| now_ms.saturating_sub(time_ms) > ms);
        let too_much = retention.bytes.is_some_and(|bytes| kept_bytes.saturating_sub(range.bytes) >= bytes);
        if !too_old && !too_much {
            break;
        }
        kept_bytes = kept_bytes.saturating_sub(range.bytes);
        start = Some(range.end);
    }
    start
}
