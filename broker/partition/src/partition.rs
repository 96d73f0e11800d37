//! The handle of a partition that this node leads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use aquifer_record::{BatchHeader, Origin, TimestampType, Validated, patch_offset_and_epoch, validate};
use aquifer_runtime::Clock;
use aquifer_stream::{AppendError as StreamAppendError, Batch, Checkpoint, Description, Durability, Stream};
use aquifer_types::{StreamId, TopicId};
use bytes::{Bytes, BytesMut};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::TopicConfig;
use crate::epochs::EpochStart;
use crate::error::{AppendError, EpochError, OpenError, Unsettled};
use crate::past::Past;
use crate::refusals;
use crate::state::{Plan, State};
use crate::ticket::CommitTicket;
use crate::watch::Watchers;

/// Which partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionId {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// Its id.
    pub topic_id: TopicId,
    /// Index in the topic.
    pub index: i32,
}

/// Whose disks have a batch before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// The leader's own (acks=1, and acks=0, which is not answered): the batch may be lost with the leader.
    Leader,
    /// As many as it takes to be below the high watermark (acks=all). `min.insync.replicas` applies.
    All,
}

/// How a batch is to be appended.
#[derive(Clone, Copy, Debug)]
pub struct AppendRequest {
    /// Who appends.
    pub origin: Origin,
    /// What the producer asked for.
    pub acks: Acks,
    /// Whether the request's version may carry zstd (Produce 7 and later).
    pub zstd_allowed: bool,
    /// Size of the buffer that the batch is a slice of and keeps alive; 0 if it has one of its own. A small slice of a
    /// large buffer is copied rather than pinning it in the cache.
    pub buffer_bytes: usize,
}

impl AppendRequest {
    /// A coordinator's own batch.
    pub fn coordinator() -> Self {
        Self { origin: Origin::Coordinator, acks: Acks::All, zstd_allowed: true, buffer_bytes: 0 }
    }
}

/// A batch that is in the log, though not durable yet.
#[derive(Debug)]
pub struct Appended {
    /// Offset of its first record; of the old one when it is a duplicate.
    pub base_offset: i64,
    /// Offset of its last record.
    pub last_offset: i64,
    /// The append time, for topics with LogAppendTime; of a duplicate, the old one's largest timestamp, as in Kafka;
    /// else -1.
    pub log_append_time_ms: i64,
    /// First offset of the log.
    pub log_start_offset: i64,
    /// Whether the batch was in the log already and nothing was appended.
    pub duplicate: bool,
    /// To be awaited before the append is acknowledged.
    pub ticket: CommitTicket,
}

/// A partition that this node leads. All its methods work on `&self`; the state is behind one short lock that is
/// never held across an await and covers sequence check, offset assignment and the append to the stream.
#[derive(Debug)]
pub struct Partition {
    id: PartitionId,
    clock: Clock,
    stream: Stream,
    state: Mutex<State>,
    watchers: Watchers,
    config: RwLock<Arc<TopicConfig>>,
    closed: AtomicBool,
    /// Whether appends wait because the partition is being handed over.
    held: watch::Sender<bool>,
}

impl Partition {
    /// Opens the partition on its stream: its past and the batches after it give the state, then this node leads
    /// under `leader_epoch`.
    pub(crate) fn open(
        id: PartitionId,
        leader_epoch: i32,
        stream: Stream,
        past: Past,
        config: Arc<TopicConfig>,
        clock: Clock,
    ) -> Result<Arc<Self>, OpenError> {
        let now_ms = clock.wall_ms();
        let mut state = State::restore(past.checkpoint, kafka_offset(stream.start()));
        for header in &past.after {
            state.replay(header, now_ms)?;
        }
        for batch in stream.tail() {
            let unreadable = |error| OpenError::Replay { offset: batch.first, reason: format!("{error}") };
            let header = BatchHeader::parse(&batch.payload).map_err(unreadable)?;
            state.replay(&header, now_ms)?;
        }
        state.replayed(kafka_offset(stream.end()));
        state.trim(kafka_offset(stream.start()));
        state.lead(leader_epoch);
        let partition = Arc::new(Self {
            id,
            clock,
            stream,
            state: Mutex::new(state),
            watchers: Watchers::default(),
            config: RwLock::new(config),
            closed: AtomicBool::new(false),
            held: watch::Sender::new(false),
        });
        let owner: Weak<dyn Checkpoint> = Arc::downgrade(&partition) as Weak<dyn Checkpoint>;
        partition.stream.attach(owner);
        Ok(partition)
    }

