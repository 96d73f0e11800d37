use std::sync::Arc;

use aquifer_disk::Disk;
use aquifer_runtime::{OnEnd, TaskGroup};

use crate::keeper::Keeper;
use crate::recovery::{self, Accepted, Scan};
use crate::ring::{Files, Name, Ring, RingFile};
use crate::roll::Desk;
use crate::shared::Shared;
use crate::writer::{Stamp, Start, Writer};
use crate::{Absence, Ensemble, Identity, Lsn, OpenError, Recovered, Wal, WalConfig, identity};

/// A WAL whose past was read and whose future has not begun.
#[derive(Debug)]
pub struct Opened {
    /// What an earlier process left. Take it out with [`std::mem::take`] before starting, show it to nobody before
    /// [`start`](Self::start) has returned.
    pub recovered: Recovered,
    /// Whether the directory was blank: a new node, or a disk that was replaced or wiped.
    pub blank: bool,
    config: WalConfig,
    disk: Arc<dyn Disk>,
    identity: Identity,
    files: Files,
    next_lsn: u64,
    trimmed: u64,
    checksum: u32,
    recovered_bytes: u64,
    newest: Option<u64>,
}

/// Opens a WAL's directory and scans all that was not trimmed.
///
/// A blank directory is made ours. Space for `config.capacity_bytes` is reserved at once, so that a disk that is too
/// small is told now ([`OpenError::NoSpace`]) and not in the middle of a write.
pub async fn open(config: WalConfig, disk: Arc<dyn Disk>, identity: Identity) -> Result<Opened, OpenError> {
    let names = disk.list().await?;
    let names: Vec<_> = names.iter().filter_map(|entry| Name::parse(&entry.name)).collect();
    let blank = identity::check(&disk, &identity, !names.is_empty()).await?;
    if blank {
        identity::write(&disk, &identity).await?;
    }
    // A restart waits for this: all at once.
    let opening = names.iter().map(async |name| {
        let name = name.to_string();
        disk.open(&name).await.map(|file| RingFile { name, file })
    });
    let files = futures::future::try_join_all(opening).await?;
    let (mut ready, mut zeroing) = (Vec::new(), Vec::new());
    for (name, file) in names.iter().zip(files) {
        match name {
            Name::Ready(_) => ready.push(file),
            Name::Zeroing(_) => zeroing.push(file),
        }
    }
    let Scan { segments, live, free, next_lsn, trimmed, checksum, newest, absence } =
        recovery::scan(ready, &identity, Accepted::of(&config)).await?;
    let mut files = Files { live, free, zeroing };
    files.complete(&disk, &config).await?;
    let mut recovered_bytes = 0;
    for segment in &segments {
        recovered_bytes += segment.records.iter().map(|(_, record)| record.payload.len() as u64).sum::<u64>();
        let (id, records, verdict) = (segment.id, segment.records.len(), segment.verdict);
        tracing::info!(segment = id, records, ?verdict, "recovered a segment of the WAL");
    }
    let absence = if blank || names.is_empty() { Absence::Unknown } else { absence };
    let recovered = Recovered { segments, absence };
    Ok(Opened {
        recovered,
        blank,
        config,
        disk,
        identity,
        files,
        next_lsn,
        trimmed,
        checksum,
        recovered_bytes,
        newest,
    })
}

impl Opened {
    /// The id of the newest segment found, 0 if there is none: the next one must be larger.
    pub fn newest_segment(&self) -> u64 {
        self.newest.unwrap_or(0)
    }

    /// Lets go of everything that was recovered, because committed objects hold it; LSNs go on from `base`, or from where
    /// they ended here if that is later.
    pub fn discard(&mut self, base: Lsn) {
        self.recovered = Recovered::default();
        self.recovered_bytes = 0;
        self.next_lsn = self.next_lsn.max(base.0);
        self.trimmed = self.next_lsn;
    }

    /// Begins a segment and hands out the log. Recovered records stay on disk until they are trimmed.
    ///
    /// What was recovered counts as durable once this returns: not all of it was acknowledged, and until the new segment's
    /// first frame says where the one before ends, a later recovery may find less.
    ///
    /// `segment` is an id that the metadata quorum gave out for this (a raft log index, so it grows). `sink` is called on
    /// the writer's task with the tags of records that became durable, in LSN order and before anybody who waits
    /// in [`Wal::committed`] wakes; it must be quick, and what it leaves in the vector is dropped.
    ///
    /// The writer runs in `tasks` and ends, after writing what was appended, when the group stops or at [`Wal::close`].
    pub async fn start<T: Send + 'static>(
        self,
        segment: u64,
        sink: impl FnMut(&mut Vec<T>) + Send + 'static,
        tasks: &TaskGroup,
    ) -> Result<Wal<T>, OpenError> {
        self.start_with(segment, Ensemble::alone(), sink, tasks).await
    }

    /// The same with mirrors: what is appended counts as durable once as many copies as `ensemble` asks for have it.
    pub async fn start_with<T: Send + 'static>(
        self,
        segment: u64,
        ensemble: Ensemble,
        sink: impl FnMut(&mut Vec<T>) + Send + 'static,
        tasks: &TaskGroup,
    ) -> Result<Wal<T>, OpenError> {
        let Self {
            recovered_bytes,
            config,
            disk,
            identity,
            mut files,
            next_lsn,
            trimmed,
            checksum,
            newest,
            ..
        } = self;
        if let Some(newest) = newest
            && segment <= newest
        {
            return Err(OpenError::StaleSegment { segment, newest });
        }
        let zeroing = std::mem::take(&mut files.zeroing);
        let zeroing_bytes = zeroing.iter().map(RingFile::length).sum();
        let (desk, orders) = Desk::new();
        let (capacity, file) = (config.capacity_bytes, config.ring_file_bytes());
        let shared = Arc::new(Shared::new(next_lsn, trimmed, capacity, file, desk));
        shared.recovered(next_lsn, recovered_bytes);
        let ring = Ring::new(files, zeroing_bytes, &config);
        let (keeper, zeroed, demand) = Keeper::new(disk.clone(), zeroing, config.zeroing_bytes_per_second);
        let stamp =
            Stamp { identity, segment, sequence: 0, lsn: next_lsn, touched: next_lsn, checksum, trimmed };
        let pool = disk.pool().clone();
        let start = Start { shared: shared.clone(), ring, pool, stamp, ensemble, orders, zeroed, demand };
        let mut writer = Writer::new(start, sink, &config);
        writer.begin().await?;

        let (stopping, ended) = (tasks.stopping().clone(), shared.ended.clone());
        // A node whose disk is dead can acknowledge nothing: it ends, and says why, instead of looking alive.
        tasks.spawn("wal-writer", OnEnd::StopGroup, async move { writer.run(stopping).await });
        let for_keeper = shared.clone();
        tasks.spawn("wal-keeper", OnEnd::StopGroup, async move {
            let kept = keeper.run(ended).await;
            kept.inspect_err(|error| for_keeper.die(error.to_string()))
        });
        Ok(Wal::new(shared))
    }
}
