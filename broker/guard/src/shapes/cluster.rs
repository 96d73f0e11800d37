//! Shapes of the requests that describe the cluster. Transcribed from Kafka 4.3's message schemas.

use crate::shape::Kind::{Fixed, FixedList, List, Optional, Text, TextList};
use crate::shape::{LAST, Shape, field};

/// ApiVersions, key 18.
pub const API_VERSIONS: Shape = Shape {
    api: "ApiVersions",
    flexible_from: 3,
    fields: &[field("client_software_name", 3, LAST, Text), field("client_software_version", 3, LAST, Text)],
};

/// Metadata, key 3.
pub const METADATA: Shape = Shape {
    api: "Metadata",
    flexible_from: 9,
    fields: &[
        field(
            "topics",
            0,
            LAST,
            List(&[field("topic_id", 10, LAST, Fixed(16)), field("name", 0, LAST, Text)]),
        ),
        field("allow_auto_topic_creation", 4, LAST, Fixed(1)),
        field("include_cluster_authorized_operations", 8, 10, Fixed(1)),
        field("include_topic_authorized_operations", 8, LAST, Fixed(1)),
    ],
};

/// DescribeCluster, key 60.
pub const DESCRIBE_CLUSTER: Shape = Shape {
    api: "DescribeCluster",
    flexible_from: 0,
    fields: &[
        field("include_cluster_authorized_operations", 0, LAST, Fixed(1)),
        field("endpoint_type", 1, LAST, Fixed(1)),
        field("include_fenced_brokers", 2, LAST, Fixed(1)),
    ],
};

/// DescribeTopicPartitions, key 75.
pub const DESCRIBE_TOPIC_PARTITIONS: Shape = Shape {
    api: "DescribeTopicPartitions",
    flexible_from: 0,
    fields: &[
        field("topics", 0, LAST, List(&[field("name", 0, LAST, Text)])),
        field("response_partition_limit", 0, LAST, Fixed(4)),
        field(
            "cursor",
            0,
            LAST,
            Optional(&[field("topic_name", 0, LAST, Text), field("partition_index", 0, LAST, Fixed(4))]),
        ),
    ],
};

/// DescribeLogDirs, key 35.
pub const DESCRIBE_LOG_DIRS: Shape = Shape {
    api: "DescribeLogDirs",
    flexible_from: 2,
    fields: &[field(
        "topics",
        0,
        LAST,
        List(&[field("topic", 0, LAST, Text), field("partitions", 0, LAST, FixedList(4))]),
    )],
};

/// FindCoordinator, key 10.
pub const FIND_COORDINATOR: Shape = Shape {
    api: "FindCoordinator",
    flexible_from: 3,
    fields: &[
        field("key", 0, 3, Text),
        field("key_type", 1, LAST, Fixed(1)),
        field("coordinator_keys", 4, LAST, TextList),
    ],
};

/// AlterPartitionReassignments, key 45.
pub const ALTER_PARTITION_REASSIGNMENTS: Shape = Shape {
    api: "AlterPartitionReassignments",
    flexible_from: 0,
    fields: &[
        field("timeout_ms", 0, LAST, Fixed(4)),
        field("allow_replication_factor_change", 1, LAST, Fixed(1)),
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
                        field("replicas", 0, LAST, FixedList(4)),
                    ]),
                ),
            ]),
        ),
    ],
};

/// ElectLeaders, key 43.
pub const ELECT_LEADERS: Shape = Shape {
    api: "ElectLeaders",
    flexible_from: 2,
    fields: &[
        field("election_type", 1, LAST, Fixed(1)),
        field(
            "topic_partitions",
            0,
            LAST,
            List(&[field("topic", 0, LAST, Text), field("partitions", 0, LAST, FixedList(4))]),
        ),
        field("timeout_ms", 0, LAST, Fixed(4)),
    ],
};

/// ListPartitionReassignments, key 46.
pub const LIST_PARTITION_REASSIGNMENTS: Shape = Shape {
    api: "ListPartitionReassignments",
    flexible_from: 0,
    fields: &[
        field("timeout_ms", 0, LAST, Fixed(4)),
        field(
            "topics",
            0,
            LAST,
            List(&[field("name", 0, LAST, Text), field("partition_indexes", 0, LAST, FixedList(4))]),
        ),
    ],
};
