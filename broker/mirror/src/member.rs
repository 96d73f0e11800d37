use std::convert::Infallible;
use std::time::Duration;

use aquifer_client::MetadataClient;
use aquifer_image::{Image, Segment, SegmentState};
use aquifer_peer::{Caller, Declined, Listener, Serve, StreamReceiver, StreamSender};
use aquifer_runtime::{OnEnd, TaskGroup};
use aquifer_types::{LogIndex, NodeId, SegmentId};
use aquifer_wal::{MirrorCopy, MirrorStore};
use bytes::Bytes;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::channels::{
    Copy, READ_BYTES, Read, Said, Seal, Sealed, WAL_MIRROR, WAL_READ, WAL_SEAL, decode, encode, join_frames,
};

/// How long the entry that opened a segment may take to arrive here; its owner may be ahead of us.
const KNOWN_LIMIT: Duration = Duration::from_secs(1);

/// This broker as a mirror of others' segments.
#[derive(Clone, Debug)]
pub struct Member {
    store: MirrorStore,
    metadata: MetadataClient,
}

impl Member {
    /// Serves the mirrors' channels from now on, and forgets copies that the metadata released.
    pub fn serve(
        store: MirrorStore,
        metadata: MetadataClient,
        listener: &Listener,
        tasks: &TaskGroup,
    ) -> Self {
        let member = Self { store, metadata };
        let opening = member.clone();
        listener.serve_streams(&WAL_MIRROR, move |caller: Caller, asked: Bytes| {
            let member = opening.clone();
            async move { member.begin(caller, &asked).await }
        });
        let sealing = member.clone();
        listener.serve(&WAL_SEAL, move |_: Caller, asked: Bytes| {
            let member = sealing.clone();
            async move { member.seal(&asked).await }
        });
        let reading = member.clone();
        listener.serve(&WAL_READ, move |_: Caller, asked: Bytes| {
            let answer = reading.read(&asked);
            async move { answer }
        });
        let (released, stopping) = (member.clone(), tasks.stopping().clone());
        tasks.spawn("mirror-release", OnEnd::Continue, async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = released.forget_released() => {}
            }
            Ok::<_, Infallible>(())
        });
        member
    }

    /// Keeps copies until their owners have gone on without `node`, which is this one and has left, or `limit` is over; then ends.
    pub async fn leave(&self, node: NodeId, limit: Duration) {
        let mirrored_here = |segment: &Segment| {
            segment.state == SegmentState::Open && segment.members.iter().any(|member| member.node == node)
        };
        let mut changes = self.metadata.changes();
        let left = changes.wait_for(|image| !image.segments().any(mirrored_here));
        if timeout(limit, left).await.is_err() {
            info!("other brokers still mirror their WAL here; they go on without it when this process ends");
        }
        // What is not written was not acknowledged.
        let _ = self.store.close().await;
    }

    async fn begin(&self, caller: Caller, asked: &[u8]) -> Result<Serve, Declined> {
        let copy: Copy = decode(asked).map_err(Declined)?;
        if copy.owner != caller.node {
            return Err(Declined(format!("node {} asks for a segment of node {}", caller.node, copy.owner)));
        }
        self.may_write(copy).await?;
        let kept = self.store.begin(copy.into()).map_err(|refusal| Declined(refusal.to_string()))?;
        Ok(Box::new(move |acks, frames| Box::pin(keep(copy.segment, kept, acks, frames))))
    }

    /// Whether the metadata says that the segment is open, and this disk a member of it. One that was released is never begun
    /// again, even if all that this disk knew of it is gone.
    async fn may_write(&self, copy: Copy) -> Result<(), Declined> {
        let mut changes = self.metadata.changes();
        let opened_at = LogIndex(copy.segment.get());
        let known = timeout(KNOWN_LIMIT, changes.wait_for(|image| image.applied() >= opened_at)).await;
        if !matches!(known, Ok(Ok(_))) {
            return Err(Declined(format!("segment {} is not known here yet", copy.segment)));
        }
        let image = self.metadata.image();
        let Some(segment) = image.segment(copy.segment).filter(|segment| segment.owner == copy.owner) else {
            return Err(Declined(format!("segment {} is released", copy.segment)));
        };
        let listed = segment.members.iter().any(|member| member.disk == copy.disk);
        match segment.state {
            SegmentState::Open if listed => Ok(()),
            SegmentState::Open => {
                Err(Declined(format!("disk {} is no mirror of segment {}", copy.disk, segment.id)))
            }
            state => Err(Declined(format!("segment {} is {state:?}", segment.id))),
        }
    }

    async fn seal(&self, asked: &[u8]) -> Result<Bytes, Declined> {
        let Seal { copy, epoch } = decode(asked).map_err(Declined)?;
        let sealed = match self.store.seal(copy.into(), epoch).await {
            Ok(tail) => Sealed::from(tail),
            Err(refusal) => Sealed::Abstains(refusal.to_string()),
        };
        debug!(segment = %copy.segment, owner = %copy.owner, epoch, ?sealed, "sealed a mirrored WAL segment");
        Ok(encode(&sealed))
    }

    fn read(&self, asked: &[u8]) -> Result<Bytes, Declined> {
        let Read { copy, from } = decode(asked).map_err(Declined)?;
        let frames = self.store.read(copy.into(), from, READ_BYTES);
        frames.map(|frames| join_frames(&frames)).map_err(|refusal| Declined(refusal.to_string()))
    }

    async fn forget_released(&self) {
        let mut changes = self.metadata.changes();
        loop {
            let image = changes.borrow_and_update().clone();
            self.store.retain(|segment| may_be_needed(&image, segment));
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Whether a segment is not released, as far as this image can tell.
fn may_be_needed(image: &Image, segment: u64) -> bool {
    segment > image.applied().get() || image.segment(SegmentId(segment)).is_some()
}

/// Takes an owner's frames until one of both ends it.
async fn keep(segment: SegmentId, copy: MirrorCopy, mut acks: StreamSender, mut frames: StreamReceiver) {
    let owner = frames.node();
    let mut progress = copy.progress();
    let refused = loop {
        tokio::select! {
            biased;
            changed = progress.changed() => {
                if changed.is_err() {
                    break "the copy was released".to_owned();
                }
                let now = *progress.borrow_and_update();
                if acks.send(&[Said::Progress(now).encode()]).await.is_err() {
                    return;
                }
            }
            frame = frames.receive() => match frame {
                Ok(Some(frame)) => if let Err(refusal) = copy.append(frame) {
                    break refusal.to_string();
                },
                // It went on in another segment.
                Ok(None) => return,
                Err(error) => {
                    return info!(%segment, %owner, %error, "the link of a mirrored WAL segment broke");
                }
            },
        }
    };
    warn!(%segment, %owner, reason = refused, "this mirror takes no more frames of a WAL segment");
    let _ = acks.send(&[Said::Refused(refused).encode()]).await;
}
