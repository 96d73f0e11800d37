//! Shapes of the requests that carry or locate records. Transcribed from Kafka 4.3's message schemas.

use crate::shape::Kind::{Blob, Fixed, FixedList, List, Struct, Text};
use crate::shape::{LAST, Shape, field, tagged};

/// Produce, key 0.
pub const PRODUCE: Shape = Shape {
    api: "Produce",
    flexible_from: 9,
    fields: &[
        field("transactional_id", 3, LAST, Text),
        field("acks", 0, LAST, Fixed(2)),
        field("timeout_ms", 0, LAST, Fixed(4)),
        field(
            "topic_data",
            0,
            LAST,
            List(&[
                field("name", 0, 12, Text),
                field("topic_id", 13, LAST, Fixed(16)),
                field(
                    "partition_data",
                    0,
                    LAST,
                    List(&[field("index", 0, LAST, Fixed(4)), field("records", 0, LAST, Blob)]),
                ),
            ]),
        ),
    ],
};

/// Fetch, key 1.
pub const FETCH: Shape = Shape {
    api: "Fetch",
    flexible_from: 12,
    fields: &[
        tagged(0, "cluster_id", 12, LAST, Text),
        field("replica_id", 0, 14, Fixed(4)),
        tagged(
            1,
            "replica_state",
            15,
            LAST,
            Struct(&[field("replica_id", 15, LAST, Fixed(4)), field("replica_epoch", 15, LAST, Fixed(8))]),
        ),
        field("max_wait_ms", 0, LAST, Fixed(4)),
        field("min_bytes", 0, LAST, Fixed(4)),
        field("max_bytes", 3, LAST, Fixed(4)),
        field("isolation_level", 4, LAST, Fixed(1)),
        field("session_id", 7, LAST, Fixed(4)),
        field("session_epoch", 7, LAST, Fixed(4)),
        field(
            "topics",
            0,
            LAST,
            List(&[
                field("topic", 0, 12, Text),
                field("topic_id", 13, LAST, Fixed(16)),
                field(
                    "partitions",
                    0,
                    LAST,
                    List(&[
                        field("partition", 0, LAST, Fixed(4)),
                        field("current_leader_epoch", 9, LAST, Fixed(4)),
                        field("fetch_offset", 0, LAST, Fixed(8)),
                        field("last_fetched_epoch", 12, LAST, Fixed(4)),
                        field("log_start_offset", 5, LAST, Fixed(8)),
                        field("partition_max_bytes", 0, LAST, Fixed(4)),
                        tagged(0, "replica_directory_id", 17, LAST, Fixed(16)),
                        tagged(1, "high_watermark", 18, LAST, Fixed(8)),
                    ]),
                ),
            ]),
        ),
        field(
            "forgotten_topics_data",
            7,
            LAST,
            List(&[
                field("topic", 7, 12, Text),
                field("topic_id", 13, LAST, Fixed(16)),
                field("partitions", 7, LAST, FixedList(4)),
            ]),
        ),
        field("rack_id", 11, LAST, Text),
    ],
};

/// ListOffsets, key 2.
pub const LIST_OFFSETS: Shape = Shape {
    api: "ListOffsets",
    flexible_from: 6,
    fields: &[
        field("replica_id", 0, LAST, Fixed(4)),
        field("isolation_level", 2, LAST, Fixed(1)),
        field(
            "topics",
            0,
            LAST,
            List(&[
                field("name", 0, LAST, Text),
                field(
                    "partitions",
                    0,
                    LAST,
                    List(&[
                        field("partition_index", 0, LAST, Fixed(4)),
                        field("current_leader_epoch", 4, LAST, Fixed(4)),
                        field("timestamp", 0, LAST, Fixed(8)),
                    ]),
                ),
            ]),
        ),
        field("timeout_ms", 10, LAST, Fixed(4)),
    ],
};

/// OffsetForLeaderEpoch, key 23.
pub const OFFSET_FOR_LEADER_EPOCH: Shape = Shape {
    api: "OffsetForLeaderEpoch",
    flexible_from: 4,
    fields: &[
        field("replica_id", 3, LAST, Fixed(4)),
        field(
            "topics",
            0,
            LAST,
            List(&[
                field("topic", 0, LAST, Text),
                field(
                    "partitions",
                    0,
                    LAST,
                    List(&[
                        field("partition", 0, LAST, Fixed(4)),
                        field("current_leader_epoch", 2, LAST, Fixed(4)),
                        field("leader_epoch", 0, LAST, Fixed(4)),
                    ]),
                ),
            ]),
        ),
    ],
};

/// DeleteRecords, key 21.
pub const DELETE_RECORDS: Shape = Shape {
    api: "DeleteRecords",
    flexible_from: 2,
    fields: &[
        field(
            "topics",
            0,
            LAST,
            List(&[
                field("name", 0, LAST, Text),
                field(
                    "partitions",
                    0,
                    LAST,
                    List(&[field("partition_index", 0, LAST, Fixed(4)), field("offset", 0, LAST, Fixed(8))]),
                ),
            ]),
        ),
        field("timeout_ms", 0, LAST, Fixed(4)),
    ],
};

/// InitProducerId, key 22.
pub const INIT_PRODUCER_ID: Shape = Shape {
    api: "InitProducerId",
    flexible_from: 2,
    fields: &[
        field("transactional_id", 0, LAST, Text),
        field("transaction_timeout_ms", 0, LAST, Fixed(4)),
        field("producer_id", 3, LAST, Fixed(8)),
        field("producer_epoch", 3, LAST, Fixed(2)),
        field("enable2_pc", 6, LAST, Fixed(1)),
        field("keep_prepared_txn", 6, LAST, Fixed(1)),
    ],
};
