//! Real connections: TCP with mutual TLS, or plain within one machine.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aquifer_types::NodeId;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use rustix::net::sockopt;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::error::{DialError, SetupError};
use crate::tls::{self, TlsFiles};
use crate::transport::{Arrival, Transport, Wire};

/// A connection over which nothing came for so long is asked whether it is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(2);
/// It is asked so often before it is given up.
const KEEPALIVE_TRIES: u32 = 3;
/// Bytes that are not acknowledged for so long break the connection.
const UNACKNOWLEDGED_MS: u32 = 5_000;

/// How connections are protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// Not at all: for loopback addresses only.
    Plain,
    /// Mutual TLS 1.3.
    Tls(TlsFiles),
}

/// TCP.
pub struct TcpTransport {
    listener: TcpListener,
    tls: Option<(TlsConnector, TlsAcceptor)>,
}

impl TcpTransport {
    /// Listens on `address` (`host:port`) as `node`.
    ///
    /// # Errors
    /// Each with what to do.
    pub async fn bind(address: &str, node: NodeId, security: &Security) -> Result<Self, SetupError> {
        let listen = |source| SetupError::Listen { address: address.to_owned(), source };
        let tls = match security {
            Security::Plain => None,
            Security::Tls(files) => {
                let (client, server) = tls::load(files, node)?;
                Some((TlsConnector::from(Arc::new(client)), TlsAcceptor::from(Arc::new(server))))
            }
        };
        let resolved: Vec<SocketAddr> = lookup_host(address).await.map_err(listen)?.collect();
        if tls.is_none() && !resolved.iter().all(|address| address.ip().is_loopback()) {
            return Err(SetupError::PlainBeyondLoopback { address: address.to_owned() });
        }
        let listener = TcpListener::bind(&*resolved).await.map_err(listen)?;
        Ok(Self { listener, tls })
    }

    /// The port, also if it was asked for as 0.
    ///
    /// # Errors
    /// The system's.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Transport for TcpTransport {
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Wire, DialError>> {
        async move {
            let failed = |error: io::Error| match error.kind() {
                io::ErrorKind::ConnectionRefused => DialError::Refused { address: address.to_owned() },
                _ => DialError::Unreachable { address: address.to_owned(), reason: error.to_string() },
            };
            let stranger = |reason: String| DialError::Stranger { address: address.to_owned(), reason };
            let socket = TcpStream::connect(address).await.map_err(failed)?;
            prepare(&socket).map_err(failed)?;
            let Some((connector, _)) = &self.tls else {
                if !socket.peer_addr().map_err(failed)?.ip().is_loopback() {
                    return Err(stranger("between machines the internal port wants mutual TLS".to_owned()));
                }
                return Ok(Wire { io: Box::new(socket), proven: None, sealed: false });
            };
            // Only fills a field of the protocol: the certificate is not looked at for it.
            let name = ServerName::try_from("aquifer").expect("a legal name");
            let stream = connector.connect(name, socket).await.map_err(|error| match error.kind() {
                io::ErrorKind::InvalidData => stranger(error.to_string()),
                _ => failed(error),
            })?;
            let node = proven(stream.get_ref().1.peer_certificates()).map_err(stranger)?;
            Ok(Wire { io: Box::new(stream), proven: Some(node), sealed: true })
        }
        .boxed()
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<Arrival>> {
        async move {
            let (socket, _) = self.listener.accept().await?;
            let acceptor = self.tls.as_ref().map(|(_, acceptor)| acceptor.clone());
            Ok(async move {
                prepare(&socket)?;
                let Some(acceptor) = acceptor else {
                    return Ok(Wire { io: Box::new(socket), proven: None, sealed: false });
                };
                let stream = acceptor.accept(socket).await?;
                let node = proven(stream.get_ref().1.peer_certificates()).map_err(io::Error::other)?;
                Ok(Wire { io: Box::new(stream), proven: Some(node), sealed: true })
            }
            .boxed())
        }
        .boxed()
    }
}

fn proven(certificates: Option<&[CertificateDer<'_>]>) -> Result<NodeId, String> {
    let certificate = certificates.and_then(<[_]>::first).ok_or("it shows no certificate")?;
    tls::node_of(certificate).map_err(|reason| format!("its certificate {reason}"))
}

/// Small frames go out at once, and a host that is gone is noticed.
fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, KEEPALIVE_AFTER)?;
    sockopt::set_tcp_keepintvl(socket, Duration::from_secs(1))?;
    sockopt::set_tcp_keepcnt(socket, KEEPALIVE_TRIES)?;
    sockopt::set_tcp_user_timeout(socket, UNACKNOWLEDGED_MS)?;
    Ok(())
}
