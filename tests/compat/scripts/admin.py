"""What an administrator does, by confluent-kafka's AdminClient.

admin.py BOOTSTRAP
"""

import sys

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic,
                                   OffsetSpec, ResourceType)

from records import FIRST_TIMESTAMP_MS
from talk import check, say, until

BOOTSTRAP = sys.argv[1]
admin = AdminClient({"bootstrap.servers": BOOTSTRAP})


def outcome(future):
    """"OK", or the name of the error."""
    try:
        future.result(60)
        return "OK"
    except KafkaException as error:
        return error.args[0].name()


def one(futures):
    [future] = futures.values()
    return future


def expect(wanted, found, what):
    check(wanted == found, f"{what}: expected {wanted}, found {found}")


def described(name):
    """A topic, which a broker may show a moment after it was made."""
    def look():
        try:
            return one(admin.describe_topics(TopicCollection([name]))).result(60)
        except KafkaException as error:
            check(error.args[0].name() == "UNKNOWN_TOPIC_OR_PART", error)
            return None

    return until(look, f"{name} is described")


# Topics: good ones are made although bad ones stand beside them.
wanted = {
    NewTopic("good", 3, 1, config={"retention.ms": "-1"}): "OK",
    NewTopic("with.dot", 1, 1): "OK",
    NewTopic("defaults", -1, -1): "OK",
    NewTopic("a b", 1, 1): "TOPIC_EXCEPTION",
    NewTopic("x" * 250, 1, 1): "TOPIC_EXCEPTION",
    NewTopic("..", 1, 1): "TOPIC_EXCEPTION",
    NewTopic("unknown-config", 1, 1, config={"no.such.config": "1"}): "INVALID_CONFIG",
    NewTopic("bad-config", 1, 1, config={"retention.ms": "soon"}): "INVALID_CONFIG",
}
futures = admin.create_topics(list(wanted))
for topic, name in wanted.items():
    expect(name, outcome(futures[topic.topic]), f"create {topic.topic[:20]}")
expect("TOPIC_ALREADY_EXISTS", outcome(one(admin.create_topics([NewTopic("good", 3, 1)]))), "create it again")
expect("TOPIC_EXCEPTION", outcome(one(admin.create_topics([NewTopic("with_dot", 1, 1)]))), "a name that collides")
expect("OK", outcome(one(admin.create_topics([NewTopic("tried", 2, 1)], validate_only=True))), "validate only")
found = set(admin.list_topics(timeout=60).topics)
check({"good", "with.dot", "defaults"} <= found and not found & {"tried", "a b", "bad-config"}, found)

description = described("good")
expect([0, 1, 2], [partition.id for partition in description.partitions], "partitions of good")
first_id = str(description.topic_id)

# Partitions.
expect("OK", outcome(one(admin.create_partitions([NewPartitions("good", 5)]))), "five partitions")
expect("INVALID_PARTITIONS", outcome(one(admin.create_partitions([NewPartitions("good", 2)]))), "fewer partitions")
expect("UNKNOWN_TOPIC_OR_PART", outcome(one(admin.create_partitions([NewPartitions("absent", 2)]))), "absent")
expect(5, len(admin.list_topics("good", timeout=60).topics["good"].partitions), "partitions of good")

# Configs.
GOOD = ["good"]


def alter(*changes):
    entries = [ConfigEntry(name, value, incremental_operation=operation) for name, value, operation in changes]
    resource = ConfigResource(ResourceType.TOPIC, "good", incremental_configs=entries)
    return outcome(one(admin.incremental_alter_configs([resource])))


def config(name):
    entry = one(admin.describe_configs([ConfigResource(ResourceType.TOPIC, "good")])).result(60)[name]
    return entry.value, entry.source


DEFAULT, DYNAMIC_TOPIC = 5, 1
OP = AlterConfigOpType
expect(("delete", DEFAULT), config("cleanup.policy"), "the default")
expect("OK", alter(("cleanup.policy", "compact", OP.APPEND), ("retention.ms", "1000000", OP.SET)), "append and set")
expect(("delete,compact", DYNAMIC_TOPIC), config("cleanup.policy"), "appended")
expect(("1000000", DYNAMIC_TOPIC), config("retention.ms"), "set")
expect("OK", alter(("cleanup.policy", "delete", OP.SUBTRACT)), "subtract")
expect(("compact", DYNAMIC_TOPIC), config("cleanup.policy"), "subtracted")
expect("OK", alter(("cleanup.policy", None, OP.DELETE)), "delete")
expect(("delete", DEFAULT), config("cleanup.policy"), "the default again")
expect("INVALID_CONFIG", alter(("retention.ms", "1", OP.APPEND)), "append to what is no list")
expect("INVALID_CONFIG", alter(("no.such.config", "1", OP.SET)), "an unknown config")
expect("INVALID_CONFIG", alter(("max.message.bytes", "-1", OP.SET)), "a value out of bounds")
expect("INVALID_CONFIG", alter(("retention.ms", "2000000", OP.SET), ("segment.bytes", "x", OP.SET)), "one of two is bad")
expect(("1000000", DYNAMIC_TOPIC), config("retention.ms"), "nothing of a bad change is kept")