    /// Which partition this is.
    pub fn id(&self) -> &PartitionId {
        &self.id
    }

    /// Its stream of record batches.
    pub fn stream_id(&self) -> StreamId {
        self.stream.id()
    }

    /// Bytes that are not in the object store yet.
    pub fn tail_bytes(&self) -> u64 {
        self.stream.tail_bytes()
    }

    /// The configs in force.
    pub fn config(&self) -> Arc<TopicConfig> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The leader epoch under which this node leads.
    pub fn leader_epoch(&self) -> i32 {
        self.state().leader_epoch()
    }

    /// Offset behind the last durable record: what consumers may read up to.
    pub fn high_watermark(&self) -> i64 {
        kafka_offset(self.stream.committed_end())
    }

    /// Offset up to which read_committed consumers may read. Without transactions, the high watermark.
    pub fn last_stable_offset(&self) -> i64 {
        self.high_watermark()
    }

    /// First offset of the log.
    pub fn log_start_offset(&self) -> i64 {
        kafka_offset(self.stream.start())
    }

    /// Offset behind the last appended record, durable or not.
    pub fn log_end_offset(&self) -> i64 {
        self.state().end()
    }

    /// Checks a batch, gives it its offsets and appends it. Synchronous: what takes time (CRC, recompression) happens
    /// before the lock is taken, durability is awaited with the ticket.
    ///
    /// # Errors
    /// Nothing was appended.
    pub fn append(&self, records: BytesMut, request: &AppendRequest) -> Result<Appended, AppendError> {
        let appended = self.check_and_append(records, request);
        if appended.as_ref().is_err_and(AppendError::is_passing) && request.origin == Origin::Client {
            self.refused_at(Instant::now());
        }
        appended
    }

    /// A batch was refused then though nothing was wrong with it, here or before the partition was open.
    pub(crate) fn refused_at(&self, at: Instant) {
        self.state().refused(at);
    }

    fn check_and_append(&self, records: BytesMut, request: &AppendRequest) -> Result<Appended, AppendError> {
        let config = self.config();
        if request.origin == Origin::Client {
            self.check_copies(request.acks, config.min_insync_replicas)?;
        }
        let now_ms = self.clock.wall_ms();
        let Validated { header, batch } =
            validate(records, &config.rules, request.origin, request.zstd_allowed, now_ms)?;
        self.append_validated(header, batch, request, now_ms)
    }

    /// Refuses what the WAL has too few copies for. The nominal replication factor has no say: it is not what survives a lost
    /// disk. Nor does the number where the store has a record before it is acknowledged: copies are the store's business then.
    fn check_copies(&self, acks: Acks, min_insync_replicas: i32) -> Result<(), AppendError> {
        // Without any, as while brokers that mirror the log are away, nothing is taken: it would wait, and be sent again.
        let wanted = match acks {
            Acks::Leader => 1,
            Acks::All => min_insync_replicas,
        };
        let copies = self.stream.copies();
        if self.stream.durability() == Durability::Store || copies >= wanted {
            return Ok(());
        }
        Err(AppendError::NotEnoughReplicas { wanted, copies })
    }

