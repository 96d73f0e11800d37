//! An owner, its mirrors, and the little of the metadata that segments need.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aquifer_disk::{SimulatedDisk, SimulatedFaults};
use aquifer_runtime::TaskGroup;
use aquifer_wal::{
    CopyOf, Ensemble, Identity, Lsn, Member, MirrorStore, MirrorStoreConfig, OpenError, Record, Refusal,
    SealedTail, Undecided, Wal, WalConfig, choose, open, records,
};

use crate::link::{Link, Wire};
use crate::machine::{IDENTITY, record};

/// A mirror's machine: its disk outlives its processes.
pub(crate) struct Host {
    pub(crate) disk: SimulatedDisk,
    pub(crate) id: u128,
    pub(crate) store: Option<MirrorStore>,
    pub(crate) wire: Wire,
    node: u32,
    tasks: TaskGroup,
}

pub(crate) fn small() -> WalConfig {
    WalConfig {
        capacity_bytes: 4 << 20,
        file_bytes: Some(256 << 10),
        zeroing_bytes_per_second: 64 << 20,
        ..WalConfig::default()
    }
}

impl Host {
    pub(crate) async fn new(seed: u64, node: u32, latency_ms: u64) -> Self {
        let disk = SimulatedDisk::new(seed, SimulatedFaults::default());
        let (id, wire, tasks) = (u128::from(node) << 64, Wire::new(latency_ms), TaskGroup::new());
        let mut host = Self { disk, id, store: None, wire, node, tasks };
        host.start(latency_ms).await.expect("a new store opens");
        host
    }

    pub(crate) async fn start(&mut self, latency_ms: u64) -> Result<(), OpenError> {
        let config = MirrorStoreConfig { wal: small(), segments: 2 };
        let identity = Identity { disk: self.id, owner: self.node, ..IDENTITY };
        self.tasks = TaskGroup::new();
        self.wire = Wire::new(latency_ms);
        let store = MirrorStore::open(config, self.disk.attach()?, identity, &self.tasks).await?;
        self.store = Some(store);
        Ok(())
    }

    /// The process dies, or with `power` the machine.
    pub(crate) fn strike(&mut self, power: bool) {
        if power {
            self.disk.crash();
        } else {
            self.disk.kill();
        }
        self.wire.cut();
        self.tasks.stopping().cancel();
        self.store = None;
    }

    pub(crate) fn member(&self) -> Member {
        Member { node: self.node, disk: self.id }
    }
}

/// What the quorum knows of a segment.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) members: Vec<Member>,
    pub(crate) needed: usize,
    /// Where it was closed.
    pub(crate) end: Option<Lsn>,
}

pub(crate) struct Cluster {
    pub(crate) hosts: Vec<Host>,
    pub(crate) disk: SimulatedDisk,
    pub(crate) tasks: TaskGroup,
    pub(crate) wal: Wal<u64>,
    pub(crate) segments: BTreeMap<u64, Listed>,
    /// How many copies an acknowledgement takes, at most all there are.
    needed: usize,
    index: u64,
    durable: Arc<Mutex<Vec<u64>>>,
    /// What was appended, by LSN.
    pub(crate) records: BTreeMap<u64, Record>,
    pub(crate) acknowledged: u64,
    pub(crate) trimmed: u64,
    next_tag: u64,
}

impl Cluster {
    pub(crate) async fn new(seed: u64, needed: usize, mirrors: u32) -> Self {
        let mut hosts = Vec::new();
        for node in 0..mirrors {
            let seed = seed.wrapping_add(u64::from(node) + 1);
            hosts.push(Host::new(seed, 100 + node, seed % 4).await);
        }
        let disk = SimulatedDisk::new(seed, SimulatedFaults::default());
        let (tasks, durable) = (TaskGroup::new(), Arc::new(Mutex::new(Vec::new())));
        let opened = open(small(), disk.attach().expect("free"), IDENTITY).await.expect("opens");
        let mut segments = BTreeMap::new();
        let ensemble = ensemble(&hosts, 10, needed, &tasks, &mut segments);
        let tags = durable.clone();
        let sink = move |fresh: &mut Vec<u64>| tags.lock().expect("whole").append(fresh);
        let wal = opened.start_with(10, ensemble, sink, &tasks).await.expect("starts");
        let (records, acknowledged, trimmed) = (BTreeMap::new(), 0, 0);
        let (index, next_tag) = (10, 0);
        Self {
            hosts,
            disk,
            tasks,
            wal,
            segments,
            needed,
            index,
            durable,
            records,
            acknowledged,
            trimmed,
            next_tag,
        }
    }

    /// The metadata's log is longer already.
    pub(crate) fn index_from(&mut self, index: u64) {
        self.index = index;
    }

