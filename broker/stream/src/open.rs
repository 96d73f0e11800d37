//! Start: whose store is this, what did the WAL keep, which segment comes next.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};

use aquifer_client::MetadataClient;
use aquifer_image::{Image, SegmentState};
use aquifer_objects::Store;
use aquifer_runtime::{Clock, OnEnd, TaskGroup};
use aquifer_types::{BrokerEpoch, DiskId, NodeId, SegmentId};
use aquifer_wal::{Ensemble, Recovered};
use tokio::sync::{Notify, watch};
use tracing::info;

use crate::cold::ColdReader;
use crate::lock::lock;
use crate::marker::{self, Ownership};
use crate::mirroring::{self, Mirroring, Roller};
use crate::recovery::{self, Gaps, Recovery};
use crate::segment::Segments;
use crate::shared::{Committed, Gauges, Shared, Signals};
use crate::stream::StreamInner;
use crate::upload::{OldSegments, Uploader};
use crate::{Describe, Durability, OpenError, Streams, StreamsConfig, segment, sweep};

/// What streams are built on.
#[derive(Debug)]
pub struct StreamsParts {
    /// The WAL, opened and not started.
    pub wal: aquifer_wal::Opened,
    /// The object store.
    pub store: Store,
    /// The metadata, with this broker registered.
    pub metadata: MetadataClient,
    /// This node.
    pub node: NodeId,
    /// Its registration.
    pub broker_epoch: BrokerEpoch,
    /// The WAL's disk.
    pub disk: DiskId,
    /// How it is mirrored; `None`: it is that disk alone. Then mirrored segments that earlier processes of this node left must
    /// have been taken over before.
    pub mirroring: Option<Mirroring>,
    /// Knows what a payload is.
    pub describe: Describe,
    /// Wall time.
    pub clock: Clock,
    /// Where the tasks run. When the group stops, nothing is offloaded any more: shut the streams down before.
    pub tasks: TaskGroup,
}

impl Streams {
    /// Recovers what an earlier process left in the WAL, opens a segment for this one, and starts to offload.
    ///
    /// Recovered records are in memory when it returns; nothing is waited for that is not local, but for a short
    /// look at the store, and a long one if this node has never written anything.
    ///
    /// # Errors
    /// Each says what contradicts what, and what to do.
    pub async fn open(config: StreamsConfig, parts: StreamsParts) -> Result<Streams, OpenError> {
        let StreamsParts {
            mut wal,
            store,
            metadata,
            node,
            broker_epoch,
            disk,
            mirroring,
            describe,
            clock,
            tasks,
        } = parts;
        let unlisted = config.durability == Durability::Store;
        assert!(!unlisted || mirroring.is_none(), "a WAL that is only a buffer has no mirrors");
        let image = metadata.image();
        let cluster = image.cluster_id().ok_or(OpenError::NotBootstrapped)?;
        let first_start = wal.blank && image.objects().next().is_none();
        let ownership = marker::check(&store, &image, cluster, first_start, config.store_wait).await?;
        check_wal_is_there(&image, node, wal.blank && !config.accept_blank_wal)?;
        let recovered = only_here(&image, node, std::mem::take(&mut wal.recovered))?;
        let recovery = recovery::split(&image, recovered, Gaps::Refused, describe)?;
        let listed = match &mirroring {
            Some(mirroring) => mirroring.first_members(&metadata, node).await,
            None => Vec::new(),
        };
        let members: Vec<_> = listed.iter().map(mirroring::member).collect();
        let needed = mirroring.as_ref().map_or(1, |mirroring| mirroring.needed(members.len()));
        let needed = u32::try_from(needed).expect("a few copies");
        let segment = match config.durability {
            Durability::Wal => segment::open(&metadata, (node, broker_epoch), disk, listed, needed).await?,
            // Nobody will ask for it, so that nobody is told of it. The registration's entry is younger than all segments of
            // earlier processes.
            Durability::Store => SegmentId(broker_epoch.get()),
        };
        let sink: fn(&mut Vec<Committed>) = match config.durability {
            Durability::Wal => publish,
            // Published by the uploader.
            Durability::Store => Vec::clear,
        };
        let old_segments = old_segments(&image, node, &recovery);
        let ensemble = match &mirroring {
            Some(mirroring) => mirroring.ensemble(segment, &members),
            None => Ensemble::alone(),
        };
        let wal = wal.start_with(segment.get(), ensemble, sink, &tasks).await?;
        let unoffloaded_max_bytes = config.unoffloaded_max_bytes.min(wal.usage().capacity_bytes).max(1);
        let config = StreamsConfig {
            upload_bytes: config.upload_bytes.clamp(1, (unoffloaded_max_bytes / 4).max(1)),
            uploads_in_flight: config.uploads_in_flight.max(1),
            unoffloaded_max_bytes,
            ..config
        };
        let shared = Arc::new(Shared {
            cold: ColdReader::new(store.clone(), cluster, &config),
            config,
            wal,
            store,
            metadata,
            clock,
            stop: tasks.stopping().child_token(),
            tasks,
            node,
            broker_epoch,
            cluster,
            segments: Segments::new(segment, members.len() + 1),
            closed: AtomicBool::new(false),
            store_checked: AtomicBool::new(ownership == Ownership::Checked),
            streams: Mutex::new(HashMap::new()),
            dirty: Mutex::new(BTreeMap::new()),
            renewing: Mutex::new(BTreeMap::new()),
            evictable: Mutex::new(VecDeque::new()),
            signals: Signals {
                wake: Notify::new(),
                less: Notify::new(),
                flush_asked: AtomicU64::new(0),
                flush_done: watch::Sender::new(Ok(0)),
            },
            gauges: Gauges::default(),
            #[cfg(test)]
            faults: Default::default(),
        });
        bring_back(&shared, &image, recovery);
        let uploader = Uploader::new(Arc::clone(&shared), old_segments);
        let uploader = async move { uploader.run().await };
        shared.tasks.spawn("uploader", OnEnd::StopGroup, uploader);
        shared.tasks.spawn("sweeper", OnEnd::StopGroup, sweep::run(Arc::clone(&shared)));
        if let Some(mirroring) = mirroring {
            let roller = Roller::new(Arc::clone(&shared), mirroring, disk, segment, members);
            shared.tasks.spawn("wal-roller", OnEnd::StopGroup, roller.run());
        }
        Ok(Streams(shared))
    }
}

