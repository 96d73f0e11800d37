//! A machine whose disk is simulated, and a node on it that only has a WAL.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aquifer_disk::{SimulatedDisk, SimulatedFaults};
use aquifer_runtime::TaskGroup;
use aquifer_wal::{Identity, Lsn, OpenError, Opened, Record, Recovered, Wal, WalConfig, open};
use bytes::Bytes;

pub(crate) const IDENTITY: Identity = Identity { cluster: 0xc1, disk: 0xd1, owner: 7 };

pub(crate) struct Machine {
    pub(crate) disk: SimulatedDisk,
    pub(crate) config: WalConfig,
    pub(crate) segment: u64,
}

/// A process that writes a WAL.
pub(crate) struct Node {
    pub(crate) wal: Wal<u64>,
    /// The tags that the sink was given, in its order.
    pub(crate) durable: Arc<Mutex<Vec<u64>>>,
    pub(crate) tasks: TaskGroup,
}

impl Machine {
    /// Small files, so that a short history goes around the ring.
    pub(crate) fn new(seed: u64) -> Self {
        let config = WalConfig {
            capacity_bytes: 1 << 20,
            file_bytes: Some(128 << 10),
            zeroing_bytes_per_second: 64 << 20,
            ..WalConfig::default()
        };
        Self { disk: SimulatedDisk::new(seed, SimulatedFaults::default()), config, segment: 0 }
    }

    pub(crate) async fn open(&self) -> Result<Opened, OpenError> {
        open(self.config.clone(), self.disk.attach()?, IDENTITY).await
    }

    /// Opens the log and begins a segment.
    pub(crate) async fn start(&mut self) -> (Recovered, Node) {
        let opened = self.open().await.expect("opens");
        self.go_on(opened).await
    }

    pub(crate) async fn go_on(&mut self, mut opened: Opened) -> (Recovered, Node) {
        let recovered = std::mem::take(&mut opened.recovered);
        let durable = Arc::new(Mutex::new(Vec::new()));
        let tasks = TaskGroup::new();
        self.segment += 10;
        let tags = durable.clone();
        let sink = move |fresh: &mut Vec<u64>| tags.lock().expect("whole").append(fresh);
        let wal = opened.start(self.segment, sink, &tasks).await.expect("starts");
        (recovered, Node { wal, durable, tasks })
    }
}

impl Node {
    pub(crate) fn append(&self, tag: u64, bytes: usize) -> Lsn {
        self.wal.append(record(tag, bytes), tag).expect("appended")
    }

    /// Appends and waits.
    pub(crate) async fn write(&self, tag: u64, bytes: usize) -> Lsn {
        let lsn = self.append(tag, bytes);
        self.wal.committed(lsn).await.expect("durable");
        lsn
    }

    pub(crate) fn durable(&self) -> Vec<u64> {
        self.durable.lock().expect("whole").clone()
    }

    pub(crate) async fn close(self) {
        self.wal.close().await.expect("closes");
        self.tasks.shutdown(Duration::from_secs(60)).await.expect("ends");
    }
}

/// A record that can be told from every other one.
pub(crate) fn record(tag: u64, bytes: usize) -> Record {
    // Each 16 bytes tell the record and their place in it.
    let mut payload: Vec<u8> = (0..=bytes as u64 / 16)
        .flat_map(|place| [tag.to_le_bytes(), place.to_be_bytes()])
        .flatten()
        .collect();
    payload.truncate(bytes);
    let first_offset = tag / 3 * 10;
    Record { stream: tag % 3, first_offset, end_offset: first_offset + 10, payload: Bytes::from(payload) }
}

/// All records in LSN order, after checking that LSNs leave no gap.
pub(crate) fn flat(recovered: &Recovered) -> Vec<(Lsn, Record)> {
    let all: Vec<_> = recovered.segments.iter().flat_map(|segment| segment.records.clone()).collect();
    for pair in all.windows(2) {
        assert_eq!(pair[0].0.0 + 1, pair[1].0.0, "LSNs follow each other");
    }
    all
}

/// The tags of recovered records.
pub(crate) fn tags(recovered: &Recovered) -> Vec<u64> {
    flat(recovered).iter().map(|(_, record)| tag(record)).collect()
}

/// The tag that a record was made of.
pub(crate) fn tag(record: &Record) -> u64 {
    record.first_offset / 10 * 3 + record.stream
}
