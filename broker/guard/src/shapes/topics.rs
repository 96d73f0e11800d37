//! Shapes of the requests that change topics and configurations. Transcribed from Kafka 4.3's message schemas.

use crate::shape::Kind::{Fixed, FixedList, List, Text, TextList};
use crate::shape::{LAST, Shape, field};

/// CreateTopics, key 19.
pub const CREATE_TOPICS: Shape = Shape {
    api: "CreateTopics",
    flexible_from: 5,
    fields: &[
        field(
            "topics",
            0,
            LAST,
            List(&[
                field("name", 0, LAST, Text),
                field("num_partitions", 0, LAST, Fixed(4)),
                field("replication_factor", 0, LAST, Fixed(2)),
                field(
                    "assignments",
                    0,
                    LAST,
                    List(&[
                        field("partition_index", 0, LAST, Fixed(4)),
                        field("broker_ids", 0, LAST, FixedList(4)),
                    ]),
                ),
                field(
                    "configs",
                    0,
                    LAST,
                    List(&[field("name", 0, LAST, Text), field("value", 0, LAST, Text)]),
                ),
            ]),
        ),
        field("timeout_ms", 0, LAST, Fixed(4)),
        field("validate_only", 1, LAST, Fixed(1)),
    ],
};

/// DeleteTopics, key 20.
pub const DELETE_TOPICS: Shape = Shape {
    api: "DeleteTopics",
    flexible_from: 4,
    fields: &[
        field(
            "topics",
            6,
            LAST,
            List(&[field("name", 6, LAST, Text), field("topic_id", 6, LAST, Fixed(16))]),
        ),
        field("topic_names", 0, 5, TextList),
        field("timeout_ms", 0, LAST, Fixed(4)),
    ],
};

/// CreatePartitions, key 37.
pub const CREATE_PARTITIONS: Shape = Shape {
    api: "CreatePartitions",
    flexible_from: 2,
    fields: &[
        field(
            "topics",
            0,
            LAST,
            List(&[
                field("name", 0, LAST, Text),
                field("count", 0, LAST, Fixed(4)),
                field("assignments", 0, LAST, List(&[field("broker_ids", 0, LAST, FixedList(4))])),
            ]),
        ),
        field("timeout_ms", 0, LAST, Fixed(4)),
        field("validate_only", 0, LAST, Fixed(1)),
    ],
};

/// DescribeConfigs, key 32.
pub const DESCRIBE_CONFIGS: Shape = Shape {
    api: "DescribeConfigs",
    flexible_from: 4,
    fields: &[
        field(
            "resources",
            0,
            LAST,
            List(&[
                field("resource_type", 0, LAST, Fixed(1)),
                field("resource_name", 0, LAST, Text),
                field("configuration_keys", 0, LAST, TextList),
            ]),
        ),
        field("include_synonyms", 1, LAST, Fixed(1)),
        field("include_documentation", 3, LAST, Fixed(1)),
    ],
};

/// AlterConfigs, key 33.
pub const ALTER_CONFIGS: Shape = Shape {
    api: "AlterConfigs",
    flexible_from: 2,
    fields: &[
        field(
            "resources",
            0,
            LAST,
            List(&[
                field("resource_type", 0, LAST, Fixed(1)),
                field("resource_name", 0, LAST, Text),
                field(
                    "configs",
                    0,
                    LAST,
                    List(&[field("name", 0, LAST, Text), field("value", 0, LAST, Text)]),
                ),
            ]),
        ),
        field("validate_only", 0, LAST, Fixed(1)),
    ],
};

/// IncrementalAlterConfigs, key 44.
pub const INCREMENTAL_ALTER_CONFIGS: Shape = Shape {
    api: "IncrementalAlterConfigs",
    flexible_from: 1,
    fields: &[
        field(
            "resources",
            0,
            LAST,
            List(&[
                field("resource_type", 0, LAST, Fixed(1)),
                field("resource_name", 0, LAST, Text),
                field(
                    "configs",
                    0,
                    LAST,
                    List(&[
                        field("name", 0, LAST, Text),
                        field("config_operation", 0, LAST, Fixed(1)),
                        field("value", 0, LAST, Text),
                    ]),
                ),
            ]),
        ),
        field("validate_only", 0, LAST, Fixed(1)),
    ],
};
