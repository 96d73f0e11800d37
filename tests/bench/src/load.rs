//! The load client: librdkafka, the same for every system.

mod options;
mod payload;
mod produce;
mod read;
mod topic;

pub(crate) use options::shown;
pub(crate) use produce::{Producers, Tally};
pub(crate) use read::{Progress, Read, read};
pub(crate) use topic::Topic;

/// The version of the library that is linked.
pub(crate) fn library_version() -> String {
    rdkafka::util::get_rdkafka_version().1
}
