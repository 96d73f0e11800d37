//! What an append waits for before it is acknowledged.

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use aquifer_stream::{Durability, Lsn, Stream, WalDead};

use crate::error::Unsettled;
use crate::partition::Acks;

/// Waits for durability. Tickets of one request join into one.
#[derive(Clone, Debug)]
pub struct CommitTicket {
    acks: Acks,
    pending: Pending,
}

#[derive(Clone, Debug)]
enum Pending {
    /// It is durable already.
    Nothing,
    /// A record of the WAL, which is one sequence for all partitions: when one is durable, all before it are.
    Record(Stream, Lsn),
    /// Ends of streams in the store. Each for itself: one that another broker leads by now never gets there.
    Offload(Vec<(Stream, u64)>),
}

impl CommitTicket {
    /// For what ends at `end` and is in the WAL at `lsn` or before it.
    pub(crate) fn new(stream: &Stream, lsn: Lsn, end: u64, acks: Acks) -> Self {
        let pending = match stream.durability() {
            Durability::Wal => Pending::Record(stream.clone(), lsn),
            Durability::Store => Pending::Offload(vec![(stream.clone(), end)]),
        };
        Self { acks, pending }
    }

    /// For what is durable.
    pub(crate) fn durable(acks: Acks) -> Self {
        Self { acks, pending: Pending::Nothing }
    }

    /// One ticket for both appends of a request.
    #[must_use]
    pub fn join(self, other: CommitTicket) -> CommitTicket {
        assert_eq!(self.acks, other.acks, "a request asks for the same acknowledgement of all its batches");
        let pending = match (self.pending, other.pending) {
            (Pending::Nothing, pending) | (pending, Pending::Nothing) => pending,
            (Pending::Record(stream, lsn), Pending::Record(_, earlier)) if lsn >= earlier => {
                Pending::Record(stream, lsn)
            }
            (Pending::Record(..), later @ Pending::Record(..)) => later,
            (Pending::Offload(mut ends), Pending::Offload(more)) => {
                ends.extend(more);
                Pending::Offload(ends)
            }
            (Pending::Record(..), Pending::Offload(_)) | (Pending::Offload(_), Pending::Record(..)) => {
                unreachable!("all streams of a broker are made durable in one way")
            }
        };
        Self { acks: self.acks, pending }
    }

    /// Whether the append is as durable as was asked for by now.
    #[must_use]
    pub fn is_met(&self) -> bool {
        let waiting = pin!(self.clone().wait());
        matches!(waiting.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(())))
    }

    /// Resolves when the append is as durable as was asked for; where that is the store's part, acks=1 is acks=all. One that
    /// joins several appends waits for each of them, also when another one fails.
    ///
    /// # Errors
    /// The WAL died, nothing is uploaded any more, or another broker leads now: whether the append became durable is unknown.
    pub async fn wait(self) -> Result<(), Unsettled> {
        let died = |dead: WalDead| Unsettled { reason: dead.reason };
        match (self.pending, self.acks) {
            (Pending::Nothing, _) => Ok(()),
            (Pending::Record(stream, lsn), Acks::Leader) => stream.landed(lsn).await.map_err(died),
            (Pending::Record(stream, lsn), Acks::All) => stream.durable(lsn).await.map_err(died),
            (Pending::Offload(ends), _) => {
                let mut first = Ok(());
                for (stream, end) in ends {
                    let offloaded = stream.offloaded(end).await;
                    first = first.and(offloaded.map_err(|error| Unsettled { reason: error.to_string() }));
                }
                first
            }
        }
    }
}