# The cluster.
cluster = admin.describe_cluster().result(60)
expect([1], [node.id for node in cluster.nodes], "nodes")
expect(1, cluster.controller.id, "the controller")
check(len(cluster.cluster_id) == 22, cluster.cluster_id)

# Offsets and times: record n of partition 0 has time n * 10 s; the newest time is in the middle.
producer = Producer({"bootstrap.servers": BOOTSTRAP, "linger.ms": 50, "compression.type": "gzip"})
for number in range(100):
    late = 5_000_000 if number == 50 else number * 10_000
    producer.produce("good", str(number), partition=0, timestamp=FIRST_TIMESTAMP_MS + late)
check(producer.flush(60) == 0)
place = TopicPartition("good", 0)


def offset(spec):
    return one(admin.list_offsets({place: spec})).result(60).offset


expect(0, offset(OffsetSpec.earliest()), "earliest")
expect(100, offset(OffsetSpec.latest()), "latest")
expect(50, offset(OffsetSpec.max_timestamp()), "max timestamp")
expect(0, offset(OffsetSpec.for_timestamp(0)), "since ever")
expect(33, offset(OffsetSpec.for_timestamp(FIRST_TIMESTAMP_MS + 329_999)), "inside a compressed batch")
expect(50, offset(OffsetSpec.for_timestamp(FIRST_TIMESTAMP_MS + 2_000_000)), "only one is as late")
expect(-1, offset(OffsetSpec.for_timestamp(FIRST_TIMESTAMP_MS + 6_000_000)), "nothing is as late")

# DeleteRecords.
deleted = one(admin.delete_records([TopicPartition("good", 0, 10)])).result(60)
expect(10, deleted.low_watermark, "low watermark")
expect(10, offset(OffsetSpec.earliest()), "earliest after deletion")
expect("OFFSET_OUT_OF_RANGE", outcome(one(admin.delete_records([TopicPartition("good", 0, 1_000)]))), "beyond the end")
consumer = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": "admin", "auto.offset.reset": "earliest",
                     "enable.auto.commit": False})
consumer.assign([TopicPartition("good", 0, 3)])
message = consumer.poll(60)
check(message is not None and message.error() is None and message.offset() == 10, "reset to the log start", message)
deleted = one(admin.delete_records([TopicPartition("good", 0, -1)])).result(60)
expect(100, deleted.low_watermark, "low watermark at the end")

# Groups.
consumer.commit(offsets=[TopicPartition("good", 0, 42, "m")], asynchronous=False)
groups = admin.list_consumer_groups().result(60)
check("admin" in {group.group_id for group in groups.valid}, groups.valid)
request = [ConsumerGroupTopicPartitions("admin", [TopicPartition("good", 0, 77)])]
expect("OK", outcome(one(admin.alter_consumer_group_offsets(request))), "alter offsets")
answer = one(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions("admin")])).result(60)
expect([77], [partition.offset for partition in answer.topic_partitions], "altered offsets")
consumer.close()
expect("OK", outcome(one(admin.delete_consumer_groups(["admin"]))), "delete the group")
expect("GROUP_ID_NOT_FOUND", outcome(one(admin.delete_consumer_groups(["admin"]))), "delete it again")

# Deletion.
expect("OK", outcome(one(admin.delete_topics(["good"]))), "delete good")
expect("UNKNOWN_TOPIC_OR_PART", outcome(one(admin.delete_topics(["absent"]))), "delete what is absent")
until(lambda: "good" not in admin.list_topics(timeout=60).topics, "good is no longer listed")
expect("OK", outcome(one(admin.create_topics([NewTopic("good", 1, 1)]))), "create good again")
description = described("good")
check(str(description.topic_id) != first_id, "a topic that is made again has a new id")
low, high = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": "x"}).get_watermark_offsets(place, timeout=60)
expect((0, 0), (low, high), "watermarks of the new topic")
say("done")
