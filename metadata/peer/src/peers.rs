//! The dialling side.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aquifer_runtime::{OnEnd, TaskGroup};
use aquifer_types::NodeId;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::channel::{Channel, Class, MAX_PAYLOAD_BYTES};
use crate::error::{CallError, DialError};
use crate::frame::{Frame, FrameReader, FrameWriter, Kind, invalid};
use crate::gone::{End, Gone, NEWS, Report};
use crate::hello::{Form, HELLO_BYTES, Hello};
use crate::link::{Closed, Link, REASON_BYTES, Reader, Writer, text};
use crate::serve::{Caller, Served};
use crate::stream::{StreamReceiver, StreamSender};
use crate::transport::{Transport, Wire};

/// How long a connection may take to be made, the handshake included.
pub(crate) const DIAL_LIMIT: Duration = Duration::from_secs(2);
/// After a dial that failed the next ones fail at once for so long.
const REDIAL_AFTER: Duration = Duration::from_millis(50);

/// First pause between two attempts of a probe; each is twice the one before.
const PROBE_AGAIN: Duration = Duration::from_millis(10);

/// The other nodes, as this one reaches them. Cheap to clone.
#[derive(Clone)]
pub struct Peers {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) node: NodeId,
    pub(crate) instance: u64,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) tasks: TaskGroup,
    pub(crate) channels: Arc<BTreeMap<u8, Channel>>,
    pub(crate) served: Mutex<BTreeMap<u8, Served>>,
    pub(crate) news: broadcast::Sender<Gone>,
    addresses: Mutex<BTreeMap<NodeId, String>>,
    links: Mutex<HashMap<(NodeId, Class), Dial>>,
}

/// A connection, made or being made for all who wait for it.
struct Dial {
    begun: Instant,
    link: Shared<BoxFuture<'static, Result<Link, DialError>>>,
}

/// What was found at a node's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The node answers. `instance` is drawn by each start of its process.
    Alive {
        /// Which process of the node it is.
        instance: u64,
    },
    /// The host answers that nobody listens there: the process has ended.
    Refused,
    /// No answer that would tell.
    Silent,
}

