//! What the HTTP port tells of a node.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use aquifer_coordinator::Groups;
use aquifer_partition::Partitions;
use aquifer_quorum::{Quorum, Role};
use aquifer_runtime::{OnEnd, TaskGroup};
use aquifer_stream::Streams;
use tokio::time::{Instant, sleep};

use crate::http::Health;
use crate::metrics::Page;
use crate::waiting::Readiness;

/// A member of the quorum that did not hear its leader for so long may show what is not so any more.
const LEADER_SILENCE: Duration = Duration::from_secs(5);
/// How often a running node looks whether it is ready.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The layers that have a say.
pub(crate) struct NodeHealth {
    pub(crate) page: Page,
    /// Absent on a node that is a controller only.
    pub(crate) broker: Option<BrokerHealth>,
    /// Absent on a node that is a broker only.
    pub(crate) quorum: Option<Quorum>,
    pub(crate) serving: TaskGroup,
}

/// A broker's.
pub(crate) struct BrokerHealth {
    pub(crate) partitions: Partitions,
    pub(crate) groups: Groups,
    pub(crate) streams: Streams,
}

impl Health for NodeHealth {
    fn ready(&self) -> Result<(), String> {
        let stopping = self.serving.stopping().is_cancelled();
        let broker = self.broker.as_ref();
        let all_open = broker.is_none_or(|broker| broker.partitions.all_open());
        let loading = broker.map_or(0, |broker| broker.groups.still_loading());
        readiness(stopping, all_open, loading, broker.map(|broker| broker.streams.stats().wal_copies))?;
        let Some(quorum) = &self.quorum else { return Ok(()) };
        if quorum.leader().is_none() {
            return Err("the metadata quorum has no leader that is known here".to_owned());
        }
        let silence = quorum.silence();
        if silence >= LEADER_SILENCE {
            let who = match quorum.status().role {
                Role::Leader => "a majority of the metadata quorum, which this node leads,",
                _ => "the leader of the metadata quorum",
            };
            return Err(format!("{who} was not heard for {} s", silence.as_secs()));
        }
        Ok(())
    }

    fn metrics(&self) -> String {
        self.page.render()
    }
}

/// Has the log say so when the node is not ready, and why, until it stops.
pub(crate) fn watch_readiness(health: Arc<dyn Health>, serving: &TaskGroup) {
    let stopping = serving.stopping().clone();
    serving.spawn("readiness", OnEnd::Continue, async move {
        let mut readiness = Readiness::default();
        let watching = async {
            loop {
                sleep(LOOK_EVERY).await;
                if let Some(word) = readiness.look(health.ready(), Instant::now()) {
                    word.tell();
                }
            }
        };
        let _: Option<()> = stopping.run_until_cancelled(watching).await;
        Ok::<_, Infallible>(())
    });
}

/// `wal_copies`: of the present segment, on a broker.
fn readiness(
    stopping: bool,
    all_open: bool,
    groups_loading: usize,
    wal_copies: Option<u64>,
) -> Result<(), String> {
    if stopping {
        return Err("stopping".to_owned());
    }
    if !all_open {
        return Err("some partitions are not open yet".to_owned());
    }
    if groups_loading > 0 {
        return Err(format!(
            "the groups of {groups_loading} partitions of __consumer_offsets are not loaded yet"
        ));
    }
    if wal_copies == Some(0) {
        return Err(
            "too few brokers mirror this node's WAL (wal.min.copies): nothing is acknowledged".to_owned()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::readiness;

    #[test]
    fn a_node_is_ready_when_partitions_are_open_groups_loaded_and_the_wal_has_copies() {
        assert_eq!(readiness(false, true, 0, Some(1)), Ok(()));
        assert_eq!(readiness(false, true, 0, None), Ok(()), "a controller has no WAL");
        let unready = [
            (true, true, 0, 3, "stopping"),
            (false, false, 0, 3, "open"),
            (false, true, 3, 3, "groups of 3"),
            (false, true, 0, 0, "wal.min.copies"),
        ];
        for (stopping, all_open, loading, copies, word) in unready {
            let reason = readiness(stopping, all_open, loading, Some(copies)).expect_err("not ready");
            assert!(reason.contains(word), "{reason}");
        }
    }
}
