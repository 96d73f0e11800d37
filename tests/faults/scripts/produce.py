"""A producer that goes on through every fault and keeps a history of what was acknowledged.

produce.py BOOTSTRAP TOPIC HISTORY [name=value ...]
Names: kind=idempotent|plain codec=none partitions=3 size=1500 burst=50 pace_ms=5 timeout_ms=300000 create=1 config.NAME=VALUE
Told "run N": says "ran" once N more records were acknowledged, and goes on; "each N": once there are N more in each
partition. Told "rest": sends nothing until "go".
Told "count": says "counted ACKNOWLEDGED FAILED SENT". Told "stop": delivers what is under way and says "sent".

HISTORY has a line for each fact: "a PARTITION OFFSET NUMBER" acknowledged, "i PARTITION NUMBER" acknowledged by the answer to a
later batch, as librdkafka does when its own answer left it open, "f PARTITION NUMBER" failed, "s NUMBER" sent in all. Record NUMBER goes to partition NUMBER % partitions.
"""

import sys
import time

from confluent_kafka import Producer

from payload import payload
from talk import check, say, told, told_already
from topics import create_topics

BOOTSTRAP, TOPIC, HISTORY = sys.argv[1:4]
options = {"kind": "idempotent", "codec": "none", "partitions": "3", "size": "1500", "burst": "50", "pace_ms": "5",
           "timeout_ms": "300000", "create": "1"}
options |= dict(word.split("=", 1) for word in sys.argv[4:])
PARTITIONS, SIZE, BURST = int(options["partitions"]), int(options["size"]), int(options["burst"])
PACE_S = int(options["pace_ms"]) / 1_000

if options["create"] == "1":
    config = {name.removeprefix("config."): value for name, value in options.items() if name.startswith("config.")}
    create_topics(BOOTSTRAP, PARTITIONS, TOPIC, config=config)
producer = Producer({
    "bootstrap.servers": BOOTSTRAP,
    "acks": "all",
    "enable.idempotence": options["kind"] == "idempotent",
    "compression.type": options["codec"],
    "linger.ms": 2,
    "message.timeout.ms": int(options["timeout_ms"]),
    "request.timeout.ms": 20_000,
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 200,
    "queue.buffering.max.messages": 20_000,
    "queue.buffering.max.kbytes": 131_072,
    "log_level": 2,
})
history = open(HISTORY, "w")
acknowledged = failed = number = 0
by_partition = [0] * PARTITIONS
reasons = {}


def delivered(error, message):
    global acknowledged, failed
    sent = int.from_bytes(message.value()[:8], "big")
    if error is not None:
        failed += 1
        reasons[error.name()] = reasons.get(error.name(), 0) + 1
        history.write(f"f {message.partition()} {sent}\n")
    else:
        acknowledged += 1
        by_partition[message.partition()] += 1
        if message.offset() is None:
            history.write(f"i {message.partition()} {sent}\n")
        else:
            history.write(f"a {message.partition()} {message.offset()} {sent}\n")


goal = goals = None
resting = False
while True:
    for _ in range(0 if resting else BURST):
        try:
            producer.produce(TOPIC, payload(number, SIZE), partition=number % PARTITIONS, on_delivery=delivered)
            number += 1
        except BufferError:
            producer.poll(0.05)
            break
    producer.poll(0)
    time.sleep(PACE_S)  # the pace of the source, nothing waits for it
    if goal is not None and acknowledged >= goal:
        say("ran", acknowledged)
        goal = None
    if goals is not None and all(now >= wanted for now, wanted in zip(by_partition, goals)):
        say("ran", by_partition)
        goals = None
    word = told_already()
    if word == "stop":
        break
    if word == "rest":
        resting = True
    elif word == "go":
        resting = False
    elif word == "count":
        say("counted", acknowledged, failed, number)
    elif word is not None and word.startswith("each "):
        goals = [now + int(word.split()[1]) for now in by_partition]
    elif word is not None:
        goal = acknowledged + int(word.split()[1])
left = producer.flush(max(300, int(options["timeout_ms"]) / 1_000))
check(left == 0, left, "records are still under way")
history.write(f"s {number}\n")
history.close()
say("sent", number, "acknowledged", acknowledged, "failed", failed, reasons)
