//! The broker's part in the mirrored WAL: copies that it keeps for others, and its own ways to them.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aquifer_client::MetadataClient;
use aquifer_disk::{Disk, DiskOptions};
use aquifer_image::OfferMirror;
use aquifer_mirror::{Links, Member, OwnCopies, PeerCopies, Takeovers};
use aquifer_objects::Store;
use aquifer_runtime::{Clock, Random, TaskGroup};
use aquifer_stream::{Mirroring, Recoverer};
use aquifer_types::{BrokerEpoch, ClusterId, DiskId, NodeId};
use aquifer_wal::{Identity, MirrorStore, MirrorStoreConfig, OpenError, WalConfig};
use tokio::sync::watch;
use tracing::error;

use crate::disk_id;
use crate::options::{StorageSettings, WalMode};
use aquifer_heartbeat::Port;

type Attempt<T> = Result<T, Box<dyn Error>>;

/// Below `wal.dir`.
const DIRECTORY: &str = "mirror";
/// Where a damaged store of copies is kept for whoever wants to look at it.
const DAMAGED: &str = "mirror.damaged";

/// A registered broker of a cluster.
pub(crate) struct Mirrors {
    port: Port,
    /// Copies that it keeps for others, and the disk that it keeps them on.
    kept: Option<(Member, DiskId)>,
}

impl Mirrors {
    /// Opens the store of copies and serves it; from here on recoverers are answered. A broker whose disk may be lost has one
    /// only if an earlier process began it, in another mode.
    pub(crate) async fn open(
        port: &Port,
        (node, cluster): (NodeId, ClusterId),
        storage: &StorageSettings,
        metadata: &MetadataClient,
        random: &Random,
        tasks: &TaskGroup,
    ) -> Attempt<Self> {
        let directory = storage.wal_dir.join(DIRECTORY);
        if storage.wal_mode == WalMode::Object && !directory.exists() {
            return Ok(Self { port: port.clone(), kept: None });
        }
        let open = async || open_store(&directory, node, cluster, storage, random, tasks).await;
        let (store, disk) = match open().await {
            Err(error) if error.downcast_ref().is_some_and(is_damaged) => {
                // Damaged copies have no vote. Under another id this disk has nothing to say about them.
                let kept = storage.wal_dir.join(DAMAGED);
                error!(%error, kept = %kept.display(), "this node's copies of others' WAL segments are damaged: they are given up");
                set_aside(&directory, &kept)?;
                open().await?
            }
            opened => opened?,
        };
        let member = Member::serve(store, metadata.clone(), &port.listener, tasks);
        Ok(Self { port: port.clone(), kept: Some((member, disk)) })
    }

    /// Lets others choose this broker's disk for their segments, unless it may be lost.
    pub(crate) async fn offer(
        &self,
        storage: &StorageSettings,
        metadata: &MetadataClient,
        broker_epoch: BrokerEpoch,
    ) -> Attempt<()> {
        if let Some((_, disk)) = self.kept
            && storage.wal_mode != WalMode::Object
        {
            let offer = OfferMirror { node: self.port.peers.node(), broker_epoch, disk };
            metadata.propose_until_known(offer, "the offer to mirror others' WAL").await?;
        }
        Ok(())
    }

    /// How this broker's own segments are mirrored.
    pub(crate) fn mirroring(&self, storage: &StorageSettings, tasks: &TaskGroup) -> Option<Mirroring> {
        let (copies, needed) = storage.wal_mode.copies_and_needed()?;
        let links = Links::new(self.port.peers.clone(), tasks.clone());
        let connect = Arc::new(move |segment, member, acks| links.connect(segment, member, acks));
        Some(Mirroring { copies, min_copies: storage.wal_min_copies, needed, connect })
    }

    /// Looks after brokers that die, and ends what an earlier process of this node left; `tell` gets the takeovers before that,
    /// so that an operator can be told, and can give up, what it waits for.
    pub(crate) async fn take_over(
        &self,
        left: OwnCopies,
        (metadata, store, clock): (&MetadataClient, &Store, &Clock),
        broker_epoch: BrokerEpoch,
        tell: &watch::Sender<Option<Takeovers<PeerCopies>>>,
        tasks: &TaskGroup,
    ) -> Takeovers<PeerCopies> {
        let recoverer = Recoverer {
            copies: PeerCopies::new(self.port.peers.clone(), Some(left.clone())),
            metadata: metadata.clone(),
            store: store.clone(),
            clock: clock.clone(),
            node: self.port.peers.node(),
            broker_epoch,
            describe: aquifer_partition::describe,
        };
        let takeovers = Takeovers::start(recoverer, tasks);
        tell.send_replace(Some(takeovers.clone()));
        takeovers.end_own().await;
        left.forget();
        takeovers
    }

    /// Keeps copies until their owners have gone on without this broker, which left, or `limit` is over; then ends.
    pub(crate) async fn leave(&self, limit: Duration) {
        if let Some((member, _)) = &self.kept {
            member.leave(self.port.peers.node(), limit).await;
        }
    }
}

impl WalMode {
    /// Copies wanted, and how many of them hold whatever is acknowledged if that is not all; `None` without mirrors.
    fn copies_and_needed(self) -> Option<(usize, Option<usize>)> {
        match self {
            Self::Local | Self::Object => None,
            Self::Mirror => Some((3, None)),
            Self::MirrorFast => Some((3, Some(2))),
        }
    }
}

async fn open_store(
    directory: &Path,
    node: NodeId,
    cluster: ClusterId,
    storage: &StorageSettings,
    random: &Random,
    tasks: &TaskGroup,
) -> Attempt<(MirrorStore, DiskId)> {
    let disk: Arc<dyn Disk> =
        aquifer_disk::open(directory, &DiskOptions { engine: storage.wal_engine }).await?;
    let id = disk_id::of(directory, random)?;
    let identity = identity(cluster, id, node);
    let wal = WalConfig { capacity_bytes: storage.wal_mirror_size, ..WalConfig::default() };
    let config = MirrorStoreConfig { wal, ..MirrorStoreConfig::default() };
    Ok((MirrorStore::open(config, disk, identity, tasks).await?, id))
}

/// Who writes in a directory of WAL files.
pub(crate) fn identity(cluster: ClusterId, disk: DiskId, node: NodeId) -> Identity {
    let cluster = cluster.0.as_u64_pair();
    Identity { cluster: cluster.0 ^ cluster.1, disk: disk.0.as_u128(), owner: node.get() }
}

fn is_damaged(error: &OpenError) -> bool {
    matches!(error, OpenError::Corrupt(_) | OpenError::Mirror(_))
}

fn set_aside(directory: &Path, kept: &Path) -> std::io::Result<()> {
    if kept.exists() {
        std::fs::remove_dir_all(kept)?;
    }
    std::fs::rename(directory, kept)
}