impl Peers {
    /// The port of `node`. `instance` is drawn at random by each start of the process; `channels` are all that
    /// this process calls or serves. Connections run as tasks of `tasks`.
    ///
    /// # Panics
    /// If two channels share an id, or one allows payloads over [`MAX_PAYLOAD_BYTES`].
    pub fn new(
        node: NodeId,
        instance: u64,
        channels: &[Channel],
        transport: Arc<dyn Transport>,
        tasks: &TaskGroup,
    ) -> Self {
        let by_id: BTreeMap<u8, Channel> = channels.iter().map(|channel| (channel.id, *channel)).collect();
        assert_eq!(by_id.len(), channels.len(), "each channel has an id of its own");
        assert!(
            channels.iter().all(|channel| channel.max_bytes <= MAX_PAYLOAD_BYTES),
            "payloads are limited"
        );
        let inner = Inner {
            node,
            instance,
            transport,
            tasks: tasks.clone(),
            channels: Arc::new(by_id),
            served: Mutex::default(),
            news: broadcast::Sender::new(NEWS),
            addresses: Mutex::default(),
            links: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.inner.node
    }

    /// This process.
    pub fn instance(&self) -> u64 {
        self.inner.instance
    }

    /// Where `node` listens (`host:port`). A later word counts; connections that are open stay.
    pub fn set_address(&self, node: NodeId, address: &str) {
        let mut addresses = lock(&self.inner.addresses);
        if addresses.get(&node).is_none_or(|known| known != address) {
            addresses.insert(node, address.to_owned());
            // What failed at the old address says nothing of the new one.
            let mut links = lock(&self.inner.links);
            links.retain(|(to, _), dial| *to != node || !matches!(dial.link.peek(), Some(Err(_))));
        }
    }

    /// Where `node` listens, as far as known.
    pub fn address(&self, node: NodeId) -> Option<String> {
        lock(&self.inner.addresses).get(&node).cloned()
    }

    /// Asks who listens at `address`, and remembers it.
    ///
    /// # Errors
    /// If nobody was found within `limit`.
    pub async fn discover(&self, address: &str, limit: Duration) -> Result<NodeId, DialError> {
        let dialled = timeout(limit, self.inner.dial(address, None, Class::Control, Form::Probe)).await;
        let opened = dialled.unwrap_or_else(|_| Err(silent(address, limit)))?;
        self.set_address(opened.node, address);
        Ok(opened.node)
    }

    /// Connects to `address` afresh, to see whether the process of `node` lives that listens there.
    ///
    /// A process that is about to end may still let somebody connect, and say nothing: that is asked again within `limit`.
    pub async fn probe(&self, node: NodeId, address: &str, limit: Duration) -> Probe {
        let deadline = Instant::now() + limit;
        let mut pause = PROBE_AGAIN;
        loop {
            let dial = self.inner.dial(address, Some(node), Class::Control, Form::Probe);
            match timeout_at(deadline, dial).await {
                Ok(Ok(opened)) => return Probe::Alive { instance: opened.instance },
                Ok(Err(DialError::Refused { .. })) => return Probe::Refused,
                Ok(Err(DialError::Stranger { .. })) | Err(_) => return Probe::Silent,
                Ok(Err(DialError::Unreachable { .. })) => {}
            }
            if Instant::now() + pause >= deadline {
                return Probe::Silent;
            }
            sleep(pause).await;
            pause *= 2;
        }
    }

    /// Sends `request` to `node` and waits for the answer, at most `limit`. Calls may overtake each other.
    ///
    /// The connection of the channel's class is made if there is none. Calls to this node itself go straight to
    /// its handler.
    ///
    /// # Errors
    /// [`CallError::NotDelivered`] only if the request was certainly not acted upon.
    pub async fn call(
        &self,
        node: NodeId,
        channel: &Channel,
        request: Bytes,
        limit: Duration,
    ) -> Result<Bytes, CallError> {
        let deadline = Instant::now() + limit;
        if request.len() > channel.max_bytes {
            let (bytes, most) = (request.len(), channel.max_bytes);
            let reason = format!("a request of {bytes} bytes, the channel {channel} allows {most}");
            return Err(CallError::NotDelivered(reason));
        }
        if node == self.inner.node {
            return self.call_here(channel, request, deadline).await;
        }
        let link = self.link(node, channel.class);
        let link = timeout_at(deadline, link).await.unwrap_or_else(|_| Err(silent("the node", limit)))?;
        link.call(channel, request, deadline).await
    }

    /// Opens a stream to `node` with `opening` as its first word, on a connection of its own.
    ///
    /// # Errors
    /// As [`Peers::call`]; the other side may decline.
    pub async fn open(
        &self,
        node: NodeId,
        channel: &Channel,
        opening: Bytes,
        limit: Duration,
    ) -> Result<(StreamSender, StreamReceiver), CallError> {
        let deadline = Instant::now() + limit;
        let address = self.known(node)?;
        let dial = self.inner.dial(&address, Some(node), channel.class, Form::Stream);
        let opened = timeout_at(deadline, dial).await.unwrap_or_else(|_| Err(silent(&address, limit)))?;
        let Opened { node, instance, mut reader, mut writer } = opened;
        let exchange = async {
            writer.write([Frame::new(Kind::Open, channel.id, 0, opening)]).await?;
            reader.read(|_| REASON_BYTES).await?.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
        };
        let answer = match timeout_at(deadline, exchange).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(CallError::NoAnswer(error.to_string())),
            Err(_) => return Err(CallError::NoAnswer("the time limit passed".to_owned())),
        };
        match answer {
            (header, _) if header.kind == Kind::Opened => {
                let report = Report { news: self.inner.news.clone(), node, instance };
                let sender = StreamSender { node, channel: *channel, writer, torn: false };
                Ok((sender, StreamReceiver { node, channel: *channel, reader, report, ended: false }))
            }
            (header, reason) if header.kind == Kind::Declined => Err(CallError::NotDelivered(text(&reason))),
            (header, _) => Err(CallError::NoAnswer(format!("a frame of kind {:?}", header.kind))),
        }
    }

    /// The news of connections that end from now on.
    pub fn gone(&self) -> broadcast::Receiver<Gone> {
        self.inner.news.subscribe()
    }

    fn known(&self, node: NodeId) -> Result<String, DialError> {
        self.address(node).ok_or_else(|| DialError::Unreachable {
            address: format!("node {node}"),
            reason: "its address is not known".to_owned(),
        })
    }

