//! A dead broker's tail, found in what its mirrors keep.

use std::collections::BTreeMap;

use aquifer_disk::{SimulatedDisk, SimulatedFaults};
use aquifer_image::{
    CreateTopic, Endpoint, FenceBroker, OfferMirror, OpenSegment, Outcome, RegisterBroker, RollSegment,
    SecurityProtocol, SegmentMember,
};
use aquifer_runtime::{OnEnd, TaskGroup};
use aquifer_types::{BrokerEpoch, DiskId, NodeId, SegmentId, TopicId};
use aquifer_wal::{
    CopyOf, Ensemble, Identity, Lsn, Member, Mirror, MirrorAcks, MirrorCopy, MirrorStore, MirrorStoreConfig,
    Record, Refusal, SealedTail, Wal, WalConfig,
};
use bytes::Bytes;
use uuid::Uuid;

use super::world::{NOON_MS, Node, World, batch, describe};
use crate::{Copies, CopyError, Loss, Recoverer, TakeOverError};

const OWNER: NodeId = NodeId(2);
const MIRRORS: [NodeId; 2] = [NodeId(1), NodeId(3)];
const CLUSTER: u64 = 7;

/// The mirrors that can be reached.
#[derive(Clone, Debug, Default)]
struct Stores(BTreeMap<u32, MirrorStore>, Own);

/// What the owner's own disk has, by segment.
type Own = BTreeMap<u64, Vec<(Lsn, Record)>>;

impl Stores {
    fn of(&self, member: Member) -> Result<&MirrorStore, CopyError> {
        self.0.get(&member.node).ok_or_else(|| CopyError::Unreachable("nobody listens".to_owned()))
    }
}

fn said(refusal: Refusal) -> CopyError {
    CopyError::Abstains(refusal.to_string())
}

impl Copies for Stores {
    async fn seal(&self, member: Member, of: CopyOf, epoch: u64) -> Result<SealedTail, CopyError> {
        self.of(member)?.seal(of, epoch).await.map_err(said)
    }

    async fn records(&self, member: Member, of: CopyOf) -> Result<Vec<(Lsn, Record)>, CopyError> {
        if member.node == OWNER.get() {
            let own = self.1.get(&of.segment).cloned();
            return own.ok_or_else(|| CopyError::Abstains("nothing of it".to_owned()));
        }
        let mut frames = Vec::new();
        loop {
            let part = self.of(member)?.read(of, frames.len(), 1 << 16).map_err(said)?;
            if part.is_empty() {
                return aquifer_wal::records(of.segment, frames).map_err(CopyError::Abstains);
            }
            frames.extend(part);
        }
    }
}

/// The way to a store in the same process.
#[derive(Debug)]
struct Link {
    copy: MirrorCopy,
    acks: MirrorAcks,
}

impl Mirror for Link {
    fn send(&mut self, frame: Bytes) {
        if let Err(refusal) = self.copy.append(frame) {
            self.acks.lost(refusal.to_string());
        }
    }
}

/// A broker that writes mirrored segments, reduced to its WAL.
struct Owner<'a> {
    node: &'a Node,
    tasks: TaskGroup,
    stores: Stores,
    broker_epoch: BrokerEpoch,
    wal: Wal<()>,
    segment: SegmentId,
    topic: TopicId,
    ends: BTreeMap<i32, u64>,
    own: Own,
}

async fn register(node: &Node, id: NodeId) -> BrokerEpoch {
    let endpoint = Endpoint {
        listener: "PLAINTEXT".to_owned(),
        host: "localhost".to_owned(),
        port: 9092,
        security: SecurityProtocol::Plaintext,
    };
    let incarnation = Uuid::from_u128(id.get().into());
    let register = RegisterBroker { node: id, incarnation, endpoints: vec![endpoint], rack: None };
    match node.metadata.propose(register).await {
        Ok(Outcome::BrokerRegistered { epoch }) => epoch,
        other => panic!("{other:?}"),
    }
}

fn disk_of(node: NodeId) -> DiskId {
    DiskId(Uuid::from_u128(u128::from(node.get()) << 32))
}

fn identity(node: NodeId) -> Identity {
    Identity { cluster: CLUSTER, disk: disk_of(node).get().as_u128(), owner: node.get() }
}

fn small() -> WalConfig {
    WalConfig { capacity_bytes: 4 << 20, zeroing_bytes_per_second: 1 << 30, ..WalConfig::default() }
}

