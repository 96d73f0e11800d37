//! What an acknowledgement waits for: acks=1 for the leader's own disk, acks=all for every copy.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aquifer_partition::{AppendError, Appended, CommitTicket, Unsettled};
use aquifer_stream::{Connect, Mirroring};
use aquifer_wal::{Mirror, MirrorAcks};
use bytes::Bytes;
use tokio::time::timeout;

use crate::batches::{batch, consume, leader_request, numbered, request};
use crate::machine::{Machine, PATIENCE};

/// How long something is watched that should not happen.
const A_WHILE: Duration = Duration::from_millis(200);

/// A mirror that takes frames and acknowledges none before it is told to.
#[derive(Clone, Debug, Default)]
struct Reticent(Arc<Mutex<Told>>);

#[derive(Debug, Default)]
struct Told {
    speaks: bool,
    links: Vec<(MirrorAcks, u64)>,
}

/// The way to its copy of one segment.
#[derive(Debug)]
struct Link {
    mirror: Reticent,
    place: usize,
}

impl Reticent {
    /// A machine whose WAL has this mirror.
    async fn machine(&self, seed: u64) -> Machine {
        let mirror = self.clone();
        let connect: Connect = Arc::new(move |_, _, acks| mirror.connect(acks));
        let mut machine = Machine::new(seed).await;
        machine.mirroring = Some(Mirroring { copies: 2, min_copies: 2, needed: None, connect });
        machine
    }

    fn connect(&self, acks: MirrorAcks) -> Box<dyn Mirror> {
        acks.granted(64 << 20);
        let mut told = self.0.lock().unwrap();
        told.links.push((acks, 0));
        Box::new(Link { mirror: self.clone(), place: told.links.len() - 1 })
    }

    fn speak(&self) {
        let mut told = self.0.lock().unwrap();
        told.speaks = true;
        told.links.iter().for_each(|(acks, frames)| acks.durable(*frames));
    }
}

impl Mirror for Link {
    fn send(&mut self, _frame: Bytes) {
        let mut told = self.mirror.0.lock().unwrap();
        let speaks = told.speaks;
        let (acks, frames) = &mut told.links[self.place];
        *frames += 1;
        if speaks {
            acks.durable(*frames);
        }
    }
}

async fn answered(ticket: CommitTicket) -> Result<(), Unsettled> {
    timeout(PATIENCE, ticket.wait()).await.expect("it is answered")
}

async fn waits(ticket: CommitTicket) {
    assert!(timeout(A_WHILE, ticket.wait()).await.is_err(), "a mirror has not synced it");
}

#[tokio::test]
async fn acks_1_is_answered_by_the_leaders_disk_and_moves_nothing_that_consumers_see() {
    let mirror = Reticent::default();
    let machine = mirror.machine(80).await;
    let node = machine.start().await;
    let partition = node.create("t", 1, &[]).await;
    let all = partition.append(batch(&["a"]), &request()).unwrap();
    let one = partition.append(batch(&["b"]), &leader_request()).unwrap();
    answered(one.ticket).await.unwrap();
    waits(all.ticket.clone()).await;
    assert_eq!((partition.high_watermark(), partition.log_end_offset()), (0, 2));
    mirror.speak();
    answered(all.ticket).await.unwrap();
    let values: Vec<_> = consume(&partition, 0, 1 << 20).await.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, ["a", "b"]);
}

#[tokio::test]
async fn a_retry_waits_for_what_it_asks_itself_not_for_what_the_first_try_asked() {
    let mirror = Reticent::default();
    let machine = mirror.machine(81).await;
    let node = machine.start().await;
    let partition = node.create("t", 1, &[]).await;
    let once = |acks| partition.append(numbered(7, 0, 0, &["once"]), &acks).unwrap();
    let first = once(leader_request());
    assert!(!first.duplicate);
    answered(first.ticket).await.unwrap();
    let Appended { duplicate, base_offset, ticket, .. } = once(leader_request());
    assert_eq!((duplicate, base_offset), (true, 0));
    answered(ticket).await.unwrap();
    let strict = once(request());
    assert!(strict.duplicate);
    waits(strict.ticket.clone()).await;
    assert_eq!(partition.log_end_offset(), 1, "nothing is in the log twice");
    mirror.speak();
    answered(strict.ticket).await.unwrap();
    assert_eq!(consume(&partition, 0, 1 << 20).await, [(0, "once".to_owned())]);
}

#[tokio::test]
async fn min_insync_replicas_is_for_acks_all_alone() {
    let mirror = Reticent::default();
    mirror.speak();
    let machine = mirror.machine(82).await;
    let node = machine.start().await;
    let partition = node.create("t", 1, &[("min.insync.replicas", "3")]).await;
    let refused = partition.append(batch(&["a"]), &request()).unwrap_err();
    assert!(matches!(refused, AppendError::NotEnoughReplicas { wanted: 3, copies: 2 }), "{refused}");
    let one = partition.append(batch(&["b"]), &leader_request()).unwrap();
    answered(one.ticket).await.unwrap();
}
