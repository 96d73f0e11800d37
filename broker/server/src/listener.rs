//! Listeners and the limits on what they accept.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tracing::{info, warn};

use crate::server::Server;

/// Pause after a failed accept (out of file descriptors, say): the cause needs time to go away.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound socket and the listener name that its clients are told addresses for.
#[derive(Debug)]
pub struct Listener {
    /// Name as in `listeners`, e.g. `PLAINTEXT`.
    pub name: String,
    /// Bound and listening.
    pub socket: TcpListener,
}

/// Open connections, in total and per address.
#[derive(Debug, Default)]
pub(crate) struct Open {
    inner: Mutex<OpenCounts>,
}

#[derive(Debug, Default)]
struct OpenCounts {
    total: usize,
    per_ip: HashMap<IpAddr, usize>,
}

/// One counted connection; uncounted on drop.
#[derive(Debug)]
pub(crate) struct OpenGuard {
    open: Arc<Open>,
    ip: IpAddr,
}

impl Open {
    /// Counts a connection, or says which option forbids it.
    pub(crate) fn admit(
        self: &Arc<Self>,
        ip: IpAddr,
        max_total: usize,
        max_per_ip: usize,
    ) -> Result<OpenGuard, &'static str> {
        let mut counts = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.total >= max_total {
            return Err("max.connections");
        }
        let of_ip = counts.per_ip.entry(ip).or_default();
        if *of_ip >= max_per_ip {
            return Err("max.connections.per.ip");
        }
        *of_ip += 1;
        counts.total += 1;
        Ok(OpenGuard { open: self.clone(), ip })
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        let mut counts = self.open.inner.lock().unwrap_or_else(PoisonError::into_inner);
        counts.total -= 1;
        if let Some(of_ip) = counts.per_ip.get_mut(&self.ip) {
            *of_ip -= 1;
            if *of_ip == 0 {
                counts.per_ip.remove(&self.ip);
            }
        }
    }
}

/// Accepts until the server stops.
pub(crate) async fn accept(server: Server, listener: Listener) -> Result<(), std::convert::Infallible> {
    let name: Arc<str> = listener.name.into();
    let stopping = server.tasks().stopping().clone();
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => return Ok(()),
            accepted = listener.socket.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => admit(&server, &name, socket, peer),
            Err(error) => {
                warn!(listener = %name, %error, "cannot accept a connection; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit(server: &Server, name: &Arc<str>, socket: TcpStream, peer: SocketAddr) {
    // Replies are gathered by us; Nagle would only delay them.
    if let Err(error) = socket.set_nodelay(true) {
        info!(%peer, %error, "a connection ended before it began");
        return;
    }
    let (reader, writer) = socket.into_split();
    server.serve(name.clone(), peer.ip(), reader, writer);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_in_total_and_per_address_and_free_on_drop() {
        let open = Arc::new(Open::default());
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let first = open.admit(a, 3, 2).expect("room");
        let _second = open.admit(a, 3, 2).expect("room");
        assert_eq!(open.admit(a, 3, 2).expect_err("full"), "max.connections.per.ip");
        let _third = open.admit(b, 3, 2).expect("room");
        assert_eq!(open.admit(b, 3, 2).expect_err("full"), "max.connections");
        drop(first);
        assert!(open.admit(a, 3, 2).is_ok());
    }
}