impl<'a> Owner<'a> {
    /// Brokers 2 and 3 register, 2 leads a topic with two partitions and writes to its own disk and to those of 1 and 3.
    async fn new(node: &'a Node, needed: u32) -> Self {
        let tasks = TaskGroup::new();
        let broker_epoch = register(node, OWNER).await;
        register(node, MIRRORS[1]).await;
        let mut stores = Stores::default();
        for mirror in MIRRORS {
            let disk = SimulatedDisk::new(u64::from(mirror.get()), SimulatedFaults::default());
            let config = MirrorStoreConfig { wal: small(), segments: 2 };
            let disk = disk.attach().expect("nobody else has the disk");
            let store = MirrorStore::open(config, disk, identity(mirror), &tasks).await.expect("opens");
            stores.0.insert(mirror.get(), store);
            let broker_epoch = node.metadata.image().broker_epoch(mirror).expect("registered");
            let offer = OfferMirror { node: mirror, broker_epoch, disk: disk_of(mirror) };
            node.metadata.propose(offer).await.expect("taken");
        }
        let topic = TopicId(Uuid::from_u128(77));
        let create = CreateTopic {
            name: "orders".to_owned(),
            id: topic,
            replication_factor: 3,
            configs: Vec::new(),
            leaders: vec![OWNER; 2],
        };
        node.metadata.propose(create).await.expect("created");
        let open =
            OpenSegment { node: OWNER, broker_epoch, disk: disk_of(OWNER), members: chosen(node), needed };
        let segment = opened(node.metadata.propose(open).await.expect("opened"));
        let disk = SimulatedDisk::new(99, SimulatedFaults::default()).attach().expect("nobody has it");
        let log = aquifer_wal::open(small(), disk, identity(OWNER)).await.expect("opens");
        let ensemble = ensemble(&stores, segment, needed, &tasks);
        let sink = |tags: &mut Vec<()>| tags.clear();
        let wal = log.start_with(segment.get(), ensemble, sink, &tasks).await.expect("starts");
        Self {
            node,
            tasks,
            stores,
            broker_epoch,
            wal,
            segment,
            topic,
            ends: BTreeMap::new(),
            own: Own::new(),
        }
    }

    /// Appends a batch to a partition, and waits until it is acknowledged.
    async fn write(&mut self, partition: i32, records: u32, size: usize) {
        let image = self.node.metadata.image();
        let stream = image.partition(self.topic, partition).expect("exists").data;
        let end = self.ends.entry(partition).or_default();
        let batch = batch(stream.get(), *end, records, size, NOON_MS);
        *end = batch.end;
        let (first_offset, end_offset) = (batch.first, batch.end);
        let record = Record { stream: stream.get(), first_offset, end_offset, payload: batch.payload };
        let lsn = self.wal.append(record.clone(), ()).expect("there is room");
        self.own.entry(self.segment.get()).or_default().push((lsn, record));
        self.wal.committed(lsn).await.expect("the disks work");
    }

    async fn roll(&mut self) {
        self.roll_to(chosen(self.node)).await;
    }

    async fn roll_to(&mut self, members: Vec<SegmentMember>) {
        let alone = members.is_empty();
        let end = self.wal.freeze().await.expect("alive").end;
        let roll = RollSegment {
            segment: self.segment,
            end_lsn: end.0,
            node: OWNER,
            broker_epoch: self.broker_epoch,
            disk: disk_of(OWNER),
            members,
            needed: 0,
        };
        self.segment = opened(self.node.metadata.propose(roll).await.expect("rolled"));
        let ensemble = match alone {
            true => Ensemble::alone(),
            false => ensemble(&self.stores, self.segment, 0, &self.tasks),
        };
        self.wal.resume(self.segment.get(), ensemble).await.expect("alive");
    }

    /// The broker is taken for dead; it may live on.
    async fn fence(&self) {
        let fence = FenceBroker { node: OWNER, broker_epoch: self.broker_epoch };
        self.node.metadata.propose(fence).await.expect("fenced");
    }

    fn recoverer(&self, world: &World, stores: Stores) -> Recoverer<Stores> {
        let node = MIRRORS[0];
        let broker_epoch = self.node.metadata.image().broker_epoch(node).expect("registered");
        let (metadata, store) = (self.node.metadata.clone(), world.store.clone());
        let clock = world.clock.clone();
        Recoverer { copies: stores, metadata, store, clock, node, broker_epoch, describe }
    }

