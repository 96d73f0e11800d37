//! The server: its settings, its neighbours and its connections.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use aquifer_client::MetadataClient;
use aquifer_coordinator::Groups;
use aquifer_image::Image;
use aquifer_partition::Partitions;
use aquifer_runtime::{Clock, OnEnd, Pool, Random, TaskGroup};
use futures::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::{debug, info, warn};

use crate::budget::{FetchMemory, RequestMemory};
use crate::config::ServerConfig;
use crate::connection::{self, ConnectionError, Peer};
use crate::handlers::init_producer_id::ProducerIds;
use crate::listener::{self, Listener, Open};
use crate::metrics::Metrics;
use crate::sessions::FetchSessions;
use crate::slabs::Slabs;

/// The neighbours that requests are answered from.
#[derive(Clone)]
pub struct Services {
    /// Wall time.
    pub clock: Clock,
    /// Ids.
    pub random: Random,
    /// The image, and changes to it.
    pub metadata: MetadataClient,
    /// What this node leads.
    pub partitions: Partitions,
    /// Consumer groups.
    pub groups: Groups,
    /// Threads for connections that fetch: moving what they read must hold up no producer, heartbeat or vote.
    pub readers: Pool,
}

/// The Kafka server of a node. Cheap to clone.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    context: Arc<Context>,
    open: Arc<Open>,
    tasks: TaskGroup,
}

/// What every handler can reach.
pub(crate) struct Context {
    pub(crate) config: ServerConfig,
    pub(crate) services: Services,
    /// Memory of requests.
    pub(crate) requests: RequestMemory,
    pub(crate) slabs: Slabs,
    /// Memory of fetched records that are not sent yet.
    pub(crate) fetches: FetchMemory,
    pub(crate) sessions: FetchSessions,
    pub(crate) producer_ids: ProducerIds,
    pub(crate) metrics: Metrics,
}

impl Context {
    /// The metadata as this node knows it now.
    pub(crate) fn image(&self) -> Arc<Image> {
        self.services.metadata.image()
    }
}

impl Server {
    /// Serves `listeners` until `tasks` stops. More connections can be handed to [`serve`](Self::serve).
    pub fn start(
        config: ServerConfig,
        listeners: Vec<Listener>,
        services: Services,
        tasks: &TaskGroup,
    ) -> Self {
        let requests = RequestMemory::new(config.limits.request_memory_bytes);
        let fetches = FetchMemory::new(config.limits.fetch_memory_bytes);
        let sessions = FetchSessions::new(config.limits.max_fetch_sessions, services.random.clone());
        let (producer_ids, metrics) = (ProducerIds::default(), Metrics::default());
        let slabs = Slabs::default();
        let trimmed = slabs.clone().keep_trimmed(tasks.stopping().child_token());
        tasks.spawn("request memory", OnEnd::Continue, trimmed);
        let context = Context { config, services, requests, slabs, fetches, sessions, producer_ids, metrics };
        let server =
            Self(Arc::new(Inner { context: Arc::new(context), open: Arc::default(), tasks: tasks.clone() }));
        for listener in listeners {
            server.listen(listener);
        }
        server
    }

    /// Serves one more listener until the task group stops.
    pub fn listen(&self, listener: Listener) {
        let accepting = listener::accept(self.clone(), listener);
        self.0.tasks.spawn("kafka listener", OnEnd::StopGroup, accepting);
    }

    /// Serves one byte stream as a connection of `listener`, in a task of its own.
    pub fn serve<R, W>(&self, listener: Arc<str>, ip: IpAddr, reader: R, writer: W)
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let inner = &self.0;
        let limits = &inner.context.config.limits;
        let metrics = &inner.context.metrics;
        let counted = match inner.open.admit(ip, limits.max_connections, limits.max_connections_per_ip) {
            Ok(counted) => counted,
            Err(option) => {
                metrics.connections_refused.add(1);
                warn!(%ip, "closed a new connection: {option} is reached");
                return;
            }
        };
        metrics.connections.add(1);
        let peer = Arc::new(Peer::new(listener, ip));
        let context = inner.context.clone();
        // A token of its own: polling it for each request must not meet other connections at one lock.
        let stopping = inner.tasks.stopping().child_token();
        inner.tasks.spawn("kafka connection", OnEnd::Continue, async move {
            let _counted = counted;
            let served = connection::serve(context.clone(), peer.clone(), reader, writer, stopping);
            let fetches = peer.clone();
            let served = context.services.readers.run(served, move || fetches.fetches());
            match AssertUnwindSafe(served).catch_unwind().await {
                Ok(Ok(())) => debug!(peer = %peer.ip, "connection closed"),
                Ok(Err(error)) => report(&context, &peer, &error),
                Err(panic) => {
                    context.metrics.connection_panics.add(1);
                    context.metrics.connections_closed.add(1);
                    std::panic::resume_unwind(panic);
                }
            }
            context.metrics.connections_closed.add(1);
            Ok::<(), std::convert::Infallible>(())
        });
    }

    /// What the server counted.
    pub fn metrics(&self) -> &Metrics {
        &self.0.context.metrics
    }

    /// Memory that requests hold now, in bytes.
    pub fn request_memory_bytes(&self) -> usize {
        self.0.context.requests.claimed()
    }

    /// Memory that fetched records hold until they are sent, in bytes.
    pub fn fetch_memory_bytes(&self) -> usize {
        self.0.context.fetches.claimed()
    }

    pub(crate) fn tasks(&self) -> &TaskGroup {
        &self.0.tasks
    }
}

fn report(context: &Context, peer: &Peer, error: &ConnectionError) {
    if let ConnectionError::Refused(reason) = error {
        context.metrics.malformed_requests.add(1);
        warn!(peer = %peer.ip, listener = %peer.listener, "closed a connection: {reason}");
    } else {
        info!(peer = %peer.ip, listener = %peer.listener, "a connection ended: {error}");
    }
}
