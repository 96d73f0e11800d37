//! The dialling end of a multiplexed connection: requests out, answers in.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aquifer_runtime::CancellationToken;
use bytes::Bytes;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::channel::Channel;
use crate::error::CallError;
use crate::frame::{Frame, FrameReader, FrameWriter, Header, Kind, invalid};
use crate::transport::Io;

/// Frames that wait for the socket; more wait with their callers.
pub(crate) const QUEUE_FRAMES: usize = 256;
/// Frames written at once.
const WRITE_FRAMES: usize = 64;
/// An idle connection says so often, both ways, that it is there.
pub(crate) const PING_EVERY: Duration = Duration::from_secs(1);
/// A connection over which nothing came for so long is dead.
pub(crate) const SILENCE_LIMIT: Duration = Duration::from_secs(5);
/// Longest reason of a declined request.
pub(crate) const REASON_BYTES: usize = 4 << 10;

pub(crate) type Reader = FrameReader<ReadHalf<Box<dyn Io>>>;
pub(crate) type Writer = FrameWriter<WriteHalf<Box<dyn Io>>>;

/// A frame on its way to the socket, with what it holds of its channel's limits.
pub(crate) struct Outgoing {
    pub(crate) frame: Frame,
    pub(crate) room: Option<Arc<Room>>,
}

/// A request's share of its channel's limits on one connection.
pub(crate) struct Room {
    _call: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// What may be under way of one channel on one connection.
#[derive(Clone)]
pub(crate) struct Budget {
    calls: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    most: usize,
}

impl Budget {
    pub(crate) fn new(channel: &Channel) -> Self {
        let most = channel.in_flight_bytes.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Self {
            calls: Arc::new(Semaphore::new(channel.in_flight_calls)),
            bytes: Arc::new(Semaphore::new(most)),
            most,
        }
    }

    /// A single request larger than the whole budget takes all of it.
    fn share(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.clamp(1, self.most)).expect("the budget was clamped to 32 bits")
    }

    pub(crate) async fn room(&self, bytes: usize) -> Room {
        let open = "a budget is never closed";
        let call = self.calls.clone().acquire_owned().await.expect(open);
        let bytes = self.bytes.clone().acquire_many_owned(self.share(bytes)).await.expect(open);
        Room { _call: call, _bytes: bytes }
    }

    pub(crate) fn try_room(&self, bytes: usize) -> Option<Room> {
        let call = self.calls.clone().try_acquire_owned().ok()?;
        let bytes = self.bytes.clone().try_acquire_many_owned(self.share(bytes)).ok()?;
        Some(Room { _call: call, _bytes: bytes })
    }
}

type Answer = Result<Bytes, CallError>;

/// Calls that wait for their answer; `None` when the connection has ended.
#[derive(Clone)]
struct Pending(Arc<Mutex<Option<Calls>>>);

/// By request id.
type Calls = HashMap<u64, oneshot::Sender<Answer>>;

impl Pending {
    fn lock(&self) -> MutexGuard<'_, Option<Calls>> {
        // Only a map that is whole between two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, id: u64, answer: Answer) {
        let waiting = self.lock().as_mut().and_then(|pending| pending.remove(&id));
        if let Some(waiting) = waiting {
            // The caller may have given up meanwhile.
            let _ = waiting.send(answer);
        }
    }
}

/// Forgets a call when its caller does.
struct Waiting {
    pending: Pending,
    id: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(pending) = self.pending.lock().as_mut() {
            pending.remove(&self.id);
        }
    }
}

/// A connection that takes calls. Clones share it; it says goodbye when the last one is dropped.
#[derive(Clone)]
pub(crate) struct Link {
    queue: mpsc::Sender<Outgoing>,
    pending: Pending,
    budgets: Arc<BTreeMap<u8, Budget>>,
    next: Arc<AtomicU64>,
}

/// What its task drives.
pub(crate) struct LinkTask {
    queue: mpsc::Receiver<Outgoing>,
    pending: Pending,
    channels: Arc<BTreeMap<u8, Channel>>,
}

impl Link {
    pub(crate) fn new(channels: Arc<BTreeMap<u8, Channel>>) -> (Self, LinkTask) {
        let (sender, queue) = mpsc::channel(QUEUE_FRAMES);
        let pending = Pending(Arc::new(Mutex::new(Some(HashMap::new()))));
        let budgets = channels.iter().map(|(id, channel)| (*id, Budget::new(channel))).collect();
        let link = Self {
            queue: sender,
            pending: pending.clone(),
            budgets: Arc::new(budgets),
            next: Arc::default(),
        };
        (link, LinkTask { queue, pending, channels })
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.queue.is_closed()
    }