    /// Everything that was acknowledged can be read where the partitions are now.
    async fn check(&self) {
        let image = self.node.metadata.image();
        assert_eq!(image.segments_of(OWNER).count(), 0, "its segments are ended");
        for (&partition, &end) in &self.ends {
            let found = image.partition(self.topic, partition).expect("exists");
            assert!(found.leader.is_some_and(|leader| MIRRORS.contains(&leader)), "{found:?}");
            assert_eq!(image.stream(found.data).expect("exists").end, end);
            let owner = self.node.open(self.topic, partition).await;
            owner.check_all(1 << 20).await;
            assert_eq!(owner.stream.committed_end(), end);
        }
    }
}

fn chosen(node: &Node) -> Vec<SegmentMember> {
    let members = aquifer_controller::mirrors(&node.metadata.image(), OWNER, 2, &[]);
    assert_eq!(members.len(), 2);
    members
}

fn opened(outcome: Outcome) -> SegmentId {
    let Outcome::SegmentOpened { segment } = outcome else { panic!("{outcome:?}") };
    segment
}

fn ensemble(stores: &Stores, segment: SegmentId, needed: u32, tasks: &TaskGroup) -> Ensemble {
    let member = |node: &NodeId| Member { node: node.get(), disk: identity(*node).disk };
    let members: Vec<_> = MIRRORS.iter().map(member).collect();
    let copies = if needed == 0 { 3 } else { needed as usize };
    Ensemble::new(copies, &members, |member, acks| {
        let of = CopyOf { segment: segment.get(), owner: OWNER.get(), disk: member.disk };
        let copy = stores.0[&member.node].begin(of).expect("there is room");
        let (mut progress, told) = (copy.progress(), acks.clone());
        tasks.spawn("acks", OnEnd::Continue, async move {
            loop {
                let now = *progress.borrow_and_update();
                told.durable(now.frames);
                told.granted(now.granted_bytes);
                if progress.changed().await.is_err() {
                    return Ok::<_, String>(());
                }
            }
        });
        Box::new(Link { copy, acks })
    })
}

#[tokio::test(start_paused = true)]
async fn the_tail_of_a_dead_broker_is_committed_and_others_lead() {
    let world = World::new(1).await;
    let node = world.start().await;
    let mut owner = Owner::new(&node, 0).await;
    for size in [100, 70_000, 3_000] {
        owner.write(0, 3, size).await;
        owner.write(1, 2, size).await;
    }
    owner.roll().await;
    owner.write(0, 1, 500).await;
    owner.fence().await;
    // One mirror is enough when every acknowledgement took all of them.
    let mut stores = owner.stores.clone();
    stores.0.remove(&MIRRORS[0].get());
    let recoverer = owner.recoverer(&world, stores);
    let taken = recoverer.take_over(OWNER, Loss::Refused).await.expect("one copy is enough");
    assert_eq!((taken.segments.len(), taken.records), (2, 7));
    owner.check().await;
    // A zombie is not acknowledged any more: its copies are sealed.
    let stream = Record { stream: 1, first_offset: 0, end_offset: 1, payload: Bytes::from_static(b"late") };
    let late = owner.wal.append(stream, ()).expect("it does not know");
    let waited = tokio::time::timeout(std::time::Duration::from_secs(60), owner.wal.committed(late)).await;
    assert!(waited.is_err(), "{waited:?}");
    let again = recoverer.take_over(OWNER, Loss::Refused).await.expect("nothing is left");
    assert_eq!(again.segments, []);
}

#[tokio::test(start_paused = true)]
async fn too_few_copies_block_a_takeover_and_the_report_names_what_is_waited_for() {
    let world = World::new(2).await;
    let node = world.start().await;
    let mut owner = Owner::new(&node, 2).await;
    owner.write(0, 3, 100).await;
    owner.fence().await;
    let mut stores = owner.stores.clone();
    stores.0.remove(&MIRRORS[0].get());
    let recoverer = owner.recoverer(&world, stores);
    let blocked = recoverer.take_over(OWNER, Loss::Refused).await.expect_err("two copies must answer");
    let TakeOverError::Blocked(report) = &blocked else { panic!("{blocked}") };
    assert_eq!((report.owner, report.segment), (OWNER, owner.segment));
    let text = blocked.to_string();
    assert!(text.contains("orders-0 from offset 0 on"), "{text}");
    assert!(text.contains("1 trustworthy copies answer, 2 must"), "{text}");
    assert_eq!(node.metadata.image().partition(owner.topic, 0).expect("exists").leader, Some(OWNER));

    let taken = recoverer.take_over(OWNER, Loss::Accepted).await.expect("what answers is taken");
    assert_eq!(taken.given_up.len(), 1);
    assert_eq!(node.metadata.image().segments_of(OWNER).count(), 0);

    let both = owner.recoverer(&world, owner.stores.clone());
    assert_eq!(both.take_over(OWNER, Loss::Refused).await.expect("nothing is left").segments, []);
}

