//! One connection: requests are taken up in order, replies leave in the same order.
//!
//! ```text
//!   reader ── dispatch ──> Ready | Held, Later (the reader waits) | Pipelined (the reader goes on) | Nothing
//!                                  │
//!                            queue of pending replies (bounded)
//!                                  v
//!   writer: awaits the oldest, takes all that are ready behind it, one writev
//! ```

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aquifer_runtime::CancellationToken;
use bytes::{Buf, Bytes};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout};

use crate::budget::Claim;
use crate::dispatch::{self, Answer, ClientId, Refusal};
use crate::frame::{Frame, FrameError, FrameReader};
use crate::pace::{HURRIED_BYTES, HURRY, Pace, Verdict};
use crate::reply::Reply;
use crate::server::Context;

/// Requests of one connection that may wait for their reply; the reader pauses beyond.
const MAX_PENDING_REPLIES: usize = 256;

/// The reader pauses while more than this many reply bytes wait for a slow peer.
const MAX_UNSENT_BYTES: usize = 1 << 20;

/// Most parts in one `writev`.
const MAX_PARTS: usize = 256;

/// Replies gathered for one write end at this size.
const GATHER_BYTES: usize = 1 << 20;

/// How long replies in flight may take once the node stops.
const DRAIN: Duration = Duration::from_secs(5);

/// Who is at the other end.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Name of the listener that took the connection.
    pub(crate) listener: Arc<str>,
    /// Address.
    pub(crate) ip: IpAddr,
    /// Whether it ever fetched.
    fetches: AtomicBool,
}

impl Peer {
    pub(crate) fn new(listener: Arc<str>, ip: IpAddr) -> Self {
        Self { listener, ip, fetches: AtomicBool::new(false) }
    }

    /// Tells that it asks for records.
    pub(crate) fn fetching(&self) {
        self.fetches.store(true, Ordering::Relaxed);
    }

    /// Whether it ever asked for records; clients have a connection of its own for that.
    pub(crate) fn fetches(&self) -> bool {
        self.fetches.load(Ordering::Relaxed)
    }
}

/// Why a connection ended other than by its peer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    /// Reading failed.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A request that gets no answer.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Writing failed.
    #[error("cannot send a reply: {0}")]
    Write(io::Error),
    /// The peer reads nothing.
    #[error("the peer read none of its replies for {0:?}")]
    SlowReader(Duration),
    /// The peer reads so slowly that others waited for the memory of its replies.
    #[error(
        "the peer read less than {HURRIED_BYTES} bytes in {HURRY:?} while others waited for the memory of its replies"
    )]
    HoldsUp,
}

enum Pending {
    Ready(Reply),
    Waiting(BoxFuture<'static, Result<Reply, Refusal>>),
}

/// A reply on its way, with the request memory it holds.
struct Outgoing {
    pending: Pending,
    /// Of its frame, and of what it was decoded to.
    claims: [Claim; 2],
}

/// Serves a connection until either side ends it.
pub(crate) async fn serve<R, W>(
    context: Arc<Context>,
    peer: Arc<Peer>,
    reader: R,
    writer: W,
    stopping: CancellationToken,
) -> Result<(), ConnectionError>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    let (queue, replies) = mpsc::channel(MAX_PENDING_REPLIES);
    let unsent = Unsent::default();
    let reading = read(&context, &peer, reader, queue, &unsent, &stopping);
    let writing = write(&context, writer, replies, &unsent);
    tokio::pin!(reading, writing);
    // Both halves live in one task: a request and its reply need no hop between threads.
    let read = tokio::select! {
        read = &mut reading => read,
        written = &mut writing => return written,
    };
    // The reader dropped its end of the queue: what is pending still goes out.
    match timeout(DRAIN, writing).await {
        Ok(Ok(())) | Err(_) => read,
        Ok(Err(error)) => read.and(Err(error)),
    }
}

async fn read<R: AsyncRead + Unpin>(
    context: &Arc<Context>,
    peer: &Arc<Peer>,
    reader: R,
    queue: mpsc::Sender<Outgoing>,
    unsent: &Unsent,
    stopping: &CancellationToken,
) -> Result<(), ConnectionError> {
    let mut frames =
        FrameReader::new(reader, &context.config.limits, context.requests.clone(), context.slabs.clone());
    let mut client_id = ClientId::default();
    let stopped = stopping.cancelled();
    tokio::pin!(stopped);
    loop {
        let frame = tokio::select! {
            biased;
            () = &mut stopped => return Ok(()),
            frame = async { unsent.room().await; frames.next().await } => frame?,
        };
        let Some(Frame { bytes, alone, claim }) = frame else { return Ok(()) };
        context.metrics.requests.add(1);
        context.metrics.received_bytes.add(bytes.len() + 4);
        let request = dispatch::admit(context, peer, &mut client_id, bytes, alone)?;
        let decoded = request.decoded_bytes();
        let mut claims = [claim, Claim::default()];
        if decoded > 0 {
            claims[1] = tokio::select! {
                biased;
                () = &mut stopped => return Ok(()),
                claim = context.requests.decoded().claim(decoded) => claim,
            };
        }
        let mut answer = request.handle();
        while let Answer::Held(held) = answer {
            answer = tokio::select! {
                biased;
                answer = held => answer,
                () = &mut stopped => return Ok(()),
            };
        }
        let (answer, pause) = answer.split();
        let pending = match answer {
            Answer::Ready(reply) => Some(Pending::Ready(reply?)),
            Answer::Later(answer) => {
                let reply = tokio::select! {
                    biased;
                    reply = answer => reply?,
                    () = &mut stopped => return Ok(()),
                };
                Some(Pending::Ready(reply))
            }
            Answer::Pipelined(answer) => Some(Pending::Waiting(answer)),
            Answer::Nothing => None,
            Answer::Held(_) | Answer::Muted { .. } => unreachable!("awaited, and split, above"),
        };
        if let Some(Pending::Ready(reply)) = &pending {
            unsent.add(reply.bytes);
        }
        if let Some(pending) = pending
            && queue.send(Outgoing { pending, claims }).await.is_err()
        {
            return Ok(());
        }
        if !pause.is_zero() {
            context.metrics.muted_requests.add(1);
            tokio::select! {
                () = sleep(pause) => {}
                () = &mut stopped => return Ok(()),
            }
        }
    }
}