/// The WAL's sink: publishes durable ends, of several records of a stream in a row the last one.
fn publish(committed: &mut Vec<Committed>) {
    let mut committed = committed.drain(..).peekable();
    while let Some(Committed { stream, end }) = committed.next() {
        if committed.peek().is_none_or(|next| !Arc::ptr_eq(&next.stream, &stream)) {
            stream.publish(end);
        }
    }
}

/// A blank WAL where there should be one is a disk that was replaced or wiped: it has nothing to say, least of all
/// that there is nothing.
fn check_wal_is_there(image: &Image, node: NodeId, blank: bool) -> Result<(), OpenError> {
    let unmirrored = image.segments_of(node).filter(|segment| segment.members.is_empty());
    let needed = unmirrored.filter(|s| !matches!(s.state, SegmentState::Closed { .. })).last();
    match needed {
        Some(segment) if blank => Err(OpenError::BlankWal { segment: segment.id, disk: segment.disk }),
        _ => Ok(()),
    }
}

/// What of a recovered WAL is nowhere else: segments without mirrors that are not released. Of the others the objects have
/// everything, and our own copy may have more than was ever acknowledged.
fn only_here(image: &Image, node: NodeId, recovered: Recovered) -> Result<Recovered, OpenError> {
    if let Some(left) = image.segments_left_by(node).next() {
        return Err(OpenError::NotTakenOver { segment: left.id });
    }
    let mut segments = recovered.segments;
    segments.retain(|segment| image.segment(SegmentId(segment.id)).is_some_and(|known| known.owner == node));
    Ok(Recovered { segments, ..Recovered::default() })
}

fn old_segments(image: &Image, node: NodeId, recovery: &Recovery) -> Option<OldSegments> {
    let end_of = |id: SegmentId| recovery.segment_ends.get(&id).copied().unwrap_or(recovery.end_lsn);
    let segments: Vec<_> = image.segments_of(node).map(|segment| (segment.id, end_of(segment.id))).collect();
    (!segments.is_empty()).then_some(OldSegments { end_lsn: recovery.end_lsn, segments })
}

/// Puts recovered records into the log caches.
fn bring_back(shared: &Arc<Shared>, image: &Image, recovery: Recovery) {
    let Recovery { tails, offloaded, orphaned, .. } = recovery;
    let (mut records, mut bytes) = (0, 0);
    let streams = tails.len();
    for (id, tail) in tails {
        let known = image.stream(id).expect("recovery keeps only streams that exist");
        let stream = Arc::new(StreamInner::new(id, known.start, known.end, Arc::clone(shared)));
        for (lsn, batch) in tail {
            records += 1;
            bytes += batch.payload.len();
            stream.recover(batch, lsn);
        }
        lock(&shared.streams).insert(id, stream);
    }
    if records + offloaded + orphaned > 0 {
        info!(records, bytes, streams, offloaded, orphaned, "recovered the WAL");
    }
}