    /// One call, until `deadline`.
    pub(crate) async fn call(&self, channel: &Channel, request: Bytes, deadline: Instant) -> Answer {
        let full =
            || CallError::NotDelivered(format!("the channel {channel} had no room until the time limit"));
        let lost = || CallError::NotDelivered("the connection was lost before".to_owned());
        let budget = &self.budgets[&channel.id];
        let room = timeout_at(deadline, budget.room(request.len())).await.map_err(|_| full())?;
        let room = Arc::new(room);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.pending.lock().as_mut().ok_or_else(lost)?.insert(id, sender);
        let _waiting = Waiting { pending: self.pending.clone(), id };
        let frame = Frame::new(Kind::Request, channel.id, id, request);
        // The room is also held by the frame: a caller that gives up leaves its bytes in the queue.
        let outgoing = Outgoing { frame, room: Some(room.clone()) };
        match timeout_at(deadline, self.queue.send(outgoing)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(lost()),
            Err(_) => return Err(full()),
        }
        match timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(CallError::NoAnswer("the connection was lost".to_owned())),
            Err(_) => Err(CallError::NoAnswer("the time limit passed".to_owned())),
        }
    }
}

impl LinkTask {
    /// Drives the connection until either side ends it.
    ///
    /// # Errors
    /// Why it broke. Without one it was closed on purpose, by the side that the flag names.
    pub(crate) async fn run(
        mut self,
        reader: Reader,
        mut writer: Writer,
        stopping: &CancellationToken,
    ) -> io::Result<Closed> {
        let ended = tokio::select! {
            ended = answers(&self.pending, &self.channels, reader) => ended,
            ended = write_queue(&mut self.queue, &mut writer, stopping) => ended.map(|()| Closed::Here),
        };
        self.queue.close();
        while let Ok(outgoing) = self.queue.try_recv() {
            let reason = "the connection was lost before it was sent".to_owned();
            self.pending.answer(outgoing.frame.id, Err(CallError::NotDelivered(reason)));
        }
        self.pending.lock().take();
        ended
    }
}

/// Who closed a connection on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    Here,
    There,
}

async fn answers(
    pending: &Pending,
    channels: &BTreeMap<u8, Channel>,
    mut reader: Reader,
) -> io::Result<Closed> {
    reader.limit_silence(SILENCE_LIMIT);
    let limit = |header: &Header| match header.kind {
        Kind::Reply => channels.get(&header.channel).map_or(0, |channel| channel.max_bytes),
        Kind::Declined => REASON_BYTES,
        _ => 0,
    };
    loop {
        let (header, payload) = next(&mut reader, limit).await?;
        match header.kind {
            Kind::Reply => pending.answer(header.id, Ok(payload)),
            Kind::Declined => pending.answer(header.id, Err(CallError::NotDelivered(text(&payload)))),
            Kind::Ping => {}
            Kind::Goodbye => return Ok(Closed::There),
            kind => return Err(invalid(format!("a frame of kind {kind:?} in answer to calls"))),
        }
    }
}

/// The next frame of a connection that does not end between two frames.
pub(crate) async fn next(
    reader: &mut Reader,
    limit: impl Fn(&Header) -> usize,
) -> io::Result<(Header, Bytes)> {
    reader.read(limit).await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Writes what is queued until nobody queues any more or the node stops, and then says goodbye.
pub(crate) async fn write_queue(
    queue: &mut mpsc::Receiver<Outgoing>,
    writer: &mut Writer,
    stopping: &CancellationToken,
) -> io::Result<()> {
    let mut batch = Vec::new();
    loop {
        let more = tokio::select! {
            () = stopping.cancelled() => false,
            count = queue.recv_many(&mut batch, WRITE_FRAMES) => count > 0,
            () = tokio::time::sleep(PING_EVERY) => {
                batch.push(Outgoing { frame: Frame::bare(Kind::Ping), room: None });
                true
            }
        };
        if !more {
            writer.write([Frame::bare(Kind::Goodbye)]).await?;
            return writer.shutdown().await;
        }
        let mut rooms = Vec::new();
        let frames: Vec<Frame> = batch
            .drain(..)
            .map(|outgoing| {
                rooms.extend(outgoing.room);
                outgoing.frame
            })
            .collect();
        writer.write(frames).await?;
    }
}

pub(crate) fn text(payload: &[u8]) -> String {
    String::from_utf8_lossy(payload).into_owned()
}

pub(crate) fn reason(text: &str) -> Bytes {
    Bytes::copy_from_slice(&text.as_bytes()[..text.len().min(REASON_BYTES)])
}