    fn append_validated(
        &self,
        mut header: BatchHeader,
        mut batch: BytesMut,
        request: &AppendRequest,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        let mut state = self.state();
        let behind_refused = state.refused_at().is_some_and(|at| refusals::is_recent(at, Instant::now()));
        let plan = state.plan(&header, request.origin, behind_refused);
        let plan = plan.map_err(|error| self.whose_gap(error, batch.len()))?;
        let (base_offset, leader_epoch) = match plan {
            Plan::Append { base_offset, leader_epoch } => (base_offset, leader_epoch),
            Plan::Duplicate(old) => {
                // The first copy may still be on its way to the disk; what was appended last is not earlier.
                let pending = state.last_lsn().filter(|_| self.high_watermark() <= old.last_offset);
                let ticket = |lsn| {
                    let end = stream_offset(old.last_offset + 1);
                    CommitTicket::new(&self.stream, lsn, end, request.acks)
                };
                return Ok(Appended {
                    base_offset: old.base_offset,
                    last_offset: old.last_offset,
                    log_append_time_ms: old.timestamp_ms,
                    log_start_offset: self.log_start_offset(),
                    duplicate: true,
                    ticket: pending.map_or(CommitTicket::durable(request.acks), ticket),
                });
            }
        };
        header.base_offset = base_offset;
        header.partition_leader_epoch = leader_epoch;
        patch_offset_and_epoch(&mut batch, base_offset, leader_epoch);
        let (first, end, bytes) =
            (stream_offset(base_offset), stream_offset(header.end_offset()), batch.len());
        let appended = Batch {
            first,
            end,
            records: header.records_count.unsigned_abs(),
            max_timestamp_ms: header.max_timestamp,
            payload: batch.freeze(),
        };
        self.watchers.appending(end, bytes);
        let lsn = match self.stream.append(appended, request.buffer_bytes.max(bytes)) {
            Ok(lsn) => lsn,
            Err(error) => {
                self.watchers.refused();
                return Err(refused(error));
            }
        };
        state.appended(&header, request.origin, lsn, now_ms);
        drop(state);
        Ok(Appended {
            base_offset,
            last_offset: header.last_offset(),
            log_append_time_ms: append_time(header.timestamp_type(), header.max_timestamp),
            log_start_offset: self.log_start_offset(),
            duplicate: false,
            ticket: CommitTicket::new(&self.stream, lsn, end, request.acks),
        })
    }

    /// A gap in the sequence is the producer's only if the batch before would have been taken. Of those that were sent behind a
    /// refused one each is told why that was refused, as Kafka does. Told of a gap, librdkafka begins a new epoch and sends in it
    /// again whatever has no answer yet, and this producer's batches that became durable all the same would be there twice.
    fn whose_gap(&self, error: AppendError, bytes: usize) -> AppendError {
        match error {
            AppendError::OutOfOrderSequence { .. } | AppendError::BehindRefused { .. } => {
                self.stream.refusal(bytes).map_or(error, refused)
            }
            error => error,
        }
    }

    /// Compares the leader epoch that a client believes in with this one; clients that know none are let through.
    ///
    /// # Errors
    /// See [`EpochError`].
    pub fn check_leader_epoch(&self, asked: Option<i32>) -> Result<(), EpochError> {
        let Some(asked) = asked.filter(|asked| *asked >= 0) else { return Ok(()) };
        let current = self.leader_epoch();
        match asked.cmp(&current) {
            std::cmp::Ordering::Less => Err(EpochError::Fenced { asked, current }),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(EpochError::Unknown { asked, current }),
        }
    }

    /// Whether this node has stopped leading the partition, or it was deleted.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The producers known here, for DescribeProducers: id, epoch, last sequence, last timestamp.
    pub fn producers(&self) -> Vec<ProducerView> {
        let state = self.state();
        let view = |(producer_id, producer): (i64, &crate::producers::Producer)| ProducerView {
            producer_id,
            producer_epoch: producer.epoch,
            last_sequence: producer.batches.last().map_or(-1, |batch| batch.last_sequence),
            last_timestamp_ms: producer.batches.last().map_or(-1, |batch| batch.timestamp_ms),
        };
        state.producers().iter().map(view).collect()
    }

