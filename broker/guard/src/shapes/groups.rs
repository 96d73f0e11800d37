//! Shapes of the consumer group requests. Transcribed from Kafka 4.3's message schemas.

use crate::shape::Kind::{Blob, Fixed, FixedList, List, Text, TextList};
use crate::shape::{LAST, NEVER, Shape, field};

/// JoinGroup, key 11.
pub const JOIN_GROUP: Shape = Shape {
    api: "JoinGroup",
    flexible_from: 6,
    fields: &[
        field("group_id", 0, LAST, Text),
        field("session_timeout_ms", 0, LAST, Fixed(4)),
        field("rebalance_timeout_ms", 1, LAST, Fixed(4)),
        field("member_id", 0, LAST, Text),
        field("group_instance_id", 5, LAST, Text),
        field("protocol_type", 0, LAST, Text),
        field("protocols", 0, LAST, List(&[field("name", 0, LAST, Text), field("metadata", 0, LAST, Blob)])),
        field("reason", 8, LAST, Text),
    ],
};

/// SyncGroup, key 14.
pub const SYNC_GROUP: Shape = Shape {
    api: "SyncGroup",
    flexible_from: 4,
    fields: &[
        field("group_id", 0, LAST, Text),
        field("generation_id", 0, LAST, Fixed(4)),
        field("member_id", 0, LAST, Text),
        field("group_instance_id", 3, LAST, Text),
        field("protocol_type", 5, LAST, Text),
        field("protocol_name", 5, LAST, Text),
        field(
            "assignments",
            0,
            LAST,
            List(&[field("member_id", 0, LAST, Text), field("assignment", 0, LAST, Blob)]),
        ),
    ],
};

/// Heartbeat, key 12.
pub const HEARTBEAT: Shape = Shape {
    api: "Heartbeat",
    flexible_from: 4,
    fields: &[
        field("group_id", 0, LAST, Text),
        field("generation_id", 0, LAST, Fixed(4)),
        field("member_id", 0, LAST, Text),
        field("group_instance_id", 3, LAST, Text),
    ],
};

/// LeaveGroup, key 13.
pub const LEAVE_GROUP: Shape = Shape {
    api: "LeaveGroup",
    flexible_from: 4,
    fields: &[
        field("group_id", 0, LAST, Text),
        field("member_id", 0, 2, Text),
        field(
            "members",
            3,
            LAST,
            List(&[
                field("member_id", 3, LAST, Text),
                field("group_instance_id", 3, LAST, Text),
                field("reason", 5, LAST, Text),
            ]),
        ),
    ],
};

/// OffsetCommit, key 8.
pub const OFFSET_COMMIT: Shape = Shape {
    api: "OffsetCommit",
    flexible_from: 8,
    fields: &[
        field("group_id", 0, LAST, Text),
        field("generation_id_or_member_epoch", 1, LAST, Fixed(4)),
        field("member_id", 1, LAST, Text),
        field("group_instance_id", 7, LAST, Text),
        field("retention_time_ms", 2, 4, Fixed(8)),
        field(
            "topics",
            0,
            LAST,
            List(&[
                field("name", 0, 9, Text),
                field("topic_id", 10, LAST, Fixed(16)),
                field(
                    "partitions",
                    0,
                    LAST,
                    List(&[
                        field("partition_index", 0, LAST, Fixed(4)),
                        field("committed_offset", 0, LAST, Fixed(8)),
                        field("committed_leader_epoch", 6, LAST, Fixed(4)),
                        field("committed_metadata", 0, LAST, Text),
                    ]),
                ),
            ]),
        ),
    ],
};

/// OffsetFetch, key 9.
pub const OFFSET_FETCH: Shape = Shape {
    api: "OffsetFetch",
    flexible_from: 6,
    fields: &[
        field("group_id", 0, 7, Text),
        field(
            "topics",
            0,
            7,
            List(&[field("name", 0, 7, Text), field("partition_indexes", 0, 7, FixedList(4))]),
        ),
        field(
            "groups",
            8,
            LAST,
            List(&[
                field("group_id", 8, LAST, Text),
                field("member_id", 9, LAST, Text),
                field("member_epoch", 9, LAST, Fixed(4)),
                field(
                    "topics",
                    8,
                    LAST,
                    List(&[
                        field("name", 8, 9, Text),
                        field("topic_id", 10, LAST, Fixed(16)),
                        field("partition_indexes", 8, LAST, FixedList(4)),
                    ]),
                ),
            ]),
        ),
        field("require_stable", 7, LAST, Fixed(1)),
    ],
};

/// ListGroups, key 16.
pub const LIST_GROUPS: Shape = Shape {
    api: "ListGroups",
    flexible_from: 3,
    fields: &[field("states_filter", 4, LAST, TextList), field("types_filter", 5, LAST, TextList)],
};

/// DescribeGroups, key 15.
pub const DESCRIBE_GROUPS: Shape = Shape {
    api: "DescribeGroups",
    flexible_from: 5,
    fields: &[field("groups", 0, LAST, TextList), field("include_authorized_operations", 3, LAST, Fixed(1))],
};

/// DeleteGroups, key 42.
pub const DELETE_GROUPS: Shape =
    Shape { api: "DeleteGroups", flexible_from: 2, fields: &[field("groups_names", 0, LAST, TextList)] };

/// OffsetDelete, key 47.
pub const OFFSET_DELETE: Shape = Shape {
    api: "OffsetDelete",
    flexible_from: NEVER,
    fields: &[
        field("group_id", 0, LAST, Text),
        field(
            "topics",
            0,
            LAST,
            List(&[
                field("name", 0, LAST, Text),
                field("partitions", 0, LAST, List(&[field("partition_index", 0, LAST, Fixed(4))])),
            ]),
        ),
    ],
};
