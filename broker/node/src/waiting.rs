//! What a node waits for, told while it does: a start that takes long, and a running node that is not ready.

use std::time::Duration;

use tokio::time::{Instant, interval_at};
use tracing::{info, warn};

/// After so long a wait is told.
const TELL_AFTER: Duration = Duration::from_secs(5);
/// And then again as often.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Awaits one step of a start, and tells what is waited for if it takes long; `more` is what else is known of it.
pub(crate) async fn told<F: Future>(what: &str, more: impl Fn() -> String, step: F) -> F::Output {
    let began = Instant::now();
    let mut words = interval_at(began + TELL_AFTER, TELL_EVERY);
    tokio::pin!(step);
    loop {
        tokio::select! {
            biased;
            done = &mut step => return done,
            _ = words.tick() => {
                let more = more();
                info!(waited_s = began.elapsed().as_secs(), more, "the start waits for {what}");
            }
        }
    }
}

/// What is to be said of a node's readiness. Pure.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    unready: Option<Unready>,
}

#[derive(Debug)]
struct Unready {
    since: Instant,
    told: Option<Instant>,
}

/// A line of the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// For so long, and why.
    NotReady(Duration, String),
    /// Again, after so long.
    Ready(Duration),
}

impl Readiness {
    /// Takes in what the node says of itself now.
    pub(crate) fn look(&mut self, ready: Result<(), String>, now: Instant) -> Option<Word> {
        let Err(reason) = ready else {
            let before = self.unready.take()?;
            return before.told.map(|_| Word::Ready(now - before.since));
        };
        let unready = self.unready.get_or_insert(Unready { since: now, told: None });
        let due = unready.told.map_or(unready.since + TELL_AFTER, |told| told + TELL_EVERY);
        (now >= due).then(|| {
            unready.told = Some(now);
            Word::NotReady(now - unready.since, reason)
        })
    }
}

impl Word {
    /// Writes it.
    pub(crate) fn tell(&self) {
        match self {
            Self::NotReady(time, reason) => warn!(for_s = time.as_secs(), reason, "not ready"),
            Self::Ready(time) => info!(after_s = time.as_secs(), "ready again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_node_that_is_not_ready_says_why_at_intervals_and_when_it_is_over() {
        let (began, mut readiness) = (Instant::now(), Readiness::default());
        let mut look = |second: u64, reason: Option<&str>| {
            let ready = reason.map_or(Ok(()), |reason| Err(reason.to_owned()));
            readiness.look(ready, began + Duration::from_secs(second))
        };
        let not_ready =
            |for_s: u64, reason: &str| Some(Word::NotReady(Duration::from_secs(for_s), reason.to_owned()));
        assert_eq!(look(0, None), None);
        assert_eq!(look(1, Some("a moment")), None);
        assert_eq!(look(3, None), None, "nobody was told");
        assert_eq!(look(10, Some("no leader")), None);
        assert_eq!(look(15, Some("no leader")), not_ready(5, "no leader"));
        assert_eq!(look(24, Some("not open")), None);
        assert_eq!(look(25, Some("not open")), not_ready(15, "not open"));
        assert_eq!(look(26, None), Some(Word::Ready(Duration::from_secs(16))));
        assert_eq!(look(27, None), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_is_awaited_to_its_end() {
        let step = async {
            tokio::time::sleep(Duration::from_secs(100)).await;
            7
        };
        assert_eq!(told("a test", String::new, step).await, 7);
    }
}
