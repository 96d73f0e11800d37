"""Writes COUNT records of SIZE random bytes to partition 0 of a topic, or waits for its log start to reach an offset.

fill.py write BOOTSTRAP TOPIC COUNT SIZE [config=value ...]
fill.py await-start BOOTSTRAP TOPIC OFFSET
fill.py write-marked BOOTSTRAP TOPIC COUNT    each record alone, with its number in it
fill.py delete-topic BOOTSTRAP TOPIC
fill.py delete-records BOOTSTRAP TOPIC OFFSET of partition 0; -1 is all of them
fill.py read BOOTSTRAP TOPIC PARTITION        says "read N", or "error NAME" for the consumer's error
"""

import random
import sys

from confluent_kafka import OFFSET_END, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from talk import check, say, until
from topics import create_topics


def write(bootstrap, topic, count, size, *configs):
    create_topics(bootstrap, 1, topic, config=dict(config.split("=", 1) for config in configs))
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "batch.size": 65_536})
    source = random.Random(topic)
    for number in range(int(count)):
        producer.produce(topic, source.randbytes(int(size)), partition=0)
        if number % 100 == 0:
            producer.poll(0)
    check(producer.flush(110) == 0)
    say("written", count)


def await_start(bootstrap, topic, offset):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused"})
    place = TopicPartition(topic, 0)
    until(lambda: consumer.get_watermark_offsets(place, timeout=60)[0] >= int(offset),
          lambda: f"a log start of {offset}, it is {consumer.get_watermark_offsets(place, timeout=60)}")
    say("start", consumer.get_watermark_offsets(place, timeout=60)[0])


def write_marked(bootstrap, topic, count):
    create_topics(bootstrap, 1, topic)
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    for number in range(int(count)):
        producer.produce(topic, f"MARKED-{number:04}-" * 1_000, partition=0)
        check(producer.flush(60) == 0)
    say("written", count)


def delete_topic(bootstrap, topic):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.delete_topics([topic])[topic].result(60)
    say("deleted", topic)


def delete_records(bootstrap, topic, offset):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    place = TopicPartition(topic, 0, int(offset) if int(offset) >= 0 else OFFSET_END)
    deleted = admin.delete_records([place])[place].result(60)
    say("deleted", "up to", deleted.low_watermark)


def read(bootstrap, topic, partition):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False,
                         "auto.offset.reset": "error", "enable.partition.eof": True, "check.crcs": True})
    consumer.assign([TopicPartition(topic, int(partition), 0)])
    count = 0
    while True:
        message = consumer.poll(20)
        if message is None:
            say("error nothing comes after", count)
            return
        if message.error() is None:
            check(message.offset() == count, "offset", message.offset(), "after", count - 1)
            count += 1
        elif message.error().name() == "_PARTITION_EOF":
            say("read", count)
            return
        else:
            say("error", message.error().name(), "after", count)
            return


ACTIONS = {"write": write, "write-marked": write_marked, "await-start": await_start, "delete-topic": delete_topic,
           "delete-records": delete_records,
           "read": read}
ACTIONS[sys.argv[1]](*sys.argv[2:])
