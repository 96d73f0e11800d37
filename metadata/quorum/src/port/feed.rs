//! The feed for brokers that are no members.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aquifer_image::{Image, encode_snapshot};
use aquifer_peer::{Caller, Declined, Listener};
use aquifer_types::LogIndex;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::network::upgrade;
use super::{FEED, decode, encode};
use crate::machine::FeedChunk;
use crate::quorum::{Quorum, WeakQuorum};
use crate::raft::Proposal;

/// How long a question waits here for something to happen.
pub(super) const HOLD: Duration = Duration::from_secs(5);
/// Encoded commands in one answer; one command may be larger.
const CHUNK_BYTES: usize = 4 << 20;

#[derive(Serialize, Deserialize)]
pub(super) struct FeedRequest {
    pub(super) after: LogIndex,
}

#[derive(Serialize, Deserialize)]
pub(super) enum FeedReply {
    /// Nothing happened: ask again.
    Nothing,
    /// The encoded image behind this head covers everything up to `index`.
    Snapshot { index: LogIndex },
    /// The commands after the reader's position.
    Entries { entries: Vec<(LogIndex, Proposal)>, through: LogIndex },
}

/// The latest image that was encoded for somebody. A broker that comes a little later gets the same one and the entries
/// after it, so that hundreds of them at once cost one encoding and its memory once.
type Encoded = Arc<Mutex<Option<(LogIndex, Bytes)>>>;

pub(super) fn serve(quorum: &Quorum, listener: &Listener) {
    let (quorum, encoded) = (quorum.downgrade(), Encoded::default());
    listener.serve(&FEED, move |_: Caller, request: Bytes| answer(quorum.clone(), encoded.clone(), request));
}

async fn answer(quorum: WeakQuorum, encoded: Encoded, request: Bytes) -> Result<Bytes, Declined> {
    let quorum = upgrade(&quorum)?;
    let (FeedRequest { after }, _) = decode(request).map_err(Declined)?;
    let chunk = match tokio::time::timeout(HOLD, quorum.pull(after)).await {
        // Somebody else may know more.
        Err(_) if quorum.silence() >= HOLD => {
            return Err(Declined("it does not hear of any leader of the quorum".to_owned()));
        }
        Err(_) => return Ok(encode(&FeedReply::Nothing, &Bytes::new())),
        Ok(Err(ended)) => return Err(Declined(ended.to_string())),
        Ok(Ok(chunk)) => chunk,
    };
    match chunk {
        FeedChunk::Snapshot { index, image } => {
            let start = quorum.inner().machine.feed_start();
            let image = aquifer_runtime::blocking(move || snapshot(&encoded, start, index, &image));
            let (index, image) = image.await.map_err(|panic| Declined(panic.to_string()))?;
            Ok(encode(&FeedReply::Snapshot { index }, &image))
        }
        FeedChunk::Entries { entries, through } => {
            let (mut chosen, mut bytes) = (Vec::new(), 0);
            let count = entries.len();
            for (index, command) in entries {
                let proposal = Proposal::new(command);
                bytes += proposal.encoded().len();
                chosen.push((index, proposal));
                if bytes >= CHUNK_BYTES {
                    break;
                }
            }
            let through = match chosen.last() {
                Some((last, _)) if chosen.len() < count => *last,
                _ => through,
            };
            Ok(encode(&FeedReply::Entries { entries: chosen, through }, &Bytes::new()))
        }
    }
}

/// The image that was encoded last, if the feed still goes on from there; else this one. Blocks.
fn snapshot(encoded: &Encoded, feed_start: LogIndex, index: LogIndex, image: &Image) -> (LogIndex, Bytes) {
    // Held while encoding: who comes meanwhile waits for the same bytes instead of making them again.
    let mut encoded = encoded.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((known, bytes)) = encoded.as_ref().filter(|(known, _)| *known >= feed_start) {
        return (*known, bytes.clone());
    }
    let bytes = Bytes::from(encode_snapshot(image));
    *encoded = Some((index, bytes.clone()));
    (index, bytes)
}
