//! The operator's HTTP port: `/livez`, `/readyz` and `/metrics`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use aquifer_runtime::{CancellationToken, OnEnd, TaskGroup};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{Duration, timeout};

/// What the port asks of the node.
pub(crate) trait Health: Send + Sync + 'static {
    /// Whether clients are served; the text says what is missing.
    fn ready(&self) -> Result<(), String>;
    /// All metrics in Prometheus' text format.
    fn metrics(&self) -> String;
}

/// Scrapers and probes are few; more connections than this wait in the listen queue.
const MOST_CONNECTIONS: usize = 64;
/// How long a connection may live: a scrape takes milliseconds, and a peer that never speaks must not stay.
const LONGEST_CONNECTION: Duration = Duration::from_secs(60);

/// Serves on `listener` until the group stops.
///
/// # Errors
/// The listener has no local address.
pub(crate) fn serve(
    listener: TcpListener,
    health: Arc<dyn Health>,
    tasks: &TaskGroup,
) -> std::io::Result<SocketAddr> {
    let address = listener.local_addr()?;
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let group = tasks.clone();
    tasks.spawn("http listener", OnEnd::StopGroup, async move {
        loop {
            let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = group.stopping().cancelled() => return Ok::<_, Infallible>(()),
            };
            // Errors of accept concern the one connection, or pass (out of file descriptors).
            let Ok((stream, _)) = accepted else { continue };
            let health = health.clone();
            let stopping = group.stopping().clone();
            group.spawn("http connection", OnEnd::Continue, async move {
                let service = service_fn(move |request| {
                    let response = respond(&request, &*health);
                    async move { Ok::<_, Infallible>(response) }
                });
                serve_connection(stream, service, &stopping).await;
                drop(place);
                Ok::<_, Infallible>(())
            });
        }
    });
    Ok(address)
}

/// Serves one connection until it ends, at most so long, or until `stopping`.
pub(crate) async fn serve_connection<I, S>(stream: I, service: S, stopping: &CancellationToken)
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request<Incoming>, Response = Response<Full<Bytes>>, Error = Infallible>,
{
    let connection =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // A client that breaks off is its own affair.
        _ = timeout(LONGEST_CONNECTION, connection) => {}
        () = stopping.cancelled() => {}
    }
}

fn respond(request: &Request<Incoming>, health: &dyn Health) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
    let (status, content_type, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/livez") => (StatusCode::OK, TEXT, "ok\n".to_owned()),
        (&Method::GET | &Method::HEAD, "/readyz") => match health.ready() {
            Ok(()) => (StatusCode::OK, TEXT, "ok\n".to_owned()),
            Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{reason}\n")),
        },
        (&Method::GET | &Method::HEAD, "/metrics") => (StatusCode::OK, PROMETHEUS, health.metrics()),
        (_, "/livez" | "/readyz" | "/metrics") => {
            (StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".to_owned())
        }
        _ => (StatusCode::NOT_FOUND, TEXT, "there are /livez, /readyz and /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type.parse().expect("a constant header value"));
    response
}
