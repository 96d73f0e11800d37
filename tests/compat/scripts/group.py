"""A group of members through joins, leaves and restarts of the node.

group.py BOOTSTRAP TOPIC GROUP STRATEGY
Says "restart N" and waits for a word whenever the node is to be restarted.
"""

import sys
import threading
import time

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from talk import check, say, told, until
from topics import create_topics

BOOTSTRAP, TOPIC, GROUP, STRATEGY = sys.argv[1:]
PARTITIONS = 6

seen = {}
errors = []


class Member(threading.Thread):
    """Processes records and commits what it has processed, by hand."""

    def __init__(self, name):
        super().__init__(daemon=True)
        self.name_ = name
        self.owned = set()
        self.leaving = threading.Event()
        self.processed = 0
        self.start()

    def run(self):
        consumer = Consumer({
            "bootstrap.servers": BOOTSTRAP,
            "group.id": GROUP,
            "client.id": self.name_,
            "partition.assignment.strategy": STRATEGY,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 10_000,
            "heartbeat.interval.ms": 500,
            "reconnect.backoff.max.ms": 1_000,
        })
        consumer.subscribe([TOPIC], on_assign=self.assigned, on_revoke=self.revoked, on_lost=self.lost)
        uncommitted = 0
        while not self.leaving.is_set():
            for message in consumer.consume(100, 0.1):
                if message.error() is not None:
                    if message.error().name() == "_FATAL":
                        errors.append((self.name_, str(message.error())))
                    continue
                place = (message.partition(), message.offset())
                seen.setdefault(place, []).append(message.value())
                self.processed += 1
                uncommitted += 1
            if uncommitted >= 50:
                try:
                    consumer.commit(asynchronous=False)
                    uncommitted = 0
                except Exception as error:  # a commit may fail in a rebalance or a restart; the next one counts
                    say("note:", self.name_, "commit:", error)
        try:
            consumer.commit(asynchronous=False)
        except Exception as error:
            say("note:", self.name_, "last commit:", error)
        consumer.close()
        self.owned = set()

    def assigned(self, consumer, partitions):
        self.owned |= {partition.partition for partition in partitions}

    def revoked(self, consumer, partitions):
        try:
            consumer.commit(asynchronous=False)
        except Exception as error:
            say("note:", self.name_, "commit on revocation:", error)
        self.owned -= {partition.partition for partition in partitions}

    def lost(self, consumer, partitions):
        self.owned -= {partition.partition for partition in partitions}

    def leave(self):
        self.leaving.set()
        self.join(60)
        check(not self.is_alive(), self.name_, "does not leave")


class Source(threading.Thread):
    """Writes numbered records until told to stop; remembers what was acknowledged."""

    def __init__(self):
        super().__init__(daemon=True)
        self.acknowledged = {}
        self.stopping = threading.Event()
        self.start()

    def run(self):
        producer = Producer({"bootstrap.servers": BOOTSTRAP, "acks": "all", "enable.idempotence": True,
                             "message.timeout.ms": 110_000, "reconnect.backoff.max.ms": 1_000})
        number = 0
        while not self.stopping.is_set():
            for _ in range(20):
                producer.produce(TOPIC, str(number), partition=number % PARTITIONS, on_delivery=self.delivered)
                number += 1
            producer.poll(0)
            time.sleep(0.02)  # the pace of the source, nothing waits for it
        if producer.flush(110) != 0:
            errors.append(("source", "not everything was delivered"))

    def delivered(self, error, message):
        if error is not None:
            errors.append(("source", str(error)))
        else:
            self.acknowledged[(message.partition(), message.offset())] = message.value()


def owners(members):
    return [sorted(member.owned) for member in members]


def settled(members):
    """All partitions are owned, each by one member, and every member has some."""
    owned = [partition for member in members for partition in member.owned]
    return sorted(owned) == list(range(PARTITIONS)) and all(member.owned for member in members)


def progress(members, what):
    until(lambda: settled(members), lambda: f"{what}: a settled group; owners {owners(members)}")
    goal = {member: member.processed + 30 for member in members}
    until(lambda: all(member.processed >= goal[member] for member in members), f"{what}: progress of every member")
    say("settled", what, owners(members))


def committed():
    partitions = [TopicPartition(TOPIC, partition) for partition in range(PARTITIONS)]
    request = [ConsumerGroupTopicPartitions(GROUP, partitions)]

    def asked():
        try:
            return admin.list_consumer_group_offsets(request)[GROUP].result(60)
        except KafkaException as error:
            # A coordinator that has just started says so; the client's administrator does not try again.
            check(error.args[0].name() in ("COORDINATOR_LOAD_IN_PROGRESS", "NOT_COORDINATOR"), error)
            return None

    answer = until(asked, "the committed offsets")
    return {partition.partition: partition.offset for partition in answer.topic_partitions}


admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
create_topics(BOOTSTRAP, PARTITIONS, TOPIC)
source = Source()

members = [Member("m1")]
progress(members, "one")
members.append(Member("m2"))
members.append(Member("m3"))
progress(members, "three")
members.pop(1).leave()
progress(members, "one left")
members.append(Member("m4"))
progress(members, "another joined")
for turn in range(2):
    say("restart", turn)
    told()
    progress(members, "after a restart")

source.stopping.set()
source.join(120)
check(not source.is_alive(), "the source does not end")
until(lambda: all(place in seen for place in source.acknowledged),
      lambda: f"every acknowledged record processed; missing "
              f"{sorted(place for place in source.acknowledged if place not in seen)[:10]}")
for place, value in source.acknowledged.items():
    check(set(seen[place]) == {value}, "another record at", place, seen[place], value)
ends = {}
for partition, offset in seen:
    ends[partition] = max(ends.get(partition, 0), offset + 1)
for member in members:
    member.leave()
check(not errors, errors)
check(committed() == ends, "committed", committed(), "processed to", ends)
say("restart", "with committed offsets")
told()
check(committed() == ends, "after the restart committed", committed(), "processed to", ends)
again = sum(len(values) - 1 for values in seen.values())
say("done", len(source.acknowledged), "acknowledged,", len(seen), "processed,", again, "of them again")