    /// The leader epochs that wrote the log, oldest first.
    pub fn epochs(&self) -> Vec<EpochStart> {
        self.state().epochs().entries().to_vec()
    }

    /// This node leads on under a newer epoch.
    pub(crate) fn lead(&self, leader_epoch: i32) {
        self.state().lead(leader_epoch);
    }

    /// Takes changed configs into force.
    pub(crate) fn configure(&self, config: Arc<TopicConfig>) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// Refuses appends and reads from now on and wakes who waits.
    pub(crate) fn close(&self) {
        self.state().close();
        self.closed.store(true, Ordering::Release);
        self.held.send_replace(false);
        self.watchers.wake_all();
    }

    /// Refuses appends until [`resume`](Self::resume): what there is shall be handed over.
    pub(crate) fn hold(&self) {
        if !self.is_closed() {
            self.state().hold();
            self.held.send_replace(true);
        }
    }

    /// Takes appends again, unless the partition was closed meanwhile.
    pub(crate) fn resume(&self) {
        self.state().resume();
        self.held.send_replace(false);
    }

    /// Whether appends are refused for the moment of a hand-over.
    pub fn is_held(&self) -> bool {
        *self.held.borrow()
    }

    /// Waits until the partition was handed over, or takes appends again.
    pub async fn released(&self) {
        // An error means that the partition is gone, and this handle with it.
        let _ = self.held.subscribe().wait_for(|held| !held).await;
    }

    /// Waits until everything appended so far is durable.
    pub(crate) async fn settled(&self) -> Result<(), Unsettled> {
        let (last, end) = {
            let state = self.state();
            (state.last_lsn(), stream_offset(state.end()))
        };
        match last {
            Some(lsn) => CommitTicket::new(&self.stream, lsn, end, Acks::All).wait().await,
            None => Ok(()),
        }
    }

    pub(crate) fn expire_producers(&self, now_ms: i64, expiration_ms: i64) {
        self.state().expire_producers(now_ms, expiration_ms);
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    pub(crate) fn watchers(&self) -> &Watchers {
        &self.watchers
    }
}

impl Checkpoint for Partition {
    fn checkpoint(&self) -> (u64, Option<Bytes>) {
        // Copied under the lock, encoded outside.
        let checkpoint = self.state().checkpoint();
        (stream_offset(checkpoint.cut), Some(checkpoint.encode()))
    }

    fn committed(&self, end: u64) {
        self.watchers.committed(end);
    }
}

/// What DescribeProducers shows of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerView {
    /// Its id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// Sequence of its last record.
    pub last_sequence: i32,
    /// Largest timestamp of its last batch.
    pub last_timestamp_ms: i64,
}

/// What the WAL does not keep of a batch, for [`aquifer_stream::Streams`] to find out at recovery.
pub fn describe(payload: &[u8]) -> Option<Description> {
    let header = BatchHeader::parse(payload).ok()?;
    let whole = payload.len() == header.size();
    whole.then_some(Description {
        records: header.records_count.unsigned_abs(),
        max_timestamp_ms: header.max_timestamp,
    })
}

fn append_time(kind: TimestampType, timestamp_ms: i64) -> i64 {
    match kind {
        TimestampType::LogAppendTime => timestamp_ms,
        TimestampType::CreateTime => -1,
    }
}

fn refused(error: StreamAppendError) -> AppendError {
    match error {
        StreamAppendError::Full { .. } => AppendError::Full(error.to_string()),
        StreamAppendError::TooLarge { .. } | StreamAppendError::Dead(_) => {
            AppendError::Storage(error.to_string())
        }
        StreamAppendError::Closed(_) => AppendError::NotLeader,
    }
}

/// From a stream's offset to Kafka's.
pub(crate) fn kafka_offset(offset: u64) -> i64 {
    i64::try_from(offset).expect("offsets are assigned from i64 and grow by records appended")
}

/// From Kafka's offset to a stream's.
pub(crate) fn stream_offset(offset: i64) -> u64 {
    u64::try_from(offset).expect("checked to be 0 or more where it entered")
}