async fn write<W: AsyncWrite + Unpin>(
    context: &Context,
    mut writer: W,
    mut replies: mpsc::Receiver<Outgoing>,
    unsent: &Unsent,
) -> Result<(), ConnectionError> {
    let mut parts: VecDeque<Bytes> = VecDeque::new();
    let mut claims: Vec<Claim> = Vec::new();
    let mut oldest: Option<Outgoing> = None;
    loop {
        let outgoing = match oldest.take() {
            Some(outgoing) => outgoing,
            None => match replies.recv().await {
                Some(outgoing) => outgoing,
                None => break,
            },
        };
        let mut gathered = 0;
        gathered += gather(outgoing.pending.resolve(unsent).await?, &mut parts, &mut claims);
        claims.extend(outgoing.claims);
        while gathered < GATHER_BYTES {
            let Ok(mut next) = replies.try_recv() else { break };
            if !next.pending.poll_now(unsent)? {
                oldest = Some(next);
                break;
            }
            gathered += gather(next.pending.resolve(unsent).await?, &mut parts, &mut claims);
            claims.extend(next.claims);
        }
        write_all(&mut writer, &mut parts, &claims, context.config.limits.stall).await?;
        context.metrics.sent_bytes.add(gathered);
        unsent.sent(gathered);
        claims.clear();
    }
    writer.shutdown().await.map_err(ConnectionError::Write)
}

fn gather(reply: Reply, parts: &mut VecDeque<Bytes>, claims: &mut Vec<Claim>) -> usize {
    parts.extend(reply.parts);
    claims.extend(reply.claims);
    reply.bytes
}

async fn write_all<W: AsyncWrite + Unpin>(
    writer: &mut W,
    parts: &mut VecDeque<Bytes>,
    claims: &[Claim],
    stall: Duration,
) -> Result<(), ConnectionError> {
    let mut pace = Pace::new(stall, Instant::now());
    while !parts.is_empty() {
        let mut wrote = match timeout(pace.patience(), write_some(writer, parts)).await {
            Ok(wrote) => match wrote.map_err(ConnectionError::Write)? {
                0 => return Err(ConnectionError::Write(io::ErrorKind::WriteZero.into())),
                wrote => wrote,
            },
            Err(_) => 0,
        };
        match pace.judge(Instant::now(), wrote, claims.iter().any(Claim::is_wanted)) {
            Verdict::GoOn => {}
            Verdict::Stalled => return Err(ConnectionError::SlowReader(stall)),
            Verdict::HoldsUp => return Err(ConnectionError::HoldsUp),
        }
        while let Some(first) = parts.front_mut() {
            if wrote < first.len() {
                first.advance(wrote);
                break;
            }
            wrote -= first.len();
            parts.pop_front();
        }
    }
    timeout(stall, writer.flush())
        .await
        .map_err(|_| ConnectionError::SlowReader(stall))?
        .map_err(ConnectionError::Write)
}

/// Writes from the first parts, as many bytes as the peer takes.
async fn write_some<W: AsyncWrite + Unpin>(writer: &mut W, parts: &VecDeque<Bytes>) -> io::Result<usize> {
    // The slices are made for each try, so that an idle connection does not carry their room.
    std::future::poll_fn(|context| {
        let mut slices = [IoSlice::new(&[]); MAX_PARTS];
        let count = parts.len().min(MAX_PARTS);
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
        }
        Pin::new(&mut *writer).poll_write_vectored(context, &slices[..count])
    })
    .await
}

impl Pending {
    /// Whether the reply is there; takes it from a future that is done.
    fn poll_now(&mut self, unsent: &Unsent) -> Result<bool, Refusal> {
        if let Self::Waiting(answer) = self {
            let Some(reply) = answer.now_or_never() else { return Ok(false) };
            let reply = reply?;
            unsent.add(reply.bytes);
            *self = Self::Ready(reply);
        }
        Ok(true)
    }

    async fn resolve(self, unsent: &Unsent) -> Result<Reply, Refusal> {
        match self {
            Self::Ready(reply) => Ok(reply),
            Self::Waiting(answer) => {
                let reply = answer.await?;
                unsent.add(reply.bytes);
                Ok(reply)
            }
        }
    }
}

/// Reply bytes that the peer has not taken yet.
#[derive(Default)]
struct Unsent {
    bytes: AtomicUsize,
    less: Notify,
}

impl Unsent {
    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn sent(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.less.notify_one();
    }

    async fn room(&self) {
        while self.bytes.load(Ordering::Relaxed) > MAX_UNSENT_BYTES {
            self.less.notified().await;
        }
    }
}
