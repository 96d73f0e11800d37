use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aquifer_disk::{AlignedBuf, BLOCK, BufferPool, DiskError, Pending};
use bytes::Bytes;
use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::ensemble::PATIENCE;
use crate::frame::{FRAGMENT, Fragment, HEADER, Header, MAX_FRAME};
use crate::keeper::Demand;
use crate::ring::{Ring, RingFile};
use crate::roll::Order;
use crate::shared::{Entry, Framed, Shared};
use crate::{Ensemble, Identity, Record, WalConfig, WalDead};

/// While frames are in flight, less than this is not worth one of its own: it waits until they are committed.
const WORTHWHILE: u64 = 64 << 10;
/// No smaller part of a record is put at a frame's end.
const MIN_PART: usize = 512;

/// The owner of the log's end: makes frames of what is queued, keeps several in flight and commits them in order.
pub(crate) struct Writer<T, S> {
    pub(crate) shared: Arc<Shared<T>>,
    sink: S,
    pub(crate) ring: Ring,
    pool: BufferPool,
    pub(crate) stamp: Stamp,
    /// Who has copies of the segment.
    pub(crate) ensemble: Ensemble,
    orders: mpsc::Receiver<Order>,
    /// Nothing is committed in this segment any more.
    pub(crate) frozen: bool,
    /// The segment that comes after the frozen one.
    pub(crate) next: Option<(u64, Box<Ensemble>)>,
    /// It was told that this segment waits for a file.
    pub(crate) told_waiting: bool,
    frames_in_flight: usize,
    idle_frame: std::time::Duration,
    /// Files that were zeroed.
    zeroed: mpsc::Receiver<RingFile>,
    pub(crate) demand: Demand,

    pub(crate) taken: VecDeque<Entry<T>>,
    pub(crate) taken_bytes: u64,
    /// Bytes of the first entry's payload that are in a frame already.
    pub(crate) cut: usize,
    /// Frames that are not committed.
    pub(crate) in_flight: VecDeque<Flight<T>>,
    /// Their writes to our own disk.
    pub(crate) landings: FuturesUnordered<Landing>,
    /// Tags of what became durable, reused.
    durable: Vec<T>,
    /// Emptied vectors of tags, reused.
    spare_tags: Vec<Vec<T>>,
    /// Whether frames with records were issued after the last one without.
    unsettled: bool,
    settle_at: Option<Instant>,
    pub(crate) closing: bool,
    /// When a log that ends looks at its mirrors again though they say nothing: those that were slow before are not waited for.
    pub(crate) look_again: Option<Instant>,
    /// Frames that were trimmed when the last frame was issued, which told it.
    told_freed: u64,
}

/// What the next frame's header says.
#[derive(Debug)]
pub(crate) struct Stamp {
    pub(crate) identity: Identity,
    pub(crate) segment: u64,
    pub(crate) sequence: u64,
    /// The LSN of the next record, or of the one that is cut.
    pub(crate) lsn: u64,
    /// The LSN after the last record that any frame touched.
    pub(crate) touched: u64,
    pub(crate) checksum: u32,
    /// The trim that the last frame told.
    pub(crate) trimmed: u64,
}

/// A frame that is not committed.
pub(crate) struct Flight<T> {
    sequence: u64,
    /// Whether it is durable on our own disk.
    landed: bool,
    /// The LSN after its last whole record.
    end: u64,
    /// The trim that it tells.
    pub(crate) trimmed: u64,
    /// Bytes that it took off the queue.
    pub(crate) bytes: u64,
    pub(crate) tags: Vec<T>,
    /// The records of the tags: what is not committed when the segment freezes goes into the next one, also of a segment
    /// without mirrors.
    pub(crate) records: Vec<Record>,
}

/// The write of a frame.
pub(crate) struct Landing {
    sequence: u64,
    write: Pending<()>,
}

impl Future for Landing {
    type Output = (u64, Result<(), DiskError>);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let sequence = self.sequence;
        Pin::new(&mut self.write).poll(context).map(|result| (sequence, result))
    }
}

/// Lets nobody wait for a writer that is gone, however it went.
struct Ending<T>(Arc<Shared<T>>);

impl<T> Drop for Ending<T> {
    fn drop(&mut self) {
        if !self.0.ended.is_cancelled() {
            self.0.die(
                "its writer stopped unexpectedly; restart the node, nothing acknowledged is lost".to_owned(),
            );
        }
    }
}

