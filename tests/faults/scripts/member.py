"""A member of a group that must not be thrown out, and whose commits stay.

member.py BOOTSTRAP TOPIC GROUP
Says "assigned" once. Told "stop": says "steady N commits" if it was never rebalanced and its last commit is there.
"""

import sys

from confluent_kafka import Consumer, KafkaException

from talk import check, say, told_already, until

BOOTSTRAP, TOPIC, GROUP = sys.argv[1:]
consumer = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": GROUP, "enable.auto.commit": False,
                     "auto.offset.reset": "earliest", "session.timeout.ms": 10_000, "heartbeat.interval.ms": 500,
                     "log_level": 2})
assignments, lost = [], []
consumer.subscribe([TOPIC], on_assign=lambda _, places: assignments.append(places),
                   on_revoke=lambda _, places: lost.append(places), on_lost=lambda _, places: lost.append(places))
commits, processed, announced = 0, {}, False
while told_already() != "stop":
    for message in consumer.consume(500, 0.1):
        check(message.error() is None, message.error())
        expected = processed.get(message.partition(), 0)
        check(message.offset() == expected, "offset", message.offset(), "after", expected - 1)
        processed[message.partition()] = message.offset() + 1
    if assignments and not announced:
        say("assigned", len(assignments[0]))
        announced = True
    if processed:
        consumer.commit(asynchronous=False)
        commits += 1
check(len(assignments) == 1 and not lost, "rebalanced:", len(assignments), "assignments, lost", lost)
for place in consumer.committed(assignments[0], timeout=30):
    check(place.offset == processed[place.partition], "committed", place, "processed to", processed[place.partition])
say("steady", commits, "commits in one membership")
consumer.close()
