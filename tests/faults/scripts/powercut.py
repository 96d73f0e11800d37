"""Produces inside User Mode Linux, and marks in the log of the disk's writes how much was acknowledged.

powercut.py BOOTSTRAP TOPIC HISTORY MARKS
HISTORY is as produce.py writes it; mark "aN" follows the first N lines.
"""

import subprocess
import sys
import time

from confluent_kafka import KafkaException, Producer

from payload import payload
from talk import check, say
from topics import create_topics

BOOTSTRAP, TOPIC, HISTORY, MARKS = sys.argv[1:]
PARTITIONS, SIZE, RECORDS_PER_MARK = 3, 1_500, 30


def created():
    try:
        create_topics(BOOTSTRAP, PARTITIONS, TOPIC)
        return True
    except KafkaException:
        return False


deadline = time.monotonic() + 120
while not created():
    check(time.monotonic() < deadline, "the node does not answer")
    time.sleep(0.2)  # the node starts
producer = Producer({"bootstrap.servers": BOOTSTRAP, "acks": "all", "enable.idempotence": True, "linger.ms": 1})
lines = []


def delivered(error, message):
    check(error is None, error)
    lines.append(f"a {message.partition()} {message.offset()} {int.from_bytes(message.value()[:8], 'big')}\n")


number = 0
written = 0
with open(HISTORY, "w") as history:
    for mark in range(int(MARKS)):
        for _ in range(RECORDS_PER_MARK):
            producer.produce(TOPIC, payload(number, SIZE), partition=number % PARTITIONS, on_delivery=delivered)
            number += 1
        check(producer.flush(60) == 0)
        history.writelines(lines[written:])
        history.flush()
        written = len(lines)
        subprocess.run(["dmsetup", "message", "logged", "0", "mark", f"a{written}"], check=True)
say("marked", written)
