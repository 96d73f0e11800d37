"""Writes every kind of record, or reads them all back; prints a digest of each partition.

matrix.py write|read BOOTSTRAP PREFIX
"""

import sys

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from records import CODECS, PARTITIONS, Digest, records
from talk import check, messages, say
from topics import create_topics


def write(bootstrap, prefix):
    create_topics(bootstrap, PARTITIONS, *[f"{prefix}-{codec}" for codec in CODECS])
    for codec in CODECS:
        producer = Producer({
            "bootstrap.servers": bootstrap,
            "compression.type": codec,
            "acks": "all",
            "linger.ms": 20,
            "max.in.flight.requests.per.connection": 1,
            "message.max.bytes": 1_048_588,
            "message.timeout.ms": 110_000,
        })
        for partition in range(PARTITIONS):
            digest = Digest()
            offsets = []

            def delivered(error, message):
                if error is not None:
                    raise KafkaException(error)
                offsets.append(message.offset())

            for index, (timestamp, key, value, headers) in enumerate(records(codec, partition)):
                producer.produce(f"{prefix}-{codec}", value, key, partition, on_delivery=delivered,
                                 timestamp=timestamp, headers=headers)
                producer.poll(0)
                digest.add(index, timestamp, key, value, headers)
            check(producer.flush(110) == 0, "not delivered:", codec, partition)
            check(offsets == list(range(digest.count)), "offsets have holes:", codec, partition, offsets)
            say("partition", codec, partition, digest)


def read(bootstrap, prefix):
    for codec in CODECS:
        topic = f"{prefix}-{codec}"
        consumer = Consumer({
            "bootstrap.servers": bootstrap,
            "group.id": "unused",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "check.crcs": True,
        })
        digests = {partition: Digest() for partition in range(PARTITIONS)}
        consumer.assign([TopicPartition(topic, partition, 0) for partition in digests])
        ended = set()
        for message in messages(consumer):
            if message.error() is not None:
                check(message.error().name() == "_PARTITION_EOF", message.error())
                ended.add(message.partition())
                if len(ended) == PARTITIONS:
                    break
            else:
                digests[message.partition()].add(message.offset(), message.timestamp()[1], message.key(),
                                                 message.value(), message.headers() or [])
        for partition, digest in digests.items():
            say("partition", codec, partition, digest)
        consumer.close()


{"write": write, "read": read}[sys.argv[1]](*sys.argv[2:])
