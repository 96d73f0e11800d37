use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::ServiceError;
use crate::process::Process;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// For one look.
const LOOK: Duration = Duration::from_secs(5);

/// Looks until `ready` says so, the process ends, or the time is over.
pub(crate) async fn wait(
    process: &mut Process,
    limit: Duration,
    ready: impl AsyncFn() -> bool,
) -> Result<(), ServiceError> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if timeout(LOOK, ready()).await == Ok(true) {
            return Ok(());
        }
        if process.ended().is_some() {
            return Err(process.ended_error());
        }
        sleep(PAUSE).await;
    }
    Err(process.not_ready_error(limit))
}

/// How many brokers a Kafka server on this port of loopback knows, by a Metadata request (version 1, of
/// no topic): the first thing that any client asks.
///
/// # Errors
/// If nobody listens there, or it hangs up.
pub async fn known_brokers(port: u16) -> io::Result<u32> {
    // Size, API key 3, version 1, correlation id 7, no client id; then an array of no topics.
    const REQUEST: [u8; 18] = [0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 7, 0xff, 0xff, 0, 0, 0, 0];
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(&REQUEST).await?;
    let _size = stream.read_u32().await?;
    let _correlation = stream.read_u32().await?;
    stream.read_u32().await
}
