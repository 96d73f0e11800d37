//! Named limits of what one command may ask for. They bound the time of one `apply` and the size of an
//! entry of the metadata log.

/// Partitions of one topic.
pub const MAX_PARTITIONS_PER_TOPIC: usize = 100_000;
/// Ranges in one object: room for the data and meta streams of 50 000 partitions.
pub const MAX_RANGES_PER_OBJECT: usize = 100_000;
/// Streams in one trim.
pub const MAX_TRIMS_PER_COMMAND: usize = 100_000;
/// Object ids handed out or removed by one command.
pub const MAX_OBJECTS_PER_COMMAND: usize = 10_000;
/// Producer ids handed out at once (Kafka's blocks have 1 000).
pub const MAX_PRODUCER_IDS_PER_BLOCK: u32 = 1_000_000;
/// Bytes of one object: none of our stores takes more.
pub const MAX_OBJECT_BYTES: u64 = 5 << 40;
/// Bytes of a config value (Kafka's limit).
pub const MAX_CONFIG_VALUE_BYTES: usize = 32_767;
/// Bytes of a config name.
pub const MAX_CONFIG_NAME_BYTES: usize = 255;
/// Dynamic configs of one resource.
pub const MAX_CONFIGS_PER_RESOURCE: usize = 1_000;
/// Listeners of one broker.
pub const MAX_ENDPOINTS: usize = 64;
/// Mirrors of one WAL segment.
pub const MAX_SEGMENT_MEMBERS: usize = 8;
/// Replicas that a user assigns to one partition.
pub const MAX_REPLICAS: usize = 1_000;
/// Partitions that one command moves or hands over.
pub const MAX_MOVES_PER_COMMAND: usize = 10_000;
/// Largest offset: what Kafka's signed 64-bit field can carry.
pub const MAX_OFFSET: u64 = i64::MAX as u64;