#[tokio::test(start_paused = true)]
async fn of_two_recoverers_one_entry_counts() {
    let world = World::new(3).await;
    let node = world.start().await;
    let mut owner = Owner::new(&node, 0).await;
    owner.write(0, 3, 100).await;
    owner.write(1, 3, 40_000).await;
    owner.fence().await;
    let one = owner.recoverer(&world, owner.stores.clone());
    let other = owner.recoverer(&world, owner.stores.clone());
    let (one, other) =
        tokio::join!(one.take_over(OWNER, Loss::Refused), other.take_over(OWNER, Loss::Refused));
    for result in [one, other] {
        assert!(matches!(result, Ok(_) | Err(TakeOverError::Overtaken { .. })), "{result:?}");
    }
    owner.check().await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_mirrored_is_ended_together_with_what_came_before_and_after() {
    let world = World::new(5).await;
    let node = world.start().await;
    let mut owner = Owner::new(&node, 0).await;
    owner.write(0, 3, 100).await;
    owner.roll_to(Vec::new()).await;
    owner.write(0, 2, 100).await;
    owner.roll().await;
    owner.write(0, 4, 100).await;
    owner.fence().await;
    let other = owner.recoverer(&world, owner.stores.clone());
    let torn = other.take_over(OWNER, Loss::Refused).await;
    assert!(
        matches!(torn, Err(TakeOverError::Contradiction { .. })),
        "the middle is on its disk alone: {torn:?}"
    );

    let epoch = register_again(&node).await;
    let own = Stores(owner.stores.0.clone(), owner.own.clone());
    let recoverer = Recoverer { node: OWNER, broker_epoch: epoch, ..owner.recoverer(&world, own) };
    let taken = recoverer.take_over(OWNER, Loss::Refused).await.expect("it has the rest");
    assert_eq!(taken.records, 3);
    let image = node.metadata.image();
    let partition = image.partition(owner.topic, 0).expect("exists");
    assert_eq!(image.stream(partition.data).expect("exists").end, 9);
}

#[tokio::test(start_paused = true)]
async fn a_gap_that_is_given_up_cuts_its_streams() {
    let world = World::new(6).await;
    let node = world.start().await;
    let mut owner = Owner::new(&node, 0).await;
    owner.write(0, 3, 100).await;
    owner.roll_to(Vec::new()).await;
    owner.write(0, 2, 100).await;
    owner.roll().await;
    owner.write(0, 4, 100).await;
    owner.write(1, 1, 100).await;
    let epoch = register_again(&node).await;
    let recoverer =
        Recoverer { node: OWNER, broker_epoch: epoch, ..owner.recoverer(&world, owner.stores.clone()) };
    let torn = recoverer.take_over(OWNER, Loss::Refused).await;
    assert!(matches!(torn, Err(TakeOverError::Contradiction { .. })), "its disk was wiped: {torn:?}");
    recoverer.take_over(OWNER, Loss::Accepted).await.expect("an operator gave it up");
    let image = node.metadata.image();
    let end =
        |index| image.stream(image.partition(owner.topic, index).expect("exists").data).expect("exists").end;
    assert_eq!((end(0), end(1)), (3, 1));
}

async fn register_again(node: &Node) -> BrokerEpoch {
    let incarnation = Uuid::from_u128(1_000);
    let endpoints = node.metadata.image().broker(OWNER).expect("registered").endpoints.clone();
    let register = RegisterBroker { node: OWNER, incarnation, endpoints, rack: None };
    match node.metadata.propose(register).await {
        Ok(Outcome::BrokerRegistered { epoch }) => epoch,
        other => panic!("a new process is let in: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_came_back_ends_what_it_left_and_goes_on_leading() {
    let world = World::new(4).await;
    let node = world.start().await;
    let mut owner = Owner::new(&node, 0).await;
    owner.write(0, 3, 100).await;
    let epoch = register_again(&node).await;
    let recoverer =
        Recoverer { node: OWNER, broker_epoch: epoch, ..owner.recoverer(&world, owner.stores.clone()) };
    let taken = recoverer.take_over(OWNER, Loss::Refused).await.expect("its mirrors answer");
    assert_eq!(taken.records, 1);
    let image = node.metadata.image();
    let partition = image.partition(owner.topic, 0).expect("exists");
    assert_eq!(partition.leader, Some(OWNER));
    assert_eq!(image.stream(partition.data).expect("exists").end, 3);
}
