//! One file per API: its key, its versions, its layout, its answer.

use aquifer_image::{Image, MovePartition, MovePartitions, Partition, Topic};

use crate::dispatch::{Api, Call};
use crate::errors::{Failure, unknown_partition};

mod alter_configs;
mod alter_partition_reassignments;
pub(crate) mod api_versions;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_topic_partitions;
mod elect_leaders;
mod fetch;
mod find_coordinator;
mod heartbeat;
pub(crate) mod init_producer_id;
mod join_group;
mod leave_group;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod partition_codes;
mod produce;
mod sync_group;

/// Everything that this broker answers. ApiVersions says exactly this.
pub(crate) static APIS: &[&Api] = &[
    &produce::API,
    &fetch::API,
    &list_offsets::API,
    &metadata::API,
    &offset_commit::API,
    &offset_fetch::API,
    &find_coordinator::API,
    &join_group::API,
    &heartbeat::API,
    &leave_group::API,
    &sync_group::API,
    &describe_groups::API,
    &list_groups::API,
    &api_versions::API,
    &create_topics::API,
    &delete_topics::API,
    &delete_records::API,
    &init_producer_id::API,
    &offset_for_leader_epoch::API,
    &describe_configs::API,
    &alter_configs::API,
    &describe_log_dirs::API,
    &create_partitions::API,
    &delete_groups::API,
    &elect_leaders::API,
    &alter_configs::INCREMENTAL_API,
    &alter_partition_reassignments::API,
    &list_partition_reassignments::API,
    &offset_delete::API,
    &describe_cluster::API,
    &describe_topic_partitions::API,
];

/// What a transactional producer is told.
const NO_TRANSACTIONS: &str =
    "This broker does not support transactions yet: use a producer without transactional.id.";

/// A partition by its topic's name.
fn find_partition<'a>(
    image: &'a Image,
    name: &str,
    index: i32,
) -> Result<(&'a Topic, &'a Partition), Failure> {
    let topic = image.topic_by_name(name).ok_or_else(unknown_partition)?;
    let partition = image.partition(topic.id, index).ok_or_else(unknown_partition)?;
    Ok((topic, partition))
}

/// Proposes moves that were each found to make sense; what comes between fails all of them.
async fn move_partitions(call: &Call, moves: Vec<MovePartition>) -> Result<(), Failure> {
    if !moves.is_empty() {
        call.context.services.metadata.propose(MovePartitions { moves }).await?;
    }
    Ok(())
}
