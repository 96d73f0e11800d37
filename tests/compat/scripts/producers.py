"""A producer that goes on through kills of the node; afterwards everything is read and compared.

producers.py BOOTSTRAP TOPIC idempotent|plain CODEC
Told "run N": says "ran" once N more records were acknowledged, and goes on. Told "stop": ends and verifies.
"""

import random
import sys
import time

from confluent_kafka import Consumer, Producer, TopicPartition

from talk import check, messages, say, told, told_already
from topics import create_topics

BOOTSTRAP, TOPIC, KIND, CODEC = sys.argv[1:]
PARTITIONS = 3
PADDING = random.Random(1).randbytes(4_000)

create_topics(BOOTSTRAP, PARTITIONS, TOPIC)
producer = Producer({
    "bootstrap.servers": BOOTSTRAP,
    "acks": "all",
    "enable.idempotence": KIND == "idempotent",
    "compression.type": CODEC,
    "linger.ms": 2,
    "message.timeout.ms": 300_000,
    "request.timeout.ms": 20_000,
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 200,
    "queue.buffering.max.messages": 20_000,
})
acknowledged = {}
failed = []


def delivered(error, message):
    number = int.from_bytes(message.value()[:8], "big")
    if error is not None:
        failed.append((number, str(error)))
    else:
        place = (message.partition(), message.offset())
        check(place not in acknowledged, "two records were acknowledged at", place)
        acknowledged[place] = number


number = 0
goal = None
stopping = False
while not stopping:
    for _ in range(50):
        value = number.to_bytes(8, "big") + PADDING[: number * 37 % 1_500]
        try:
            producer.produce(TOPIC, value, partition=number % PARTITIONS, on_delivery=delivered)
            number += 1
        except BufferError:
            producer.poll(0.05)
            break
    producer.poll(0)
    time.sleep(0.005)  # the pace of the source, nothing waits for it
    if goal is not None and len(acknowledged) >= goal:
        say("ran", len(acknowledged))
        goal = None
    word = told_already()
    if word == "stop":
        stopping = True
    elif word is not None:
        goal = len(acknowledged) + int(word.split()[1])
left = producer.flush(300)
check(left == 0, left, "records are still under way")
if KIND == "idempotent":
    check(not failed, "an idempotent producer with time left must not fail:", failed[:3])
say("acked", len(acknowledged), "failed", len(failed), "of", number)

consumer = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": "unused", "enable.auto.commit": False,
                     "auto.offset.reset": "error", "enable.partition.eof": True, "check.crcs": True})
told_word = told()
check(told_word == "verify", told_word)
numbers = {partition: [] for partition in range(PARTITIONS)}
consumer.assign([TopicPartition(TOPIC, partition, 0) for partition in numbers])
ended = set()
for message in messages(consumer):
    if message.error() is not None:
        check(message.error().name() == "_PARTITION_EOF", message.error())
        ended.add(message.partition())
        if len(ended) == PARTITIONS:
            break
        continue
    sequence = numbers[message.partition()]
    check(message.offset() == len(sequence), "a hole: offset", message.offset(), "after", len(sequence) - 1,
          "of partition", message.partition())
    found = int.from_bytes(message.value()[:8], "big")
    check(message.value()[8:] == PADDING[: found * 37 % 1_500], "a damaged record at", message.offset())
    sequence.append(found)
for (partition, offset), wanted in acknowledged.items():
    sequence = numbers[partition]
    check(offset < len(sequence), "acknowledged and lost: partition", partition, "offset", offset, "number", wanted,
          "the log ends at", len(sequence))
    check(sequence[offset] == wanted, "at", (partition, offset), "is", sequence[offset], "acknowledged was", wanted)
if KIND == "idempotent":
    for partition, sequence in numbers.items():
        wanted = list(range(partition, number, PARTITIONS))
        check(sequence == wanted, "partition", partition, "is not each record once and in order:",
              len(sequence), "records,", len(set(sequence)), "different,", len(wanted), "written")
say("verified", sum(len(sequence) for sequence in numbers.values()))
