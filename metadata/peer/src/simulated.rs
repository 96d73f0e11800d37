//! The network of a simulation: connections within one process that a test delays, cuts and breaks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use aquifer_runtime::Random;
use aquifer_types::NodeId;
use bytes::{Buf as _, Bytes};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use crate::error::DialError;
use crate::peers::lock;
use crate::transport::{Arrival, Transport, Wire};

/// Bytes on their way in one direction of a connection before its writer waits.
const PIPE_BYTES: usize = 256 << 10;
/// Connections that wait to be accepted.
const BACKLOG: usize = 64;

/// All nodes of a simulation and what is between them. Cheap to clone.
///
/// As TCP does, a connection delivers its bytes complete and in order: while a link is cut they wait, and a lost
/// connection is lost for both ends. With one thread, paused time and a seed, every run is the same.
#[derive(Clone)]
pub struct SimulatedNetwork {
    world: Arc<Mutex<World>>,
    random: Random,
}

#[derive(Default)]
struct World {
    listeners: BTreeMap<String, Listening>,
    /// Counts the processes that attached. Those in `dead` are cut off for good.
    processes: u64,
    dead: BTreeSet<u64>,
    pipes: BTreeMap<u64, Pipe>,
    next: u64,
    /// Directed links over which nothing arrives.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Told when a link is mended: dials that wait.
    dialling: Vec<Waker>,
    delay: (Duration, Duration),
    /// One of so many writes breaks its connection; 0 means none.
    break_one_in: u64,
}

/// A process that accepts connections.
#[derive(Clone)]
struct Listening {
    node: NodeId,
    process: u64,
    arrivals: mpsc::Sender<Wire>,
}

/// One direction of a connection.
struct Pipe {
    from: NodeId,
    to: NodeId,
    /// When each piece arrives, and its bytes.
    pieces: VecDeque<(Instant, Bytes)>,
    bytes: usize,
    end: Option<PipeEnd>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PipeEnd {
    /// After the bytes that were written.
    Closed,
    /// At once.
    Reset,
}

impl SimulatedNetwork {
    /// No nodes yet, all links whole and without delay.
    pub fn new(random: Random) -> Self {
        Self { world: Arc::default(), random }
    }

    /// The network as `node` sees it, listening on `address` until it is dropped.
    pub fn transport(&self, node: NodeId, address: &str) -> Arc<dyn Transport> {
        let (sender, arrivals) = mpsc::channel(BACKLOG);
        let mut world = lock(&self.world);
        world.processes += 1;
        let process = world.processes;
        world.listeners.insert(address.to_owned(), Listening { node, process, arrivals: sender });
        let arrivals = tokio::sync::Mutex::new(arrivals);
        Arc::new(Endpoint { network: self.clone(), node, process, address: address.to_owned(), arrivals })
    }

    /// Cuts or mends the link from one node to another, in this direction only.
    pub fn set_cut(&self, from: NodeId, to: NodeId, cut: bool) {
        let mut world = lock(&self.world);
        if cut {
            world.cut.insert((from, to));
        } else {
            world.cut.remove(&(from, to));
            world.wake_all();
        }
    }

    /// Mends every link.
    pub fn heal(&self) {
        let mut world = lock(&self.world);
        world.cut.clear();
        world.wake_all();
    }

    /// Every write arrives after a delay drawn from this range.
    pub fn set_delay(&self, least: Duration, most: Duration) {
        lock(&self.world).delay = (least, most);
    }

    /// One of `n` writes breaks its connection; 0 breaks none.
    pub fn break_one_in(&self, n: u64) {
        lock(&self.world).break_one_in = n;
    }

    /// Breaks every connection of `node`, as when its process dies. It listens on unless its transport is dropped.
    pub fn reset(&self, node: NodeId) {
        let mut world = lock(&self.world);
        for pipe in world.pipes.values_mut().filter(|pipe| pipe.from == node || pipe.to == node) {
            pipe.finish(PipeEnd::Reset);
        }
    }

    /// The process that listens at `address` dies: its connections break, nobody is accepted there, and what is left of it
    /// in a test reaches nobody. A next process may listen there at once.
    pub fn kill(&self, address: &str) {
        let Some(killed) = lock(&self.world).listeners.remove(address) else { return };
        lock(&self.world).dead.insert(killed.process);
        self.reset(killed.node);
    }

    fn draw_delay(&self, (least, most): (Duration, Duration)) -> Duration {
        let range = u64::try_from(most.saturating_sub(least).as_micros()).unwrap_or(u64::MAX);
        least + Duration::from_micros(if range == 0 { 0 } else { self.random.below(range) })
    }

    fn connect(&self, from: NodeId, to: NodeId) -> (SimulatedIo, SimulatedIo) {
        let mut world = lock(&self.world);
        let (there, back) = (world.next, world.next + 1);
        world.next += 2;
        world.pipes.insert(there, Pipe::new(from, to));
        world.pipes.insert(back, Pipe::new(to, from));
        let io = |read, write, link| SimulatedIo { network: self.clone(), read, write, link, arrival: None };
        (io(back, there, (from, to)), io(there, back, (to, from)))
    }
}

impl fmt::Debug for SimulatedNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let world = lock(&self.world);
        f.debug_struct("SimulatedNetwork")
            .field("listeners", &world.listeners.keys())
            .field("connections", &(world.pipes.len() / 2))
            .field("cut", &world.cut)
            .finish_non_exhaustive()
    }
}

impl World {
    fn wake_all(&mut self) {
        self.pipes.values_mut().for_each(Pipe::wake);
        self.dialling.drain(..).for_each(Waker::wake);
    }
}

