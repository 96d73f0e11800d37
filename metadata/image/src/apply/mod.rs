//! One command of the metadata log, carried out.
//!
//! Each command is first checked against the image, then carried out without a way to fail: so a refused
//! one changes nothing.

mod leaving;
mod moves;
mod objects;
mod registry;
mod segments;
mod takeover;
mod topics;

pub(crate) use self::leaving::left_of;
pub(crate) use self::takeover::left_by;
use aquifer_types::{BrokerEpoch, LogIndex, NodeId};

use crate::command::{Command, Outcome};
use crate::image::Image;
use crate::rejection::Rejection;

impl Image {
    /// Carries out the log entry at `index`. Deterministic: equal images and equal entries give equal
    /// images and equal answers. A refused command changes nothing but [`Image::applied`].
    ///
    /// # Panics
    /// If `index` is not larger than that of the entry before: the log is replayed wrongly, and every
    /// answer from here on would be wrong.
    pub fn apply(&mut self, index: LogIndex, command: &Command) -> Result<Outcome, Rejection> {
        self.advance(index);
        if self.cluster_id.is_none() && !matches!(command, Command::Bootstrap(_)) {
            return Err(Rejection::NotBootstrapped);
        }
        match command {
            Command::Bootstrap(command) => registry::bootstrap(self, command),
            Command::RegisterBroker(command) => registry::register_broker(self, command),
            Command::AlterConfigs(command) => registry::alter_configs(self, command),
            Command::AllocateProducerIds(command) => registry::allocate_producer_ids(self, command),
            Command::CreateTopic(command) => topics::create(self, command),
            Command::DeleteTopic(command) => topics::delete(self, command),
            Command::CreatePartitions(command) => topics::create_partitions(self, command),
            Command::OfferMirror(command) => registry::offer_mirror(self, command),
            Command::FenceBroker(command) => registry::fence_broker(self, command),
            Command::StopBroker(command) => leaving::stop(self, command),
            Command::DrainBroker(command) => leaving::drain(self, command),
            Command::ResumeBroker(command) => leaving::resume(self, command),
            Command::UnregisterBroker(command) => leaving::unregister(self, command),
            Command::MovePartitions(command) => moves::start(self, command),
            Command::HandOver(command) => moves::hand_over(self, command),
            Command::OpenSegment(command) => segments::open(self, command),
            Command::RollSegment(command) => segments::roll(self, command),
            Command::CloseSegment(command) => segments::close(self, command),
            Command::ReleaseSegment(command) => segments::release(self, command),
            Command::TakeOver(command) => takeover::take_over(self, command),
            Command::PrepareObjects(command) => objects::prepare(self, command),
            Command::CommitObject(command) => objects::commit(self, command),
            Command::TrimStreams(command) => objects::trim(self, command),
            Command::ExpirePrepared(command) => objects::expire_prepared(self, command),
            Command::RemoveObjects(command) => objects::remove(self, command),
        }
    }

    /// Notes that a log entry without a command (raft's own) was passed.
    ///
    /// # Panics
    /// As [`Image::apply`].
    pub fn advance(&mut self, index: LogIndex) {
        assert!(index > self.applied, "entry {index} applied after entry {}", self.applied);
        self.applied = index;
    }
}

/// The proposer is the present process of its node.
fn check_epoch(image: &Image, node: NodeId, given: BrokerEpoch) -> Result<(), Rejection> {
    let Some(broker) = image.broker(node) else { return Err(Rejection::UnknownBroker { node }) };
    if broker.epoch != given {
        return Err(Rejection::StaleBrokerEpoch { node, given, present: broker.epoch });
    }
    match broker.fenced {
        Some(at) => Err(Rejection::BrokerFenced { node, at }),
        None => Ok(()),
    }
}

/// A count in a command is within its named limits.
fn check_count(what: &str, given: usize, least: usize, most: usize) -> Result<(), Rejection> {
    if (least..=most).contains(&given) {
        return Ok(());
    }
    let (given, least, most) = (given as u64, least as u64, most as u64);
    Err(Rejection::OutOfLimits { what: what.to_owned(), given, least, most })
}