impl<T, S: FnMut(&mut Vec<T>)> Writer<T, S> {
    /// Makes the segment's beginning durable: a frame without records that says where the segment before ends.
    ///
    /// Only then may what was recovered be shown to anybody: from now on its loss would be noticed.
    pub(crate) async fn begin(&mut self) -> Result<(), DiskError> {
        self.issue_empty();
        let landed = self.landings.next().await.expect("there is room for one frame in a log that begins");
        self.land(landed)
    }

    /// Runs until the log is closed or `stopping`, and everything queued is durable; or until somebody ends it.
    ///
    /// # Errors
    /// The disk failed.
    pub(crate) async fn run(mut self, stopping: aquifer_runtime::CancellationToken) -> Result<(), WalDead> {
        let ending = Ending(self.shared.clone());
        loop {
            let (bytes, closing) = self.shared.take(&mut self.taken);
            self.taken_bytes += bytes;
            if closing && !self.closing {
                self.look_again = Some(Instant::now() + PATIENCE);
            }
            self.closing = closing;
            if self.shared.dead().is_some() {
                return Ok(());
            }
            self.try_roll();
            self.issue();
            if self.closing && self.taken.is_empty() && self.settled() {
                break;
            }
            if !self.shared.wake_at(self.worth_waking_for()) {
                continue;
            }
            let settle_at = self.settle_at;
            let settle = async move {
                match settle_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let told = self.ensemble.told();
            let patience_ends = self.ensemble.patience_ends().into_iter().chain(self.look_again).min();
            let out_of_patience = async move {
                match patience_ends {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(landed) = self.landings.next() => {
                    if let Err(error) = self.land(landed) {
                        self.shared.die(error.to_string());
                        return Err(self.shared.death());
                    }
                }
                () = told => {
                    self.hear_members();
                    self.commit();
                }
                // A segment that was ordered begins before another order is taken up: only then can it freeze.
                Some(order) = self.orders.recv(), if self.next.is_none() => self.obey(order),
                () = out_of_patience => self.look_at_members(),
                () = self.shared.wake.notified() => {}
                Some(file) = self.zeroed.recv() => {
                    self.ring.zeroed(file);
                    self.publish(0);
                }
                () = settle => self.settle(),
                () = stopping.cancelled(), if !self.closing => self.shared.close(),
            }
        }
        self.shared.end();
        drop(ending);
        Ok(())
    }

    /// Whether nothing is on its way any more that anybody waits for.
    fn settled(&self) -> bool {
        self.landings.is_empty() && self.in_flight.iter().all(|flight| flight.bytes == 0)
    }

    /// How many fresh bytes would change what the writer does.
    fn worth_waking_for(&self) -> u64 {
        if self.in_flight.is_empty() {
            1
        } else if self.in_flight.len() < self.frames_in_flight {
            WORTHWHILE.saturating_sub(self.taken_bytes).max(1)
        } else {
            u64::MAX
        }
    }

    /// Issues the frames that are due.
    fn issue(&mut self) {
        while !self.frozen && self.in_flight.len() < self.frames_in_flight {
            let hurried = self.shared.is_disk_awaited(!self.in_flight.is_empty() && self.landings.is_empty());
            if !self.taken.is_empty() {
                // Who waits for our own disk alone does not wait for the mirrors of the frame before.
                let due = self.in_flight.is_empty() || self.taken_bytes >= WORTHWHILE || hurried;
                if !due || !self.issue_records() {
                    return;
                }
            } else if self.wants_to_tell() {
                self.issue_empty();
                return;
            } else {
                return;
            }
        }
    }

    /// Whether a frame without records is due: to tell a trim that frees a file, or as the last one of all.
    fn wants_to_tell(&self) -> bool {
        let trimmed = self.shared.trimmed_end();
        // A frame for each that was freed at most, or telling would fill the members.
        let frees_frames = || self.ensemble.hungry() && self.shared.freed_frames() > self.told_freed;
        (trimmed > self.stamp.trimmed && (self.ring.frees(trimmed) || frees_frames()))
            || (self.closing && self.unsettled && self.settled())
    }

    /// Makes one frame of what was taken; false if there is no place for it yet.
    fn issue_records(&mut self) -> bool {
        let Some(largest) = self.largest_frame(self.ensemble.record_room()) else { return false };
        let mut frame = self.pool.take(self.wanted_bytes(largest));
        frame.extend_zeros(HEADER);
        let (lsn, continues, mut fragments, mut bytes) = (self.stamp.lsn, self.cut > 0, 0, 0);
        let mut tags = self.spare_tags.pop().unwrap_or_default();
        let mut records = Vec::new();
        while let Some(entry) = self.taken.front() {
            let left = entry.record.payload.len() - self.cut;
            let space = largest - frame.len();
            if space < FRAGMENT + left.min(MIN_PART) {
                break;
            }
            let part = left.min(space - FRAGMENT);
            Fragment::write(&mut frame, &entry.record, self.cut, part);
            fragments += 1;
            bytes += part as u64;
            if part < left {
                self.cut += part;
                break;
            }
            self.cut = 0;
            bytes += FRAGMENT as u64;
            self.stamp.lsn += 1;
            let Entry { record, tag } = self.taken.pop_front().expect("it was looked at");
            tags.push(tag);
            records.push(record);
        }
        self.taken_bytes -= bytes;
        self.unsettled = true;
        self.launch(frame, Contents { lsn, continues, fragments, bytes, tags, records });
        self.publish(bytes);
        true
    }

    /// Settles that the frames before were written whole, unless that took the members' last room.
    fn settle(&mut self) {
        self.settle_at = None;
        if self.ensemble.record_room() >= BLOCK as u64 {
            self.issue_empty();
        }
    }

    /// Settles that the frames before were written whole, and tells what was trimmed.
    pub(crate) fn issue_empty(&mut self) {
        self.settle_at = None;
        if !self.frozen {
            self.launch_empty();
        }
    }

    /// A frame without records, if there is a place for it.
    pub(crate) fn launch_empty(&mut self) {
        if self.largest_frame(self.ensemble.room()).is_none() {
            return;
        }
        let mut frame = self.pool.take(HEADER);
        frame.extend_zeros(HEADER);
        self.unsettled = false;
        let tags = self.spare_tags.pop().unwrap_or_default();
        let (lsn, records) = (self.stamp.lsn, Vec::new());
        self.launch(frame, Contents { lsn, continues: false, fragments: 0, bytes: 0, tags, records });
        self.publish(0);
    }

    /// The size of the frame that the queue would like to be, at most `largest`.
    fn wanted_bytes(&self, largest: usize) -> usize {
        let mut wanted = HEADER;
        for entry in &self.taken {
            wanted += FRAGMENT + entry.record.payload.len();
            if wanted >= largest {
                return largest;
            }
        }
        wanted
    }

    /// The largest frame that has a place, on our own disk and within what the members take.
    fn largest_frame(&mut self, granted: u64) -> Option<usize> {
        let largest = self.ring.largest_frame(self.stamp.touched);
        if largest.is_none() {
            self.demand.hurry();
        }
        let granted = usize::try_from(granted).unwrap_or(usize::MAX) / BLOCK * BLOCK;
        largest.map(|largest| largest.min(MAX_FRAME).min(granted)).filter(|largest| *largest > 0)
    }

    fn launch(&mut self, mut frame: AlignedBuf, contents: Contents<T>) {
        let Contents { lsn, continues, fragments, bytes, tags, records } = contents;
        let sequence = self.stamp.sequence;
        self.told_freed = self.shared.freed_frames();
        let trimmed = self.shared.trimmed_end();
        let header = Header {
            identity: self.stamp.identity,
            continues,
            epoch: self.stamp.segment,
            segment: self.stamp.segment,
            sequence,
            lsn,
            oldest_in_flight: self.oldest_in_flight().unwrap_or(sequence),
            commit_lsn: self.shared.committed_end(),
            trim_lsn: trimmed,
            body_length: 0,
            fragments,
            previous_checksum: self.stamp.checksum,
            body_checksum: 0,
        };
        self.stamp.touched = header.touched_end();
        self.stamp.checksum = header.seal(&mut frame);
        self.stamp.sequence += 1;
        self.stamp.trimmed = trimmed;
        self.settle_at = None;
        let place = self.ring.place(frame.len());
        let frame = Arc::new(frame);
        self.ensemble.send(|| Bytes::from_owner(Shareable(frame.clone())), Instant::now());
        let write = place.file.write(place.position, frame);
        self.landings.push(Landing { sequence, write });
        let (landed, end) = (false, self.stamp.lsn);
        self.in_flight.push_back(Flight { sequence, landed, end, trimmed, bytes, tags, records });
    }

    /// The first frame that is not durable on our own disk.
    fn oldest_in_flight(&self) -> Option<u64> {
        self.in_flight.iter().find(|flight| !flight.landed).map(|flight| flight.sequence)
    }

    /// Takes in a landed frame and all others that have landed by now, and commits what may be.
    fn land(&mut self, first: (u64, Result<(), DiskError>)) -> Result<(), DiskError> {
        let mut landed = Some(first);
        while let Some((sequence, result)) = landed {
            result?;
            let oldest = self.in_flight.front().expect("a landing has its flight").sequence;
            self.in_flight[usize::try_from(sequence - oldest).expect("a few in flight")].landed = true;
            landed = self.landings.next().now_or_never().flatten();
        }
        self.commit();
        // After the commit: where our own disk is the only copy, who waits for it finds published what it waited for.
        self.shared.land(self.landed_end());
        Ok(())
    }

    /// The end of what is durable on our own disk, in order; of a frozen segment too, whose frames land and stay there.
    fn landed_end(&self) -> u64 {
        let landed = self.in_flight.iter().take_while(|flight| flight.landed).last();
        landed.map_or(self.shared.committed_end(), |flight| flight.end)
    }

    /// Commits, in order, what is durable on our own disk and on as many mirrors as it takes.
    pub(crate) fn commit(&mut self) {
        if self.frozen {
            return self.free_told();
        }
        let mirrored = self.ensemble.durable();
        let mut committed = None;
        while self.in_flight.front().is_some_and(|oldest| oldest.landed && oldest.sequence < mirrored) {
            let mut flight = self.in_flight.pop_front().expect("it is there");
            committed = Some((flight.end, flight.trimmed));
            self.durable.append(&mut flight.tags);
            self.spare_tags.push(flight.tags);
        }
        let Some((end, trimmed)) = committed else { return };
        if !self.durable.is_empty() {
            (self.sink)(&mut self.durable);
            self.durable.clear();
        }
        self.shared.commit(end);
        self.free(trimmed);
        if self.in_flight.is_empty() && self.unsettled {
            self.settle_at = Some(Instant::now() + self.idle_frame);
        }
    }

    /// Takes back the files that hold nothing but what was trimmed, which a frame on our own disk tells.
    pub(crate) fn free(&mut self, trimmed: u64) {
        if self.ring.frees(trimmed) {
            for surplus in self.ring.release(trimmed) {
                self.demand.remove(surplus);
            }
            self.publish(0);
        }
    }

    /// Tells the handles how much room is left.
    pub(crate) fn publish(&self, bytes: u64) {
        let (room, total) = (self.ring.room().min(self.ensemble.granted()), self.ring.total());
        let (files_used, mirrors_percent) = (total - self.ring.room(), self.ensemble.fill_percent());
        self.shared.framed(&Framed {
            bytes,
            end: self.stamp.touched,
            room,
            total,
            files_used,
            mirrors_percent,
        });
    }
}

/// What is in a frame.
struct Contents<T> {
    lsn: u64,
    continues: bool,
    fragments: u32,
    /// Taken off the queue.
    bytes: u64,
    /// Of the records that end in it.
    tags: Vec<T>,
    records: Vec<Record>,
}

/// A frame's bytes, read by the disk and by the mirrors' links at the same time.
struct Shareable(Arc<AlignedBuf>);

impl AsRef<[u8]> for Shareable {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl<T, S> Writer<T, S> {
    pub(crate) fn new(start: Start<T>, sink: S, config: &WalConfig) -> Self {
        let Start { shared, ring, pool, stamp, ensemble, orders, zeroed, demand } = start;
        Self {
            shared,
            sink,
            ring,
            pool,
            stamp,
            ensemble,
            orders,
            frozen: false,
            next: None,
            told_waiting: false,
            frames_in_flight: config.frames_in_flight.clamp(1, WalConfig::MAX_IN_FLIGHT),
            idle_frame: config.idle_frame,
            zeroed,
            demand,
            taken: VecDeque::new(),
            taken_bytes: 0,
            cut: 0,
            in_flight: VecDeque::new(),
            landings: FuturesUnordered::new(),
            durable: Vec::new(),
            spare_tags: Vec::new(),
            unsettled: false,
            settle_at: None,
            closing: false,
            look_again: None,
            told_freed: 0,
        }
    }
}

/// What a writer begins with.
pub(crate) struct Start<T> {
    pub(crate) shared: Arc<Shared<T>>,
    pub(crate) ring: Ring,
    pub(crate) pool: BufferPool,
    pub(crate) stamp: Stamp,
    pub(crate) ensemble: Ensemble,
    pub(crate) orders: mpsc::Receiver<Order>,
    pub(crate) zeroed: mpsc::Receiver<RingFile>,
    pub(crate) demand: Demand,
}
