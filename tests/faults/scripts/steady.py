"""A producer at a steady pace that tells for how long acknowledgements stayed away.

steady.py BOOTSTRAP TOPIC PARTITIONS PER_SECOND FILL_MIB
Makes the topic, writes FILL_MIB to each partition, says "going", and sends PER_SECOND small records to each of them.
Told "mark": begins to measure anew, says "marked". Told "each N": says "flows" once N more were acknowledged in each.
Told "gaps": says "gaps MS …", for each partition the longest time between two acknowledgements since the mark.
Told "leaders": says "leaders NODE …". Told "enough": says "ended COUNT"; each record must have been acknowledged.
"""

import sys
import time

from confluent_kafka import Producer

from talk import check, say, told_already
from topics import create_topics

BOOTSTRAP, TOPIC, PARTITIONS, PER_SECOND, FILL_MIB = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
LIMIT_S = 120
FILL_RECORD = bytes(range(256)) * 400

create_topics(BOOTSTRAP, PARTITIONS, TOPIC)
producer = Producer({
    "bootstrap.servers": BOOTSTRAP,
    "acks": "all",
    "enable.idempotence": True,
    "linger.ms": 0,
    # A dead host says nothing: what was sent to it is given up after a second, not after the usual half minute.
    "request.timeout.ms": 1_000,
    "socket.timeout.ms": 2_000,
    "reconnect.backoff.ms": 10,
    "reconnect.backoff.max.ms": 100,
    "retry.backoff.ms": 20,
    # Others lead within moments: librdkafka's own pace of looking would be measured, not that.
    "topic.metadata.refresh.fast.interval.ms": 20,
    "topic.metadata.refresh.interval.ms": 200,
    "log_level": 2,
})
acknowledged = [0] * PARTITIONS
last = [time.monotonic()] * PARTITIONS
longest = [0.0] * PARTITIONS


def delivered(error, message):
    check(error is None, error)
    partition, now = message.partition(), time.monotonic()
    acknowledged[partition] += 1
    longest[partition] = max(longest[partition], now - last[partition])
    last[partition] = now


def send(partition, value):
    while True:
        try:
            producer.produce(TOPIC, value, partition=partition, on_delivery=delivered)
            return
        except BufferError:
            producer.poll(0.05)


for _ in range(FILL_MIB * 1_048_576 // len(FILL_RECORD)):
    for partition in range(PARTITIONS):
        send(partition, FILL_RECORD)
        producer.poll(0)
check(producer.flush(LIMIT_S) == 0, "the topic could not be filled")
say("going")
goals = None
start, sent = time.monotonic(), 0
while (word := told_already()) != "enough":
    if word == "mark":
        # An interruption that lasts goes on to count.
        longest = [0.0] * PARTITIONS
        say("marked")
    elif word == "gaps":
        say("gaps", *(round(gap * 1_000) for gap in longest))
    elif word == "leaders":
        partitions = producer.list_topics(TOPIC, timeout=LIMIT_S).topics[TOPIC].partitions
        say("leaders", *(partitions[partition].leader for partition in range(PARTITIONS)))
    elif word is not None:
        goals = [now + int(word.split()[1]) for now in acknowledged]
    if goals is not None and all(now >= goal for now, goal in zip(acknowledged, goals)):
        say("flows")
        goals = None
    if time.monotonic() >= start + sent / PER_SECOND:
        for partition in range(PARTITIONS):
            send(partition, b"steady")
        sent += 1
    producer.poll(max(0.0, start + sent / PER_SECOND - time.monotonic()))
check(producer.flush(LIMIT_S) == 0, "not all records were acknowledged")
say("ended", sum(acknowledged))
