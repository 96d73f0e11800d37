use std::fmt::Display;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, error, error_span};

/// What the end of a task means for its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnEnd {
    /// The task may end when it likes, by success or error; an error is logged. A connection, an upload.
    Continue,
    /// The group cannot do without it: an error or a panic stops the whole group, and is what
    /// [`TaskGroup::failure`] reports. The WAL writer, the raft core.
    StopGroup,
}

/// Why a group stopped by itself.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the task '{task}' failed: {reason}")]
pub struct Failure {
    /// The task's name.
    pub task: &'static str,
    /// Its error, or the message of its panic.
    pub reason: String,
}

/// All tasks of a node, or of a part of it that stops alone.
///
/// Cheap to clone. A task is given a name, a rule for its end, and watches [`TaskGroup::stopping`];
/// [`TaskGroup::shutdown`] joins every one of them. A panic never gets lost: it is caught, logged with
/// the task's name and treated as an error.
#[derive(Clone, Debug)]
pub struct TaskGroup {
    tracker: TaskTracker,
    stopping: CancellationToken,
    failure: Arc<Mutex<Option<Failure>>>,
}

impl Default for TaskGroup {
    fn default() -> Self {
        Self::new()
    }
}

impl TaskGroup {
    /// An empty group.
    pub fn new() -> Self {
        Self { tracker: TaskTracker::new(), stopping: CancellationToken::new(), failure: Arc::default() }
    }

    /// A group of its own that also stops when this one does. Shut it down first to stop it alone.
    pub fn child(&self) -> Self {
        Self { tracker: TaskTracker::new(), stopping: self.stopping.child_token(), failure: Arc::default() }
    }

    /// Runs `future` until it ends. It should end soon after [`stopping`](Self::stopping) is cancelled.
    #[expect(clippy::disallowed_methods, reason = "this is the seam itself")]
    pub fn spawn<E: Display + Send + 'static>(
        &self,
        name: &'static str,
        rule: OnEnd,
        future: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let group = self.clone();
        let task = async move {
            let reason = match AssertUnwindSafe(future).catch_unwind().await {
                Ok(Ok(())) => return debug!("ended"),
                Ok(Err(error)) => error.to_string(),
                Err(panic) => format!("panicked: {}", panic_text(&*panic)),
            };
            // Before it is told: telling may fail too.
            if rule == OnEnd::StopGroup {
                group.fail(Failure { task: name, reason: reason.clone() });
            }
            error!(task = name, %reason, "task failed");
        };
        tokio::spawn(self.tracker.track_future(task.instrument(error_span!("task", name))));
    }

    /// Cancelled when the group should stop. Select on it in every loop.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// The first failure that stopped the group, if one did.
    pub fn failure(&self) -> Option<Failure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks all tasks to stop and waits until they have.
    ///
    /// # Errors
    /// The number of tasks that still ran after `limit`; they are left running.
    pub async fn shutdown(&self, limit: Duration) -> Result<(), usize> {
        self.stopping.cancel();
        self.tracker.close();
        match tokio::time::timeout(limit, self.tracker.wait()).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.tracker.len()),
        }
    }

    fn fail(&self, failure: Failure) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
        self.stopping.cancel();
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn shutdown_joins_tasks_that_watch_the_token() {
        let group = TaskGroup::new();
        let stopping = group.stopping().clone();
        group.spawn("watcher", OnEnd::StopGroup, async move {
            stopping.cancelled().await;
            Ok::<_, String>(())
        });
        assert_eq!(group.shutdown(LIMIT).await, Ok(()));
        assert!(group.failure().is_none());
    }

    #[tokio::test]
    async fn the_failure_of_an_essential_task_stops_the_group_and_is_named() {
        let group = TaskGroup::new();
        group.spawn("writer", OnEnd::StopGroup, async { Err("disk gone") });
        group.stopping().cancelled().await;
        assert_eq!(group.failure().expect("failed").to_string(), "the task 'writer' failed: disk gone");
    }

    #[tokio::test]
    async fn a_panic_is_caught_and_stops_the_group_only_if_the_rule_says_so() {
        let group = TaskGroup::new();
        group.spawn("guest", OnEnd::Continue, async { guest() });
        group.spawn("host", OnEnd::StopGroup, async {
            tokio::task::yield_now().await;
            guest()
        });
        group.stopping().cancelled().await;
        let failure = group.failure().expect("failed");
        assert_eq!((failure.task, failure.reason.as_str()), ("host", "panicked: a bug"));
    }

    fn guest() -> Result<(), String> {
        panic!("a bug")
    }

    #[tokio::test]
    async fn a_child_group_stops_with_its_parent_but_not_the_other_way() {
        let parent = TaskGroup::new();
        let child = parent.child();
        child.shutdown(LIMIT).await.expect("empty");
        assert!(!parent.stopping().is_cancelled());
        let other = parent.child();
        parent.shutdown(LIMIT).await.expect("empty");
        assert!(other.stopping().is_cancelled());
    }
}
