use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aquifer_image::{Command, Image, Outcome, Rejection};
use aquifer_quorum::Effect;
use aquifer_runtime::{OnEnd, Random, TaskGroup};
use aquifer_types::LogIndex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::warn;

use crate::error::ProposeError;
use crate::follower::Follower;
use crate::source::Source;

/// Pauses before what certainly had no effect is tried again.
const RETRY: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(250)];
/// Pauses before something is proposed again whose outcome is not known.
const ASK_AGAIN: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];
/// How often it is told what is proposed over and over.
const TELL_INTERVAL: Duration = Duration::from_secs(10);

/// Settings of a [`MetadataClient`].
#[derive(Clone, Copy, Debug)]
pub struct ClientConfig {
    /// Bound of one proposal in all: tries, commit and the local image.
    pub propose_limit: Duration,
    /// How long the start waits for a cluster. `None`: as long as it takes, as with several controllers.
    pub form_limit: Option<Duration>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self { propose_limit: Duration::from_secs(15), form_limit: Some(Duration::from_secs(15)) }
    }
}

/// A broker's view of the metadata. Cheap to clone.
#[derive(Clone)]
pub struct MetadataClient {
    source: Source,
    images: watch::Receiver<Arc<Image>>,
    config: ClientConfig,
    random: Random,
}

impl MetadataClient {
    /// Follows `source` with a task of `tasks` and waits until the image is that of a cluster. `random` spreads what is tried again.
    ///
    /// # Errors
    /// [`ProposeError::Unavailable`] if the quorum stops before, or has no leader within the proposal's bound.
    pub async fn start(
        source: impl Into<Source>,
        config: ClientConfig,
        random: &Random,
        tasks: &TaskGroup,
    ) -> Result<Self, ProposeError> {
        let source = source.into();
        let (follower, images) = Follower::new(source.clone());
        // The feed ends only with the quorum's member, which has its own rule for what that means.
        tasks.spawn("metadata-follower", OnEnd::Continue, follower.run(tasks.stopping().clone()));
        let client = Self { source, images, config, random: random.clone() };
        let mut changes = client.changes();
        let formed = changes.wait_for(|image| image.cluster_id().is_some());
        let formed = match config.form_limit {
            None => formed.await,
            Some(limit) => match tokio::time::timeout(limit, formed).await {
                Ok(formed) => formed,
                Err(_) => {
                    let reason = format!("no cluster was formed within {limit:?}");
                    return Err(ProposeError::Unavailable { reason });
                }
            },
        };
        formed.map_err(|_| feed_ended())?;
        Ok(client)
    }

    /// The image as of the last entry applied here. Never waits.
    pub fn image(&self) -> Arc<Image> {
        self.images.borrow().clone()
    }

    /// Every state of the image, the latest only: a slow reader skips states. Closed when the feed has ended.
    pub fn changes(&self) -> watch::Receiver<Arc<Image>> {
        self.images.clone()
    }

    /// Proposes `command` and waits until it has taken effect in [`MetadataClient::image`].
    ///
    /// What certainly had no effect is tried again until the bound; what may have had one is not.
    pub async fn propose(&self, command: impl Into<Command>) -> Result<Outcome, ProposeError> {
        let command = Arc::new(command.into());
        let deadline = Instant::now() + self.config.propose_limit;
        let mut pauses = Pauses::new(RETRY);
        loop {
            let proposed = timeout_at(deadline, self.source.propose(command.clone())).await;
            let Ok(proposed) = proposed else {
                return Err(ProposeError::Unknown {
                    reason: format!("no answer within {:?}", self.config.propose_limit),
                });
            };
            match proposed {
                Ok((index, verdict)) => {
                    self.applied(index, deadline).await?;
                    return verdict.map_err(ProposeError::Rejected);
                }
                Err(error) if error.effect() == Effect::Unknown => {
                    return Err(ProposeError::Unknown { reason: error.to_string() });
                }
                Err(error) => {
                    let pause = pauses.next(&self.random);
                    if !is_passing(&error) || Instant::now() + pause >= deadline {
                        return Err(ProposeError::Unavailable { reason: error.to_string() });
                    }
                    sleep(pause).await;
                }
            }
        }
    }

    /// Proposes `command` until its outcome is known, however long that takes: whoever has no more use for it drops the future,
    /// and then does not know. Only for commands that the image answers again as it did first. `what` it is, for the log.
    ///
    /// # Errors
    /// The image refused the command.
    pub async fn propose_until_known(
        &self,
        command: impl Into<Command>,
        what: &str,
    ) -> Result<Outcome, Rejection> {
        let command = command.into();
        let (began, mut told) = (Instant::now(), None::<Instant>);
        let mut pauses = Pauses::new(ASK_AGAIN);
        loop {
            let error = match self.propose(command.clone()).await {
                Ok(outcome) => return Ok(outcome),
                Err(ProposeError::Rejected(rejection)) => return Err(rejection),
                Err(error @ (ProposeError::Unavailable { .. } | ProposeError::Unknown { .. })) => error,
            };
            if told.is_none_or(|told| told.elapsed() >= TELL_INTERVAL) {
                told = Some(Instant::now());
                warn!(%error, waited_s = began.elapsed().as_secs(), "{what} is not known to have happened: asking again");
            }
            sleep(pauses.next(&self.random)).await;
        }
    }

    /// Waits until the image here covers entry `index`.
    async fn applied(&self, index: LogIndex, deadline: Instant) -> Result<(), ProposeError> {
        let mut changes = self.changes();
        let there = changes.wait_for(|image| image.applied() >= index);
        match timeout_at(deadline, there).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => {
                Err(ProposeError::Unknown { reason: format!("it is entry {index}, but the feed has ended") })
            }
            Err(_) => Err(ProposeError::Unknown {
                reason: format!("it is entry {index}, which has not arrived here yet"),
            }),
        }
    }
}

impl fmt::Debug for MetadataClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetadataClient").field("applied", &self.image().applied()).finish_non_exhaustive()
    }
}

/// Pauses that double from the first to the longest, each shortened by up to a half so that brokers do not ask in step.
struct Pauses {
    next: Duration,
    longest: Duration,
}

impl Pauses {
    fn new([first, longest]: [Duration; 2]) -> Self {
        Self { next: first, longest }
    }

    fn next(&mut self, random: &Random) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        let micros = u64::try_from(pause.as_micros()).expect("a second at most");
        Duration::from_micros(micros - random.below(micros / 2 + 1))
    }
}

/// Whether waiting a little may help.
fn is_passing(error: &aquifer_quorum::ProposeError) -> bool {
    matches!(error, aquifer_quorum::ProposeError::NoLeader { .. } | aquifer_quorum::ProposeError::Busy { .. })
}

fn feed_ended() -> ProposeError {
    ProposeError::Unavailable {
        reason: "the metadata feed has ended: the quorum's member on this node has stopped".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_differ() {
        let (random, mut pauses) = (Random::seeded(1), Pauses::new(ASK_AGAIN));
        let drawn: Vec<u128> = (0..40).map(|_| pauses.next(&random).as_millis()).collect();
        assert!((10..=20).contains(&drawn[0]), "{drawn:?}");
        assert!(drawn[6..].iter().all(|pause| (500..=1_000).contains(pause)), "{drawn:?}");
        assert!(drawn[6..].iter().any(|pause| *pause != drawn[6]), "{drawn:?}");
    }
}
