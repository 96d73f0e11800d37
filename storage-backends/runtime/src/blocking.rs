use tokio::runtime::{Handle, RuntimeFlavor};

/// The work panicked, or the runtime is shutting down.
#[derive(Debug, thiserror::Error)]
#[error("blocking work did not end: {0}")]
pub struct Unfinished(#[from] tokio::task::JoinError);

/// Runs work that blocks where it keeps no other task from running.
///
/// A runtime of one thread runs it at once, in place: that is the simulator's, whose disks do not block, and where a second
/// thread would make a run depend on more than its seed.
///
/// # Errors
/// The work panicked, or the runtime shuts down. In place a panic goes on to the caller.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Unfinished> {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => Ok(work()),
        _ => Ok(tokio::task::spawn_blocking(work).await?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn same_thread() -> bool {
        let here = std::thread::current().id();
        blocking(move || std::thread::current().id() == here).await.expect("it ends")
    }

    #[tokio::test]
    async fn one_thread_stays_alone() {
        assert!(same_thread().await);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn several_threads_are_not_held_up() {
        assert!(!same_thread().await);
        blocking(|| panic!("a bug")).await.expect_err("a panic is an error");
    }
}
