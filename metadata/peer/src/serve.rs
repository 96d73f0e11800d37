//! The serving side.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use aquifer_runtime::OnEnd;
use aquifer_types::NodeId;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use crate::channel::Channel;
use crate::error::Declined;
use crate::frame::{Frame, FrameReader, FrameWriter, Header, Kind, invalid};
use crate::gone::{End, Report};
use crate::hello::{Form, HELLO_BYTES, Hello};
use crate::link::{
    Budget, Closed, Outgoing, QUEUE_FRAMES, Reader, Room, SILENCE_LIMIT, Writer, next, reason, write_queue,
};
use crate::peers::{DIAL_LIMIT, Inner, Peers, lock};
use crate::stream::{StreamReceiver, StreamSender};
use crate::transport::Arrival;

/// Connections that may be in their handshake at once; more wait to be accepted.
const HANDSHAKES: usize = 64;
/// Pause after a connection could not be accepted, as when file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The node, by its certificate.
    pub node: NodeId,
    /// Its process.
    pub instance: u64,
}

/// Answers the calls of one channel. Closures of the same shape are handlers.
pub trait Handler: Send + Sync + 'static {
    /// Answers `request`. Several run at once, within the channel's limits. When the connection is lost the
    /// call goes on, and its answer is dropped.
    ///
    /// # Errors
    /// [`Declined`] only if the request was not and will not be acted upon.
    fn handle(&self, caller: Caller, request: Bytes) -> BoxFuture<'_, Result<Bytes, Declined>>;
}

impl<F, A> Handler for F
where
    F: Fn(Caller, Bytes) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Bytes, Declined>> + Send + 'static,
{
    fn handle(&self, caller: Caller, request: Bytes) -> BoxFuture<'_, Result<Bytes, Declined>> {
        self(caller, request).boxed()
    }
}

/// Takes the streams of one channel. Closures of the same shape are handlers.
pub trait StreamHandler: Send + Sync + 'static {
    /// Looks at the stream's first word.
    ///
    /// # Errors
    /// [`Declined`]: there will be no stream.
    fn open(&self, caller: Caller, opening: Bytes) -> BoxFuture<'_, Result<Serve, Declined>>;
}

/// Serves a stream that was accepted, until it returns. It should end soon after the stream does, and when its
/// node stops.
pub type Serve = Box<dyn FnOnce(StreamSender, StreamReceiver) -> BoxFuture<'static, ()> + Send>;

impl<F, A> StreamHandler for F
where
    F: Fn(Caller, Bytes) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Serve, Declined>> + Send + 'static,
{
    fn open(&self, caller: Caller, opening: Bytes) -> BoxFuture<'_, Result<Serve, Declined>> {
        self(caller, opening).boxed()
    }
}

/// What serves a channel.
#[derive(Clone)]
pub(crate) enum Served {
    Calls(Arc<dyn Handler>),
    Streams(Arc<dyn StreamHandler>),
}

/// Serves the port of [`Peers`]. Cheap to clone.
#[derive(Clone)]
pub struct Listener {
    inner: Arc<Inner>,
}

impl Listener {
    /// Accepts connections, as a task of the peers' group. Channels that are not served yet are declined.
    pub fn start(peers: &Peers) -> Self {
        let inner = peers.inner.clone();
        inner.tasks.clone().spawn("peer-accept", OnEnd::Continue, accept(inner.clone()));
        Self { inner }
    }

    /// Serves the calls of `channel` from now on.
    pub fn serve(&self, channel: &Channel, handler: impl Handler) {
        self.insert(channel, Served::Calls(Arc::new(handler)));
    }

    /// Serves the streams of `channel` from now on.
    pub fn serve_streams(&self, channel: &Channel, handler: impl StreamHandler) {
        self.insert(channel, Served::Streams(Arc::new(handler)));
    }

    fn insert(&self, channel: &Channel, served: Served) {
        assert!(self.inner.channels.contains_key(&channel.id), "the channel {channel} was declared");
        lock(&self.inner.served).insert(channel.id, served);
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("node", &self.inner.node).finish_non_exhaustive()
    }
}

