use std::io;
use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest answer that is read.
const MAX_BYTES: u64 = 1 << 20;

/// Fetches `path` from loopback; enough HTTP for a health check. The status and the body.
///
/// # Errors
/// If nobody listens there, or it is no HTTP.
pub async fn get(port: u16, path: &str) -> io::Result<(u16, String)> {
    get_from(Ipv4Addr::LOCALHOST, port, path).await
}

/// As [`get`], from another address of this machine.
pub(crate) async fn get_from(address: Ipv4Addr, port: u16, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect((address, port)).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_BYTES).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    match status {
        Some(status) => Ok((status, body.to_owned())),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "not an HTTP answer")),
    }
}
