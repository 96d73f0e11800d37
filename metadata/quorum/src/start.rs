//! From a directory to a running member.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use aquifer_image::Bootstrap;
use aquifer_runtime::{CancellationToken, OnEnd, Random, TaskGroup};
use aquifer_types::{ClusterId, LogIndex};
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{InitializeError, RaftError};
use openraft::{BasicNode, Config, Raft, ServerState, SnapshotPolicy};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::config::{
    Formation, MAX_APPEND_ENTRIES, MAX_PENDING_PROPOSALS, QuorumConfig, START_LIMIT, Storage,
};
use crate::directory::{Directory, Identity, io_error};
use crate::error::StartError;
use crate::log::{EntryError, LogBackend, RaftLog, SledLog};
use crate::machine::Machine;
use crate::network::Network;
use crate::quorum::{Inner, Quorum, failure_of};
use crate::snapshot::{SnapshotFiles, SnapshotPlace, Snapshots};
use crate::transport::{Transports, raft_id};

/// What was found in the storage.
struct Opened {
    directory: Option<Directory>,
    /// For messages.
    path: PathBuf,
    backend: Arc<dyn LogBackend>,
    log: RaftLog,
    sync: futures::future::BoxFuture<'static, std::io::Result<()>>,
    machine: Machine,
    identity: Identity,
}

impl Quorum {
    /// Opens the storage and starts the member. When this returns, an only voter leads a cluster with an id and its
    /// image has everything that was ever acknowledged. Among several voters, wait for [`Quorum::ready`]; a
    /// proposal is then the barrier behind which the image is up to date.
    ///
    /// A member that stops by itself, as when its disk fails, stops `tasks` with the reason. When `tasks` is told to
    /// stop the member does; to stop it earlier or later than the rest, call [`Quorum::shutdown`].
    ///
    /// # Errors
    /// Each with what to do. Nothing is left running.
    pub async fn start(
        config: QuorumConfig,
        network: Arc<dyn Network>,
        random: &Random,
        tasks: &TaskGroup,
    ) -> Result<Self, StartError> {
        check_formation(&config)?;
        let settings = raft_config(&config)?;
        // Drawn before the storage is opened, so that the identity can be written with it before raft begins.
        let drawn = config.cluster_id.unwrap_or(ClusterId(random.uuid()));
        let directory = draw_directory(&config.formation, random);
        let opening = config.clone();
        let opened = aquifer_runtime::blocking(move || open(&opening, drawn, directory)).await;
        let opened = opened.unwrap_or_else(|panic| {
            Err(StartError::Raft {
                dir: place(&config.storage),
                reason: format!("the log could not be opened: {panic}"),
            })
        })?;

        let found = LogIndex(opened.log.last_index());
        let group = tasks.child();
        // Its failure reaches raft through the callbacks, and from there the node.
        group.spawn("metadata-log-sync", OnEnd::Continue, opened.sync);
        let member = raft_id(config.node, opened.identity.directory);
        let raft = Raft::new(
            member,
            Arc::new(settings),
            Transports(network.clone()),
            opened.log,
            opened.machine.clone(),
        )
        .await;
        let raft = match raft {
            Ok(raft) => raft,
            Err(error) => {
                opened.backend.close();
                return Err(StartError::Raft { dir: opened.path, reason: error.to_string() });
            }
        };
        let quorum = Self::new(Inner {
            node: config.node,
            member,
            raft,
            machine: opened.machine,
            network,
            backend: opened.backend,
            directory: opened.directory,
            pending: Semaphore::new(MAX_PENDING_PROPOSALS),
            propose_limit: config.propose_limit,
            tasks: group.clone(),
            stopped: CancellationToken::new(),
            full_told: Mutex::default(),
            heard: Mutex::new(Instant::now()),
        });
        tasks.spawn(
            "metadata-member",
            OnEnd::StopGroup,
            watch_member(quorum.clone(), tasks.stopping().clone()),
        );
        tasks.spawn(
            "metadata-bootstrap",
            OnEnd::StopGroup,
            bootstrap(quorum.clone(), opened.identity.cluster.unwrap_or(drawn)),
        );

        let formed = quorum.form(&config, &opened.path, found).await;
        if let Err(error) = formed {
            quorum.shutdown().await;
            return Err(error);
        }
        Ok(quorum)
    }

