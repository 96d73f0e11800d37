"""A well-behaved client: one record at a time, acknowledged, and read by a consumer that waits at the tail.

latency.py BOOTSTRAP TOPIC SECONDS PER_SECOND
Says "latency ACK_P50 ACK_P99 READ_P50 READ_P99 COUNT", in milliseconds. All records must be acknowledged and read.
"""

import struct
import sys
import threading
import time

from confluent_kafka import Consumer, Producer, TopicPartition

from talk import check, say, until
from topics import create_topics

BOOTSTRAP, TOPIC, SECONDS, PER_SECOND = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
create_topics(BOOTSTRAP, 1, TOPIC)
producer = Producer({"bootstrap.servers": BOOTSTRAP, "acks": "all", "linger.ms": 0, "message.timeout.ms": 110_000,
                     "log_level": 2})
consumer = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": "unused", "enable.auto.commit": False,
                     "fetch.wait.max.ms": 100, "log_level": 2})
consumer.assign([TopicPartition(TOPIC, 0, 0)])
acked, seen = [], []
done = threading.Event()


def consume():
    while not done.is_set():
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            seen.append(time.monotonic() - struct.unpack(">d", message.value())[0])


def delivered(error, message):
    check(error is None, error)
    acked.append(time.monotonic() - struct.unpack(">d", message.value())[0])


reader = threading.Thread(target=consume, daemon=True)
reader.start()
start = time.monotonic()
count = 0
while (now := time.monotonic()) < start + SECONDS:
    if now >= start + count / PER_SECOND:
        producer.produce(TOPIC, struct.pack(">d", time.monotonic()), partition=0, on_delivery=delivered)
        count += 1
    producer.poll(max(0.0, start + count / PER_SECOND - time.monotonic()))
check(producer.flush(110) == 0, "not all records were acknowledged")
until(lambda: len(seen) >= count, lambda: f"all records read; {len(seen)} of {count}", 110)
done.set()


def percentile(values, share):
    return f"{sorted(values)[min(len(values) - 1, int(len(values) * share))] * 1_000:.1f}"


# The first one makes connections.
say("latency", *(percentile(values[1:], share) for values in [acked, seen] for share in [0.5, 0.99]), count)