    async fn call_here(
        &self,
        channel: &Channel,
        request: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, CallError> {
        let caller = Caller { node: self.inner.node, instance: self.inner.instance };
        let Some(Served::Calls(handler)) = lock(&self.inner.served).get(&channel.id).cloned() else {
            return Err(CallError::NotDelivered(format!("the channel {channel} is not served here")));
        };
        match timeout_at(deadline, handler.handle(caller, request)).await {
            Ok(answer) => answer.map_err(|declined| CallError::NotDelivered(declined.0)),
            Err(_) => Err(CallError::NoAnswer("the time limit passed".to_owned())),
        }
    }

    /// The connection of a class to a node: the one there is, the one being made, or a new one.
    async fn link(&self, node: NodeId, class: Class) -> Result<Link, DialError> {
        let address = self.known(node)?;
        let link = {
            let mut links = lock(&self.inner.links);
            let usable = links.get(&(node, class)).filter(|dial| match dial.link.peek() {
                None => true,
                Some(Ok(link)) => link.is_open(),
                Some(Err(_)) => dial.begun.elapsed() < REDIAL_AFTER,
            });
            match usable {
                Some(dial) => dial.link.clone(),
                None => {
                    let inner = Arc::downgrade(&self.inner);
                    let connect = async move {
                        match inner.upgrade() {
                            Some(inner) => inner.connect(&address, node, class).await,
                            None => Err(silent(&address, DIAL_LIMIT)),
                        }
                    };
                    let dial = Dial { begun: Instant::now(), link: connect.boxed().shared() };
                    let link = dial.link.clone();
                    links.insert((node, class), dial);
                    // Raft's calls give up long before a busy machine has shaken hands: a connection goes on being made when
                    // nobody waits for it any more, or it never would be.
                    self.inner.drive(link.clone());
                    link
                }
            }
        };
        link.await
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("node", &self.inner.node).finish_non_exhaustive()
    }
}

/// A connection after the handshake.
struct Opened {
    node: NodeId,
    instance: u64,
    reader: Reader,
    writer: Writer,
}

impl Inner {
    fn drive(&self, link: Shared<BoxFuture<'static, Result<Link, DialError>>>) {
        let stopping = self.tasks.stopping().clone();
        self.tasks.spawn("peer-dial", OnEnd::Continue, async move {
            // Whoever calls is told why it failed.
            let _ = stopping.run_until_cancelled(link).await;
            Ok::<_, Infallible>(())
        });
    }

    /// Makes a connection for calls, with a task that drives it.
    async fn connect(&self, address: &str, node: NodeId, class: Class) -> Result<Link, DialError> {
        let dial = self.dial(address, Some(node), class, Form::Calls);
        let opened = timeout(DIAL_LIMIT, dial).await.unwrap_or_else(|_| Err(silent(address, DIAL_LIMIT)))?;
        let (link, task) = Link::new(self.channels.clone());
        let report = Report { news: self.news.clone(), node, instance: opened.instance };
        let stopping = self.tasks.stopping().clone();
        self.tasks.spawn("peer-link", OnEnd::Continue, async move {
            let Opened { reader, writer, .. } = opened;
            match task.run(reader, writer, &stopping).await {
                Ok(Closed::Here) => {}
                Ok(Closed::There) => report.ended(End::Goodbye),
                Err(error) => report.ended(End::of(&error)),
            }
            Ok::<_, io::Error>(())
        });
        Ok(link)
    }

    /// Connects and exchanges hellos. Whoever wants no certain node takes the one that answers.
    async fn dial(
        &self,
        address: &str,
        wanted: Option<NodeId>,
        class: Class,
        form: Form,
    ) -> Result<Opened, DialError> {
        let Wire { io, proven, sealed } = self.transport.dial(address).await?;
        let stranger = |reason: String| DialError::Stranger { address: address.to_owned(), reason };
        let (read, write) = tokio::io::split(io);
        let (mut reader, mut writer) = (FrameReader::new(read, sealed), FrameWriter::new(write, sealed));
        let mine = Hello { class, form, node: self.node, wanted, instance: self.instance };
        let exchange = async {
            writer.write([Frame::new(Kind::Hello, 0, 0, mine.encode())]).await?;
            let limit = HELLO_BYTES.max(REASON_BYTES);
            let answer = reader.read(|_| limit).await?;
            let (header, payload) = answer.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
            match header.kind {
                Kind::Hello => Hello::decode(payload).map(Ok),
                Kind::Declined => Ok(Err(text(&payload))),
                kind => Err(invalid(format!("a frame of kind {kind:?} instead of a hello"))),
            }
        };
        let theirs = match exchange.await {
            Ok(Ok(hello)) => hello,
            Ok(Err(declined)) => return Err(stranger(declined)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(stranger(error.to_string()));
            }
            Err(error) => {
                return Err(DialError::Unreachable {
                    address: address.to_owned(),
                    reason: error.to_string(),
                });
            }
        };
        if let Some(proven) = proven.filter(|proven| *proven != theirs.node) {
            let node = theirs.node;
            return Err(stranger(format!("it says that it is node {node} with node {proven}'s certificate")));
        }
        if let Some(wanted) = wanted.filter(|wanted| *wanted != theirs.node) {
            return Err(stranger(format!("it is node {}, not node {wanted}", theirs.node)));
        }
        Ok(Opened { node: theirs.node, instance: theirs.instance, reader, writer })
    }
}

fn silent(address: &str, limit: Duration) -> DialError {
    DialError::Unreachable { address: address.to_owned(), reason: format!("no connection within {limit:?}") }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only collections that are whole between two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
