"""Writes 30 records to each of two partitions and commits 10 and 30, with metadata.

committed.py BOOTSTRAP TOPIC GROUP
"""

import sys

from confluent_kafka import Consumer, Producer, TopicPartition

from records import FIRST_TIMESTAMP_MS
from talk import check, say
from topics import create_topics

BOOTSTRAP, TOPIC, GROUP = sys.argv[1:]

create_topics(BOOTSTRAP, 2, TOPIC)
producer = Producer({"bootstrap.servers": BOOTSTRAP, "linger.ms": 50})
for offset in range(30):
    for partition in range(2):
        producer.produce(TOPIC, str(offset), partition=partition, timestamp=FIRST_TIMESTAMP_MS + offset * 1_000)
check(producer.flush(60) == 0)
consumer = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": GROUP, "enable.auto.commit": False})
offsets = [TopicPartition(TOPIC, 0, 10, "a note"), TopicPartition(TOPIC, 1, 30, "größer")]
for commit in consumer.commit(offsets=offsets, asynchronous=False):
    check(commit.error is None, commit.error)
found = consumer.committed([TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)], timeout=60)
check([(place.offset, place.metadata) for place in found] == [(10, "a note"), (30, "größer")], found)
consumer.close()
say("done")
