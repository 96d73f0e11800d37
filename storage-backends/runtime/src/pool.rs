use std::future::{Future, poll_fn};
use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::task::Poll;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

/// Threads beside those that tasks begin on, for tasks that keep a thread busy with many bytes.
///
/// The kernel gives a thread that slept the processor at once, and lets one wait that used its share. Where both kinds of
/// work share threads, the short work waits behind the long one and has used its share as well; on threads of its own it
/// waits for neither.
#[derive(Clone, Debug, Default)]
pub struct Pool(Option<Arc<Owned>>);

#[derive(Debug)]
struct Owned {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Pool {
    /// As many threads as there are processors, with this name.
    ///
    /// # Errors
    /// Threads cannot be made.
    pub fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().enable_all().thread_name(name).build()?;
        Ok(Self(Some(Arc::new(Owned { handle: runtime.handle().clone(), runtime: Some(runtime) }))))
    }

    /// No threads: tasks stay where they began, as in the simulator, which has but one.
    pub fn none() -> Self {
        Self(None)
    }

    /// Runs `future` where it is called, and from the first moment on at which `moves` says so in this pool.
    ///
    /// What the future made before it moved (sockets, timers) stays with the runtime that it began on, which must outlive it.
    pub async fn run<F>(&self, future: F, moves: impl Fn() -> bool) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        let Some(owned) = &self.0 else { return future.await };
        let mut future = Box::pin(future);
        let here = poll_fn(|context| match moves() {
            true => Poll::Ready(None),
            false => match future.as_mut().poll(context) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending if moves() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            },
        });
        if let Some(output) = here.await {
            return output;
        }
        match owned.spawn(future.in_current_span()).await {
            Ok(output) => output,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // Its threads ended, which they do only after everybody that has this pool.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

impl Owned {
    /// The rest of a future, which ends with the task that began it.
    fn spawn<F>(&self, future: F) -> AbortOnDropHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        AbortOnDropHandle::new(self.handle.spawn(future))
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // The last owner may be a task, where nobody may wait for threads.
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    use futures::FutureExt;
    use tokio::task::yield_now;
    use tokio::time::sleep;

    use super::*;

    fn on_pool() -> bool {
        thread::current().name() == Some("a pool")
    }

    #[tokio::test]
    async fn a_future_moves_once_it_is_told_and_its_timers_go_on() {
        let pool = Pool::start("a pool").expect("threads");
        let told = Arc::new(AtomicBool::new(false));
        let tell = told.clone();
        let work = async move {
            let mut later = Box::pin(sleep(Duration::from_millis(20)));
            assert!(futures::poll!(&mut later).is_pending());
            yield_now().await;
            let before = on_pool();
            tell.store(true, Ordering::Relaxed);
            later.await;
            (before, on_pool())
        };
        assert_eq!(pool.run(work, move || told.load(Ordering::Relaxed)).await, (false, true));
        assert!(!Pool::none().run(async { on_pool() }, || true).await);
    }

    #[tokio::test]
    async fn what_moved_ends_with_the_task_that_began_it_and_its_panics_come_back() {
        let pool = Pool::start("a pool").expect("threads");
        let alive = Arc::new(());
        let held = alive.clone();
        let forever = async move {
            std::future::pending::<()>().await;
            drop(held);
        };
        tokio::time::timeout(Duration::from_millis(20), pool.run(forever, || true))
            .await
            .expect_err("it waits");
        while Arc::strong_count(&alive) > 1 {
            sleep(Duration::from_millis(1)).await;
        }
        let panics = pool.run(async { panic!("a bug") }, || true);
        assert!(AssertUnwindSafe(panics).catch_unwind().await.is_err());
    }
}
