//! The server: its settings, its neighbours and its connections.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aquifer_runtime::{Clock, OnEnd, Random, TaskGroup};
use futures::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::{debug, info, warn};

use crate::budget::Budget;
use crate::config::ServerConfig;
use crate::connection::{self, ConnectionError, Peer};
use crate::listener::{self, Listener, Open};
use crate::metrics::Metrics;

/// The neighbours that requests are answered from.
#[derive(Clone, Debug)]
pub struct Services {
    /// Wall time.
    pub clock: Clock,
    /// Ids.
    pub random: Random,
}

/// The Kafka server of a node. Cheap to clone.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    context: Arc<Context>,
    open: Arc<Open>,
    tasks: TaskGroup,
    next_connection: AtomicU64,
}

/// What every handler can reach.
pub(crate) struct Context {
    pub(crate) config: ServerConfig,
    pub(crate) services: Services,
    pub(crate) requests: Budget,
    pub(crate) metrics: Metrics,
}

impl Server {
    /// Serves `listeners` until `tasks` stops. More connections can be handed to [`serve`](Self::serve).
    pub fn start(
        config: ServerConfig,
        listeners: Vec<Listener>,
        services: Services,
        tasks: &TaskGroup,
    ) -> Self {
        let requests = Budget::new(config.limits.request_memory_bytes);
        let context = Context { config, services, requests, metrics: Metrics::default() };
        let server = Self(Arc::new(Inner {
            context: Arc::new(context),
            open: Arc::default(),
            tasks: tasks.clone(),
            next_connection: AtomicU64::new(0),
        }));
        for listener in listeners {
            let accepting = listener::accept(server.clone(), listener);
            tasks.spawn("kafka listener", OnEnd::StopGroup, accepting);
        }
        server
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
        let id = inner.next_connection.fetch_add(1, Ordering::Relaxed);
        let peer = Arc::new(Peer { id, listener, ip });
        let context = inner.context.clone();
        let stopping = inner.tasks.stopping().clone();
        inner.tasks.spawn("kafka connection", OnEnd::Continue, async move {
            let _counted = counted;
            let served = connection::serve(context.clone(), peer.clone(), reader, writer, stopping);
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
