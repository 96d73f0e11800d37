"""Writes many records, or counts every offset of them with small fetch limits.

replay.py write|read BOOTSTRAP TOPIC MEGABYTES
"""

import random
import sys

from confluent_kafka import Consumer, Producer, TopicPartition

from talk import check, messages, say
from topics import create_topics

PARTITIONS = 4
VALUE_BYTES = 4_096
PADDING = random.Random(2).randbytes(2 * VALUE_BYTES)


def count(megabytes):
    return int(megabytes) * 1_000_000 // VALUE_BYTES // PARTITIONS


def padding(index):
    start = index * 17 % VALUE_BYTES
    return PADDING[start:start + VALUE_BYTES - 8]


def write(bootstrap, topic, megabytes):
    create_topics(bootstrap, PARTITIONS, topic)
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5, "batch.size": 16_384,
                         "message.timeout.ms": 300_000, "queue.buffering.max.kbytes": 65_536})
    delivered = [0]

    def acknowledged(error, message):
        check(error is None, error)
        delivered[0] += 1

    for index in range(count(megabytes)):
        for partition in range(PARTITIONS):
            value = index.to_bytes(8, "big") + padding(index)
            while True:
                try:
                    producer.produce(topic, value, partition=partition, on_delivery=acknowledged)
                    break
                except BufferError:
                    producer.poll(0.1)
        producer.poll(0)
    check(producer.flush(300) == 0, "not everything was delivered")
    say("written", delivered[0])


def read(bootstrap, topic, megabytes):
    consumer = Consumer({
        "bootstrap.servers": bootstrap,
        "group.id": "unused",
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        # Several batches of 16 KiB a partition, and less in all than the partitions' limits together.
        "max.partition.fetch.bytes": 65_536,
        "fetch.max.bytes": 131_072,
        "message.max.bytes": 131_072,
        "queued.max.messages.kbytes": 16_384,
    })
    following = {partition: 0 for partition in range(PARTITIONS)}
    consumer.assign([TopicPartition(topic, partition, 0) for partition in following])
    ended = set()
    for message in messages(consumer):
        if message.error() is not None:
            check(message.error().name() == "_PARTITION_EOF", message.error())
            ended.add(message.partition())
            if len(ended) == PARTITIONS:
                break
            continue
        partition, index = message.partition(), following[message.partition()]
        check(message.offset() == index, "offset", message.offset(), "follows", index - 1, "in", partition)
        value = message.value()
        check(int.from_bytes(value[:8], "big") == index and value[8:] == padding(index), "another record at", index)
        following[partition] += 1
    check(all(index == count(megabytes) for index in following.values()), following, "expected", count(megabytes))
    say("counted", sum(following.values()))


{"write": write, "read": read}[sys.argv[1]](*sys.argv[2:])