    /// Initializes an empty member and, if it is alone, sees to its election and waits until the image has all
    /// of the log that was `found`: what was acknowledged before must be there when the start returns.
    async fn form(&self, config: &QuorumConfig, path: &Path, found: LogIndex) -> Result<(), StartError> {
        let raft = &self.inner().raft;
        let failed = |reason: String| StartError::Raft { dir: path.to_owned(), reason };
        if let Formation::Bootstrap(voters) = &config.formation {
            let directory = self.directory();
            let members = voters
                .iter()
                .map(|(node, address)| (raft_id(*node, directory), BasicNode { addr: address.clone() }));
            let members: std::collections::BTreeMap<_, _> = members.collect();
            match raft.initialize(members).await {
                // Not allowed: there is a log already, and it knows the voters.
                Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
                Err(error) => return Err(failed(error.to_string())),
            }
        }
        // Asked of the core, because its metrics may not have been published since.
        let me = self.inner().member;
        let state = raft.with_raft_state(move |state| {
            let mut voters = state.membership_state.effective().voter_ids();
            (voters.next() == Some(me) && voters.next().is_none(), state.server_state)
        });
        let (alone, role) = state.await.map_err(|error| failed(error.to_string()))?;
        if !alone {
            return Ok(());
        }
        // Nobody else could be leading, so there is no timeout to wait for.
        if role != ServerState::Leader {
            raft.trigger().elect(false).await.map_err(|error| failed(error.to_string()))?;
        }
        let recovered = async {
            self.ready().await?;
            let mut applied = self.inner().machine.applied();
            let complete = async {
                // The sender lives in the machine that we hold.
                let _ = applied.wait_for(|applied| *applied >= found).await;
                // The image may be complete before the election is over. Fails only with raft's core, which stops the member.
                let _ = raft.wait(None).current_leader(me, "the only voter leads").await;
            };
            tokio::select! {
                () = self.inner().stopped.cancelled() => Err(self.ended()),
                () = complete => Ok(()),
            }
        };
        match tokio::time::timeout(START_LIMIT, recovered).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(ended)) => Err(failed(ended.reason)),
            Err(_) => Err(StartError::NotReady {
                waited: START_LIMIT,
                reason: format!("status {:?}", self.status()),
            }),
        }
    }
}

/// What tells this storage from the node's next one, if this one is wiped. Several first voters must know each other's
/// beforehand, and whoever starts them so vouches that all their storages are blank together.
fn draw_directory(formation: &Formation, random: &Random) -> u32 {
    match formation {
        Formation::Bootstrap(voters) if voters.len() > 1 => 0,
        _ => u32::try_from(1 + random.below(u64::from(u32::MAX))).expect("drawn below 2^32"),
    }
}

/// Opens the storage. Blocks.
fn open(config: &QuorumConfig, drawn: ClusterId, drawn_directory: u32) -> Result<Opened, StartError> {
    let path = place(&config.storage);
    match &config.storage {
        Storage::Directory(dir) => {
            let directory = Directory::open(dir)?;
            let found = directory.identity(config.node, config.cluster_id)?;
            let log_path = directory.log_path();
            let fresh = !log_path.exists();
            let cluster = found.and_then(|identity| identity.cluster).or(match config.formation {
                // The only voter decides; among several, whoever leads first does.
                Formation::Bootstrap(ref voters) if fresh && voters.len() == 1 => Some(drawn),
                _ => config.cluster_id,
            });
            // Without a log it is a new storage, whatever else was left in the directory. With a log and without an
            // identity of its own it is from before directories were told apart.
            let directory_id = match fresh {
                true => drawn_directory,
                false => found.map_or(0, |identity| identity.directory),
            };
            let identity = Identity::new(config.node, cluster, directory_id);
            if found != Some(identity) {
                directory.set_identity(&identity)?;
            }
            let snapshots: Arc<dyn SnapshotPlace> = Arc::new(SnapshotFiles::new(dir));
            let backend = SledLog::open(&log_path).map_err(|error| match error.kind() {
                std::io::ErrorKind::InvalidData => {
                    StartError::Damaged { path: log_path.clone(), reason: error.to_string() }
                }
                _ => io_error("open the log in", &log_path)(error),
            })?;
            open_log(Some(directory), path, identity, Arc::new(backend), snapshots)
        }
        Storage::Memory(memory) => {
            let opening = Arc::new(memory.open());
            let identity = Identity::new(config.node, config.cluster_id, memory.directory(drawn_directory));
            open_log(None, path, identity, opening.clone(), opening)
        }
    }
}

