"""Reads all that a topic holds and writes it down.

read.py BOOTSTRAP TOPIC PARTITIONS SIZE OUT [name=value of the consumer ...]
OUT has "b PARTITION OFFSET" where the log begins, "r PARTITION OFFSET NUMBER" for each record, "e PARTITION OFFSET" where
it ends. A record whose bytes are not what was written ends the script.
"""

import sys

from confluent_kafka import Consumer, TopicPartition

from payload import number_of
from talk import check, messages, say, until

BOOTSTRAP, TOPIC, PARTITIONS, SIZE, OUT = sys.argv[1:6]
settings = {"bootstrap.servers": BOOTSTRAP, "group.id": "unused", "enable.auto.commit": False, "check.crcs": True,
            "auto.offset.reset": "earliest", "enable.partition.eof": True, "reconnect.backoff.max.ms": 200, "log_level": 2}
settings |= dict(word.split("=", 1) for word in sys.argv[6:])
consumer = Consumer(settings)
places = [TopicPartition(TOPIC, partition) for partition in range(int(PARTITIONS))]
begins = {}
for place in places:
    begins[place.partition] = until(lambda: consumer.get_watermark_offsets(place, timeout=60), "the log's begin")[0]
consumer.assign([TopicPartition(TOPIC, partition, begin) for partition, begin in begins.items()])
ends = {}
with open(OUT, "w") as out:
    for partition, begin in begins.items():
        out.write(f"b {partition} {begin}\n")
    for message in messages(consumer):
        if message.error() is not None:
            check(message.error().name() == "_PARTITION_EOF", message.error())
            ends[message.partition()] = message.offset()
            if len(ends) == len(begins):
                break
            continue
        number = number_of(message.value(), int(SIZE))
        check(number is not None, "another record's bytes at", message.partition(), message.offset())
        out.write(f"r {message.partition()} {message.offset()} {number}\n")
    for partition, end in ends.items():
        out.write(f"e {partition} {end}\n")
say("read", sum(ends.values()) - sum(begins.values()))
