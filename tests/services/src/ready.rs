use std::time::Duration;

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