fn open_log(
    directory: Option<Directory>,
    path: PathBuf,
    identity: Identity,
    backend: Arc<dyn LogBackend>,
    snapshots: Arc<dyn SnapshotPlace>,
) -> Result<Opened, StartError> {
    let log_path = directory.as_ref().map_or_else(|| path.clone(), Directory::log_path);
    let (snapshots, image) = Snapshots::open(snapshots, &path)?;
    if let (Some(expected), Some(found)) =
        (identity.cluster, image.as_ref().and_then(|(_, image)| image.cluster_id()))
        && expected != found
    {
        return Err(StartError::WrongCluster { dir: path, found, expected });
    }
    let (log, sync) = RaftLog::open(backend.clone()).map_err(|error| match error {
        EntryError::LaterFormat { found } => StartError::LaterFormat {
            path: log_path,
            found: found.into(),
            supported: crate::log::FORMAT.into(),
        },
        EntryError::Damaged(reason) => StartError::Damaged { path: log_path, reason },
    })?;
    let machine = Machine::new(snapshots, image);
    Ok(Opened { directory, path, backend, log, sync: Box::pin(sync), machine, identity })
}

/// The first leader gives the cluster its id; every member writes down the id that it learns.
async fn bootstrap(quorum: Quorum, mine: ClusterId) -> Result<(), String> {
    let inner = quorum.inner();
    let mut applied = inner.machine.applied();
    let mut metrics = inner.raft.server_metrics();
    let cluster = loop {
        applied.mark_unchanged();
        if let Some(cluster) = quorum.image().cluster_id() {
            break cluster;
        }
        if metrics.borrow_and_update().state == ServerState::Leader {
            // A refusal means that another leader was first, and shows in the image.
            if let Err(error) =
                quorum.propose(aquifer_image::Command::from(Bootstrap { cluster_id: mine })).await
            {
                tracing::debug!(%error, "the cluster id is not set yet");
            }
        }
        tokio::select! {
            () = inner.stopped.cancelled() => return Ok(()),
            _ = applied.changed() => {}
            changed = metrics.changed() => if changed.is_err() { return Ok(()) },
        }
    };
    let Some(directory) = &inner.directory else { return Ok(()) };
    match directory.identity(inner.node, Some(cluster)) {
        Ok(Some(identity)) if identity.cluster.is_some() => Ok(()),
        Ok(_) => {
            let identity = Identity::new(inner.node, Some(cluster), quorum.directory());
            directory.set_identity(&identity).map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Shuts raft down with the node, and fails when raft stops by itself.
async fn watch_member(quorum: Quorum, stopping: CancellationToken) -> Result<(), String> {
    let inner = quorum.inner();
    let mut metrics = inner.raft.metrics();
    let failure = loop {
        if let Some(failure) = failure_of(&metrics.borrow_and_update().running_state) {
            break failure;
        }
        tokio::select! {
            () = stopping.cancelled() => {
                quorum.shutdown().await;
                return Ok(());
            }
            () = inner.stopped.cancelled() => return Ok(()),
            () = inner.machine.snapshot_due() => quorum.begin_snapshot().await,
            changed = metrics.changed() => if changed.is_err() { break "the raft core is gone".to_owned() },
        }
    };
    inner.stopped.cancel();
    Err(format!("the metadata quorum member on node {} has stopped: {failure}", inner.node))
}

fn check_formation(config: &QuorumConfig) -> Result<(), StartError> {
    if let Formation::Bootstrap(voters) = &config.formation
        && !voters.contains_key(&config.node)
    {
        let reason = format!("node {} is not among the first voters {:?}", config.node, voters.keys());
        return Err(StartError::Formation(reason));
    }
    Ok(())
}

fn raft_config(config: &QuorumConfig) -> Result<Config, StartError> {
    let heartbeat = u64::try_from(config.heartbeat.as_millis()).unwrap_or(u64::MAX).max(1);
    let settings = Config {
        cluster_name: "metadata".to_owned(),
        heartbeat_interval: heartbeat,
        election_timeout_min: heartbeat.saturating_mul(5),
        election_timeout_max: heartbeat.saturating_mul(8),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(config.snapshot_every),
        max_in_snapshot_log_to_keep: config.log_keep,
        // Purging removes key by key; in steps it is shorter than a sync.
        purge_batch_size: 256,
        replication_lag_threshold: config.snapshot_every.saturating_add(config.log_keep),
        enable_pre_vote: Some(true),
        // Entries go to the others while the leader's own sync is under way. A process that was killed may have lost some that
        // they have; leading on in its term it would give their ids to other entries, and nobody could tell the difference.
        enable_leader_restore: Some(config.leads_on_after_restart),
        // Entries are small on the whole; with the largest ones a batch still fits a frame.
        max_payload_entries: MAX_APPEND_ENTRIES,
        ..Config::default()
    };
    settings.validate().map_err(|error| StartError::Formation(error.to_string()))
}

fn place(storage: &Storage) -> PathBuf {
    match storage {
        Storage::Directory(dir) => dir.clone(),
        Storage::Memory(_) => PathBuf::from("(memory)"),
    }
}
