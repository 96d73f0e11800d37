//! The socket of the admin API.

use std::convert::Infallible;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aquifer_runtime::{OnEnd, TaskGroup};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Request, Response};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tracing::{info, warn};

use super::router::Router;
use crate::http::serve_connection;

/// The socket's name in `metadata.dir`.
pub(crate) const SOCKET: &str = "admin.sock";
/// The path of a socket's address has room for 108 bytes, the terminating zero included.
const LONGEST_PATH: usize = 107;
/// Operators are few.
const MOST_CONNECTIONS: usize = 16;
/// Pause after a connection could not be accepted, as when file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The socket cannot be made or reached.
#[derive(Debug, thiserror::Error)]
#[error("{action} the admin socket {path}: {source}", path = path.display())]
pub(crate) struct SocketError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Serves `router` on a socket at `path` until the group stops.
///
/// # Errors
/// It cannot be made there.
pub(super) fn serve(path: &Path, router: Router, tasks: &TaskGroup) -> Result<(), SocketError> {
    let failed = |source| SocketError { action: "cannot make", path: path.to_owned(), source };
    let listener = bind(path).map_err(failed)?;
    let (group, path, router) = (tasks.clone(), path.to_owned(), Arc::new(router));
    tasks.spawn("admin listener", OnEnd::StopGroup, async move {
        tokio::select! {
            () = accept(&listener, &router, &group) => {}
            () = group.stopping().cancelled() => {}
        }
        // The next process makes its own.
        let _ = fs::remove_file(path);
        Ok::<_, Infallible>(())
    });
    Ok(())
}

/// A listener that nobody else can reach at any moment: what stood there before is replaced when it is ready.
fn bind(path: &Path) -> io::Result<UnixListener> {
    // A node that is no controller has nothing else there.
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    let staged = path.with_extension("sock.new");
    match fs::remove_file(&staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = with_short(&staged, |short| std::os::unix::net::UnixListener::bind(short))?;
    fs::set_permissions(&staged, Permissions::from_mode(0o600))?;
    fs::rename(&staged, path)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Connects to the socket at `path`.
pub(super) async fn connect(path: &Path) -> Result<UnixStream, SocketError> {
    let connected = match with_short(path, |short| std::os::unix::net::UnixStream::connect(short)) {
        Ok(stream) => stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream)),
        Err(error) => Err(error),
    };
    connected.map_err(|source| SocketError { action: "cannot reach", path: path.to_owned(), source })
}

/// Calls `with` with a path to the same place that a socket's address has room for: a directory of any depth is reached
/// through its open descriptor.
fn with_short<T>(path: &Path, with: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().as_bytes().len() <= LONGEST_PATH {
        return with(path);
    }
    let (dir, name) = (path.parent().unwrap_or(Path::new(".")), path.file_name().unwrap_or_default());
    let dir = File::open(dir)?;
    with(&Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name))
}

async fn accept(listener: &UnixListener, router: &Arc<Router>, group: &TaskGroup) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // The mode of the file says the same, but not before it is set.
        if !is_ours(&stream) {
            warn!("a connection of another user to the admin socket was refused");
            continue;
        }
        let (router, stopping) = (router.clone(), group.stopping().clone());
        group.spawn("admin connection", OnEnd::Continue, async move {
            let service = service_fn(move |request| {
                let router = router.clone();
                async move { Ok::<_, Infallible>(respond(&router, request).await) }
            });
            serve_connection(stream, service, &stopping).await;
            drop(place);
            Ok::<_, Infallible>(())
        });
    }
}

/// The user that runs this process, or root.
fn is_ours(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

async fn respond(router: &Router, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let reply = router.answer(&method, &path).await;
    info!(%method, path, status = reply.status.as_u16(), "admin");
    let mut response = Response::new(Full::new(Bytes::from(reply.body.to_string())));
    *response.status_mut() = reply.status;
    response.headers_mut().insert(CONTENT_TYPE, "application/json".parse().expect("a constant header value"));
    response
}

#[cfg(test)]
mod tests {
    use hyper::{Method, StatusCode};
    use serde_json::json;

    use super::*;
    use crate::admin::client::AdminClient;
    use crate::admin::router::Reply;

    async fn served_at(path: &Path) -> Result<String, String> {
        let tasks = TaskGroup::new();
        let named = |call: super::super::Call| async move {
            Reply { status: StatusCode::OK, body: json!(call.parameter("name")) }
        };
        serve(path, Router::default().route(Method::GET, "/hello/{name}", named), &tasks)
            .map_err(|error| error.to_string())?;
        assert_eq!(fs::metadata(path).expect("it is there").permissions().mode() & 0o777, 0o600);
        let client = AdminClient::new(path.to_owned());
        let answer =
            client.ask::<String>(Method::GET, "/hello/world").await.map_err(|error| error.to_string());
        let unknown = client.ask::<String>(Method::GET, "/bye").await.expect_err("no such route");
        assert!(unknown.to_string().contains("there is no /bye"), "{unknown}");
        tasks.shutdown(Duration::from_secs(5)).await.expect("it stops");
        let gone = client.ask::<String>(Method::GET, "/hello/world").await.expect_err("nobody serves");
        assert!(gone.to_string().contains("cannot reach the admin socket"), "{gone}");
        answer
    }

    #[tokio::test]
    async fn the_socket_is_the_owners_alone_and_replaces_what_was_left_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(SOCKET);
        // A process that was killed leaves its socket.
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        assert_eq!(served_at(&path).await, Ok("world".to_owned()));
        assert!(!path.exists(), "a stopped node leaves none");
    }

    #[tokio::test]
    async fn a_directory_may_be_deeper_than_a_sockets_address_is_long() {
        let dir = tempfile::tempdir().expect("a directory");
        let deep = dir.path().join("d".repeat(100)).join("e".repeat(100));
        fs::create_dir_all(&deep).expect("made");
        assert_eq!(served_at(&deep.join(SOCKET)).await, Ok("world".to_owned()));
    }
}
