//! The load client: librdkafka, the same for every system.

mod options;
mod payload;
mod produce;
mod read;
mod reassign;
mod steady;
mod topic;
mod watch;

pub(crate) use options::shown;
pub(crate) use produce::{Producers, Tally};
pub(crate) use read::{Progress, Read, read};
pub(crate) use reassign::reassign;
pub(crate) use steady::Steady;
pub(crate) use topic::Topic;
pub(crate) use watch::{Partition, Sight, Watch};

/// The version of the library that is linked.
pub(crate) fn library_version() -> String {
    rdkafka::util::get_rdkafka_version().1
}