async fn accept(inner: Arc<Inner>) -> io::Result<()> {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    let stopping = inner.tasks.stopping().clone();
    loop {
        let permit = handshakes.clone().acquire_owned().await.expect("never closed");
        let arrival = tokio::select! {
            () = stopping.cancelled() => return Ok(()),
            accepted = inner.transport.accept() => match accepted {
                Ok(arrival) => arrival,
                Err(error) => {
                    tracing::warn!(%error, "a connection to the internal port could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let (inner, stopping) = (inner.clone(), stopping.clone());
        inner.tasks.clone().spawn("peer-connection", OnEnd::Continue, async move {
            let welcomed = tokio::select! {
                welcomed = timeout(DIAL_LIMIT, inner.welcome(arrival)) => welcomed,
                // Nobody is known to be there who would be told.
                () = stopping.cancelled() => return Ok(()),
            };
            drop(permit);
            match welcomed {
                Ok(Ok(welcomed)) => inner.converse(welcomed).await,
                // Strangers and port scans are no failure of ours.
                Ok(Err(error)) => tracing::info!(%error, "a connection to the internal port was turned away"),
                Err(_) => tracing::info!("a connection to the internal port did not say who it is"),
            }
            Ok::<_, io::Error>(())
        });
    }
}

/// A caller that has proven who it is.
struct Welcomed {
    hello: Hello,
    reader: Reader,
    writer: Writer,
}

impl Inner {
    async fn welcome(&self, arrival: Arrival) -> io::Result<Welcomed> {
        let wire = arrival.await?;
        let (read, write) = tokio::io::split(wire.io);
        let (mut reader, mut writer) =
            (FrameReader::new(read, wire.sealed), FrameWriter::new(write, wire.sealed));
        let first = reader.read(|_| HELLO_BYTES).await?;
        let (header, payload) = first.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        if header.kind != Kind::Hello {
            return Err(invalid(format!("a frame of kind {:?} instead of a hello", header.kind)));
        }
        let hello = Hello::decode(payload)?;
        let refusal = match (hello.wanted, wire.proven) {
            (Some(wanted), _) if wanted != self.node => {
                Some(format!("this is node {}, not node {wanted}", self.node))
            }
            (_, Some(proven)) if proven != hello.node => {
                Some(format!("you say you are node {} with node {proven}'s certificate", hello.node))
            }
            // A node that looks for the others may find itself.
            _ if hello.node == self.node && hello.instance != self.instance => {
                Some(format!("this is node {} too; node.id must be different on each node", self.node))
            }
            _ => None,
        };
        if let Some(refusal) = refusal {
            writer.write([Frame::new(Kind::Declined, 0, 0, reason(&refusal))]).await?;
            return Err(io::Error::other(refusal));
        }
        let mine = Hello { node: self.node, wanted: Some(hello.node), instance: self.instance, ..hello };
        writer.write([Frame::new(Kind::Hello, 0, 0, mine.encode())]).await?;
        Ok(Welcomed { hello, reader, writer })
    }

    async fn converse(self: Arc<Self>, welcomed: Welcomed) {
        let Welcomed { hello, reader, writer } = welcomed;
        let caller = Caller { node: hello.node, instance: hello.instance };
        let report = Report { news: self.news.clone(), node: caller.node, instance: caller.instance };
        match hello.form {
            // It has its answer.
            Form::Probe => {}
            Form::Calls => match self.answer_calls(caller, reader, writer).await {
                Ok(Closed::Here) => {}
                Ok(Closed::There) => report.ended(End::Goodbye),
                Err(error) => report.ended(End::of(&error)),
            },
            Form::Stream => tokio::select! {
                () = self.tasks.stopping().cancelled() => {}
                served = self.answer_stream(caller, reader, writer, report.clone()) => {
                    if let Err(error) = served {
                        report.ended(End::of(&error));
                    }
                }
            },
        }
    }

    async fn answer_calls(
        self: Arc<Self>,
        caller: Caller,
        reader: Reader,
        mut writer: Writer,
    ) -> io::Result<Closed> {
        let (sender, mut queue) = mpsc::channel(QUEUE_FRAMES);
        tokio::select! {
            ended = self.requests(caller, reader, sender) => ended,
            ended = write_queue(&mut queue, &mut writer, self.tasks.stopping()) => ended.map(|()| Closed::Here),
        }
    }

    async fn requests(
        &self,
        caller: Caller,
        mut reader: Reader,
        replies: mpsc::Sender<Outgoing>,
    ) -> io::Result<Closed> {
        reader.limit_silence(SILENCE_LIMIT);
        let budgets: BTreeMap<u8, Budget> =
            self.channels.iter().map(|(id, channel)| (*id, Budget::new(channel))).collect();
        let limit = |header: &Header| match header.kind {
            Kind::Request => self.channels.get(&header.channel).map_or(0, |channel| channel.max_bytes),
            _ => 0,
        };
        loop {
            let (header, payload) = next(&mut reader, limit).await?;
            match header.kind {
                Kind::Request => {
                    let refusal =
                        match budgets.get(&header.channel).map(|budget| budget.try_room(payload.len())) {
                            Some(Some(room)) => match self.begin(caller, header, payload, room, &replies) {
                                true => continue,
                                false => "this channel is not served here",
                            },
                            Some(None) => "too much of this channel is under way",
                            None => "this channel is not known here",
                        };
                    let frame = Frame::new(Kind::Declined, header.channel, header.id, reason(refusal));
                    put(&replies, frame, None).await?;
                }
                Kind::Ping => {}
                Kind::Goodbye => return Ok(Closed::There),
                kind => return Err(invalid(format!("a frame of kind {kind:?} among requests"))),
            }
        }
    }

    /// Runs the handler as a task of its own; false if there is none.
    fn begin(
        &self,
        caller: Caller,
        header: Header,
        request: Bytes,
        room: Room,
        replies: &mpsc::Sender<Outgoing>,
    ) -> bool {
        let Some(Served::Calls(handler)) = lock(&self.served).get(&header.channel).cloned() else {
            return false;
        };
        let most = self.channels[&header.channel].max_bytes;
        let (replies, stopping) = (replies.clone(), self.tasks.stopping().clone());
        self.tasks.spawn("peer-call", OnEnd::Continue, async move {
            let answer = tokio::select! {
                () = stopping.cancelled() => return Ok(()),
                answer = handler.handle(caller, request) => answer,
            };
            let frame = match answer {
                Ok(reply) => {
                    assert!(reply.len() <= most, "a handler keeps to its channel's limit of {most} bytes");
                    Frame::new(Kind::Reply, header.channel, header.id, reply)
                }
                Err(Declined(why)) => Frame::new(Kind::Declined, header.channel, header.id, reason(&why)),
            };
            // The connection may be gone: then nobody waits.
            let _ = put(&replies, frame, Some(Arc::new(room))).await;
            Ok::<_, io::Error>(())
        });
        true
    }

    async fn answer_stream(
        &self,
        caller: Caller,
        mut reader: Reader,
        mut writer: Writer,
        report: Report,
    ) -> io::Result<()> {
        let limit = |header: &Header| match header.kind {
            Kind::Open => self.channels.get(&header.channel).map_or(0, |channel| channel.max_bytes),
            _ => 0,
        };
        let (header, opening) = next(&mut reader, limit).await?;
        if header.kind != Kind::Open {
            return Err(invalid(format!("a frame of kind {:?} instead of an opening", header.kind)));
        }
        let served = lock(&self.served).get(&header.channel).cloned();
        let opened = match served {
            Some(Served::Streams(handler)) => handler.open(caller, opening).await,
            _ => Err(Declined("this channel is not served here".to_owned())),
        };
        let serve = match opened {
            Ok(serve) => serve,
            Err(Declined(why)) => {
                writer.write([Frame::new(Kind::Declined, header.channel, 0, reason(&why))]).await?;
                return writer.shutdown().await;
            }
        };
        writer.write([Frame::bare(Kind::Opened)]).await?;
        let (node, channel) = (caller.node, self.channels[&header.channel]);
        let sender = StreamSender { node, channel, writer, torn: false };
        serve(sender, StreamReceiver { node, channel, reader, report, ended: false }).await;
        Ok(())
    }
}

async fn put(queue: &mpsc::Sender<Outgoing>, frame: Frame, room: Option<Arc<Room>>) -> io::Result<()> {
    let closed = |_| io::Error::from(io::ErrorKind::ConnectionAborted);
    queue.send(Outgoing { frame, room }).await.map_err(closed)
}