impl Pipe {
    fn new(from: NodeId, to: NodeId) -> Self {
        Self { from, to, pieces: VecDeque::new(), bytes: 0, end: None, reader: None, writer: None }
    }

    fn finish(&mut self, end: PipeEnd) {
        if self.end != Some(PipeEnd::Reset) {
            self.end = Some(end);
        }
        self.wake();
    }

    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

struct Endpoint {
    network: SimulatedNetwork,
    node: NodeId,
    process: u64,
    address: String,
    arrivals: tokio::sync::Mutex<mpsc::Receiver<Wire>>,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.arrivals.get_mut().close();
        let mut world = lock(&self.network.world);
        // A later process of the node may listen there already.
        if world.listeners.get(&self.address).is_some_and(|listening| listening.process == self.process) {
            world.listeners.remove(&self.address);
        }
    }
}

impl Transport for Endpoint {
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Wire, DialError>> {
        async move {
            let refused = || DialError::Refused { address: address.to_owned() };
            let find = || {
                let world = lock(&self.network.world);
                let alive = !world.dead.contains(&self.process);
                world.listeners.get(address).filter(|_| alive).cloned().ok_or_else(refused)
            };
            let (to, from, world) = (find()?.node, self.node, &self.network.world);
            std::future::poll_fn(|context| {
                let mut world = lock(world);
                if world.cut.contains(&(from, to)) || world.cut.contains(&(to, from)) {
                    world.dialling.push(context.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(())
            })
            .await;
            // Either process may have died meanwhile.
            let arrivals = find()?.arrivals;
            let (near, far) = self.network.connect(from, to);
            let wire = |io, proven| Wire { io: Box::new(io), proven: Some(proven), sealed: false };
            arrivals.send(wire(far, from)).await.map_err(|_| refused())?;
            Ok(wire(near, to))
        }
        .boxed()
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<Arrival>> {
        async move {
            let arrival = self.arrivals.lock().await.recv().await;
            let wire = arrival.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
            Ok(async move { Ok(wire) }.boxed())
        }
        .boxed()
    }
}

/// One end of a connection.
struct SimulatedIo {
    network: SimulatedNetwork,
    read: u64,
    write: u64,
    /// From this end to the other.
    link: (NodeId, NodeId),
    /// Wakes the reader when the next piece arrives.
    arrival: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for SimulatedIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if let Some(arrival) = &mut self.arrival {
                ready!(arrival.as_mut().poll(context));
                self.arrival = None;
            }
            let network = self.network.clone();
            let mut world = lock(&network.world);
            let World { pipes, cut, .. } = &mut *world;
            let Some(pipe) = pipes.get_mut(&self.read) else {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            };
            if pipe.end == Some(PipeEnd::Reset) {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if cut.contains(&(pipe.from, pipe.to)) {
                pipe.reader = Some(context.waker().clone());
                return Poll::Pending;
            }
            let Some((arrives, piece)) = pipe.pieces.front_mut() else {
                if pipe.end.is_some() {
                    return Poll::Ready(Ok(()));
                }
                pipe.reader = Some(context.waker().clone());
                return Poll::Pending;
            };
            if *arrives > Instant::now() {
                let arrives = *arrives;
                pipe.reader = Some(context.waker().clone());
                drop(world);
                self.arrival = Some(Box::pin(tokio::time::sleep_until(arrives)));
                continue;
            }
            let count = piece.len().min(buffer.remaining());
            buffer.put_slice(&piece[..count]);
            piece.advance(count);
            if piece.is_empty() {
                pipe.pieces.pop_front();
            }
            pipe.bytes -= count;
            pipe.writer.take().into_iter().for_each(Waker::wake);
            return Poll::Ready(Ok(()));
        }
    }
}

impl AsyncWrite for SimulatedIo {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let network = &self.network;
        let mut world = lock(&network.world);
        let (delay, break_one_in) = (world.delay, world.break_one_in);
        let broken = || Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        if break_one_in > 0 && network.random.below(break_one_in) == 0 {
            for id in [self.read, self.write] {
                world.pipes.get_mut(&id).into_iter().for_each(|pipe| pipe.finish(PipeEnd::Reset));
            }
        }
        let World { pipes, cut, .. } = &mut *world;
        let Some(pipe) = pipes.get_mut(&self.write) else {
            // The other end has closed, which cannot be known here while its word does not arrive.
            let (near, far) = self.link;
            return if cut.contains(&(far, near)) { Poll::Ready(Ok(bytes.len())) } else { broken() };
        };
        if pipe.end.is_some() {
            return broken();
        }
        let count = bytes.len().min(PIPE_BYTES - pipe.bytes);
        if count == 0 {
            pipe.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let arrives = Instant::now() + network.draw_delay(delay);
        // Never before what was written earlier.
        let arrives = pipe.pieces.back().map_or(arrives, |(before, _)| arrives.max(*before));
        pipe.pieces.push_back((arrives, Bytes::copy_from_slice(&bytes[..count])));
        pipe.bytes += count;
        pipe.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(pipe) = lock(&self.network.world).pipes.get_mut(&self.write) {
            pipe.finish(PipeEnd::Closed);
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimulatedIo {
    fn drop(&mut self) {
        let mut world = lock(&self.network.world);
        // What the other end wrote is lost, what this end wrote still arrives; the other end forgets the rest.
        world.pipes.remove(&self.read).into_iter().for_each(|mut pipe| pipe.wake());
        if let Some(pipe) = world.pipes.get_mut(&self.write) {
            pipe.finish(PipeEnd::Closed);
        }
    }
}