    pub(crate) fn append(&mut self, bytes: usize) {
        let wanted = record(self.next_tag, bytes);
        if let Ok(lsn) = self.wal.append(wanted.clone(), self.next_tag) {
            self.records.insert(lsn.0, wanted);
        }
        self.next_tag += 1;
    }

    /// Takes in what was acknowledged: in LSN order, each once, nothing that was not appended.
    pub(crate) fn note_acknowledged(&mut self) {
        for tag in std::mem::take(&mut *self.durable.lock().expect("whole")) {
            let found = &self.records[&self.acknowledged];
            assert_eq!(crate::machine::tag(found), tag, "LSN {}", self.acknowledged);
            self.acknowledged += 1;
        }
    }

    pub(crate) fn trim(&mut self, part: u8) {
        self.note_acknowledged();
        self.trimmed += (self.acknowledged - self.trimmed) * u64::from(part) / 255;
        self.wal.trim(Lsn(self.trimmed));
    }

    /// Freezes, closes the segment there and opens the next one with who is there.
    pub(crate) async fn roll(&mut self) {
        let frozen = self.wal.freeze().await.expect("the owner's disk works");
        self.note_acknowledged();
        assert_eq!(frozen.end.0, self.acknowledged, "nothing is acknowledged beyond");
        self.segments.get_mut(&frozen.segment).expect("listed").end = Some(frozen.end);
        self.index += 10;
        let ensemble = ensemble(&self.hosts, self.index, self.needed, &self.tasks, &mut self.segments);
        self.wal.resume(self.index, ensemble).await.expect("the owner's disk works");
    }

    /// Recovers everything from the hosts in `asked` (by position), as a takeover at `epoch` does.
    pub(crate) async fn recover(
        &mut self,
        asked: &[usize],
        epoch: u64,
    ) -> Result<BTreeMap<u64, Record>, Undecided> {
        let mut found = BTreeMap::new();
        for (&segment, listed) in &self.segments {
            let mut answers: Vec<(Member, SealedTail)> = Vec::new();
            for host in asked.iter().map(|at| &self.hosts[*at]) {
                let Some(store) = &host.store else { continue };
                let Some(member) = listed.members.iter().find(|member| member.node == host.member().node)
                else {
                    continue;
                };
                let of = CopyOf { segment, owner: IDENTITY.owner, disk: member.disk };
                match store.seal(of, epoch).await {
                    Ok(tail) => answers.push((*member, tail)),
                    Err(Refusal::OtherDisk { .. } | Refusal::Dead(_) | Refusal::Abstains { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            let (chosen, _) = choose(listed.members.len() + 1, listed.needed, &answers)?;
            let host = self.hosts.iter().find(|host| host.member() == chosen).expect("it answered");
            let store = host.store.as_ref().expect("it answered");
            let of = CopyOf { segment, owner: IDENTITY.owner, disk: chosen.disk };
            let mut frames = Vec::new();
            loop {
                let part = store.read(of, frames.len(), 10_000).expect("sealed");
                if part.is_empty() {
                    break;
                }
                frames.extend(part);
            }
            let end = listed.end.unwrap_or(Lsn(u64::MAX));
            let records = records(segment, frames).expect("a clean copy");
            found.extend(records.into_iter().filter(|(lsn, _)| *lsn < end).map(|(lsn, r)| (lsn.0, r)));
        }
        Ok(found)
    }

    /// What was found is a prefix of what was appended, from the trim on or before it, with everything acknowledged.
    pub(crate) fn check(&self, found: &BTreeMap<u64, Record>) {
        for (lsn, record) in found {
            assert_eq!(Some(record), self.records.get(lsn), "LSN {lsn}");
        }
        for lsn in self.trimmed..self.acknowledged {
            assert!(found.contains_key(&lsn), "LSN {lsn} was acknowledged, and is gone");
        }
        let end = found.keys().next_back().map_or(self.acknowledged, |last| last + 1);
        let gap = (self.acknowledged..end).find(|lsn| !found.contains_key(lsn));
        assert_eq!(gap, None, "a prefix has no gap");
    }
}

fn ensemble(
    hosts: &[Host],
    segment: u64,
    needed: usize,
    tasks: &TaskGroup,
    segments: &mut BTreeMap<u64, Listed>,
) -> Ensemble {
    let present: Vec<&Host> = hosts.iter().filter(|host| host.store.is_some()).collect();
    let members: Vec<Member> = present.iter().map(|host| host.member()).collect();
    let needed = needed.min(members.len() + 1);
    segments.insert(segment, Listed { members: members.clone(), needed, end: None });
    Ensemble::new(needed, &members, |member, acks| {
        let host = present.iter().find(|host| host.member() == member).expect("one of them");
        let of = CopyOf { segment, owner: IDENTITY.owner, disk: member.disk };
        Link::connect(host.store.clone(), of, host.wire.clone(), acks, tasks)
    })
}
