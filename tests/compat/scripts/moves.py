"""Writes and reads without a pause while the partitions of the topic go from node to node.

moves.py BOOTSTRAP TOPIC PARTITIONS [PAUSE]
Sends a record every PAUSE seconds, or 0.0005.
Says "going" and goes on until it is told "enough"; told "more", it says so once more was acknowledged in every partition, and
told "rebalances" how often the group of its two consumers has been rebalanced since "going". No
client may see an error; every acknowledged record is read once,
in its partition's order, and the offsets have no holes.
"""

import sys
import threading

from confluent_kafka import Consumer, Producer

from talk import check, say, told, until
from topics import create_topics

BOOTSTRAP, TOPIC, PARTITIONS = sys.argv[1], sys.argv[2], int(sys.argv[3])
# For what the test does meanwhile.
LONGEST_S = 600
PAUSE = float(sys.argv[4]) if len(sys.argv) > 4 else 0.0005

acknowledged = {}
grown = [0] * PARTITIONS
read = {}
errors = []
# Partitions of each consumer of the group, as often as it was given some.
assignments = []
enough = threading.Event()
all_read = threading.Event()


def delivered(error, message):
    if error is not None:
        errors.append(("producer", str(error)))
    else:
        acknowledged[message.value()] = (message.partition(), message.offset())
        grown[message.partition()] += 1


def produce():
    producer = Producer({"bootstrap.servers": BOOTSTRAP, "enable.idempotence": True, "linger.ms": 1})
    number = 0
    while not enough.wait(PAUSE):
        producer.produce(TOPIC, f"{number}", key=f"{number % 50}", on_delivery=delivered)
        number += 1
        producer.poll(0)
    check(producer.flush(60) == 0, "records without an answer")


def consume():
    consumer = Consumer({
        "bootstrap.servers": BOOTSTRAP,
        "group.id": "readers",
        "auto.offset.reset": "earliest",
    })
    consumer.subscribe([TOPIC], on_assign=lambda _, given: assignments.append(len(given)))
    while not all_read.is_set():
        for message in consumer.consume(500, 0.1):
            if message.error() is not None:
                errors.append(("consumer", str(message.error())))
            else:
                read.setdefault((message.partition(), message.offset()), set()).add(message.value())
    consumer.close()


create_topics(BOOTSTRAP, PARTITIONS, TOPIC)
threads = [threading.Thread(target=work, daemon=True) for work in (produce, consume, consume)]
for thread in threads:
    thread.start()
until(lambda: len(read) > 500, "nothing is read")
until(lambda: sum(assignments[-2:]) == PARTITIONS and min(assignments[-2:]) > 0, lambda: f"assigned: {assignments}")
say("going")
settled = len(assignments)
while (word := told(LONGEST_S)) != "enough":
    if word == "rebalances":
        say("rebalances", len(assignments) - settled)
        continue
    check(word == "more", "the test says", word)
    before = list(grown)
    until(
        lambda: all(now > then + 20 for now, then in zip(grown, before)),
        lambda: f"acknowledged by partition: {before}, later {grown}; errors: {errors[:3]}",
    )
    say("more")
enough.set()
threads[0].join(90)
until(lambda: len(read) >= len(acknowledged), lambda: f"{len(read)} of {len(acknowledged)} were read")
all_read.set()
for thread in threads[1:]:
    thread.join(60)
check(not errors, errors[:5])
check(all(len(values) == 1 for values in read.values()), "an offset was read with two values")
where = {value: place for place, values in read.items() for value in values}
check(where == acknowledged, "what was read is not what was acknowledged")
check(len(where) == len(read), "a record stands in the log twice")
for partition in range(PARTITIONS):
    offsets = sorted(offset for of, offset in read if of == partition)
    check(offsets == list(range(len(offsets))), "holes in partition", partition)
    numbers = [int(next(iter(read[(partition, offset)]))) for offset in offsets]
    check(numbers == sorted(numbers), "partition", partition, "is out of order")
say("records", len(read))
