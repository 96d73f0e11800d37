"""kafka-python, a client of its own in pure Python: writes every codec, reads in a group of two, commits, administers.

kafka_python_client.py BOOTSTRAP
"""

import sys
import threading

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewPartitions, NewTopic
from kafka.errors import KafkaError

from records import CODECS, FIRST_TIMESTAMP_MS
from talk import check, say, until

BOOTSTRAP = sys.argv[1]
PARTITIONS = 4
COUNT = 500
GROUP = "kafka-python"


def value(codec, number):
    return f"{codec} {number} ".encode() * (number % 200 + 1)


def write(codec):
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, acks="all", linger_ms=5,
                             compression_type=None if codec == "none" else codec)
    sent = [producer.send("python", value(codec, number), key=b"%d" % number, partition=number % PARTITIONS,
                          headers=[("codec", codec.encode()), ("empty", b"")], timestamp_ms=FIRST_TIMESTAMP_MS + number)
            for number in range(COUNT)]
    producer.flush(60)
    offsets = {}
    for number, future in enumerate(sent):
        offsets.setdefault(number % PARTITIONS, []).append(future.get(60).offset)
    for partition, found in offsets.items():
        check(found == list(range(found[0], found[0] + len(found))), codec, partition, "offsets have holes:", found)
    producer.close()


class Member(threading.Thread):
    """Reads and remembers until it is told to leave; commits what it read."""

    def __init__(self):
        super().__init__(daemon=True)
        self.seen = []
        self.owned = 0
        self.leaving = threading.Event()
        self.start()

    def run(self):
        consumer = KafkaConsumer("python", bootstrap_servers=BOOTSTRAP, group_id=GROUP, auto_offset_reset="earliest",
                                 enable_auto_commit=False, session_timeout_ms=10_000, heartbeat_interval_ms=500)
        while not self.leaving.is_set():
            polled = consumer.poll(timeout_ms=200)
            for records in polled.values():
                self.seen.extend(records)
            if polled:
                try:
                    consumer.commit()
                except KafkaError as error:  # in a rebalance; whoever has the partition next reads and commits it
                    say("note: commit:", error)
            self.owned = len(consumer.assignment())
        consumer.close()


admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)
admin.create_topics([NewTopic("python", 2, 1, topic_configs={"retention.ms": "-1"})])
admin.create_partitions({"python": NewPartitions(PARTITIONS)})
for codec in CODECS:
    write(codec)
say("written")

# One after the other: two that join at once make kafka-python 3.0 lose the answer to a SyncGroup, on Kafka too.
members = [Member()]
until(lambda: members[0].owned == PARTITIONS, lambda: f"the first member has all partitions, not {members[0].owned}")
members.append(Member())
until(lambda: [member.owned for member in members] == [2, 2],
      lambda: f"both members have two partitions, not {[member.owned for member in members]}")
reader = KafkaConsumer(bootstrap_servers=BOOTSTRAP, group_id=GROUP)
places = [TopicPartition("python", partition) for partition in range(PARTITIONS)]
ends = reader.end_offsets(places)
check(all(ends[place] == COUNT * len(CODECS) // PARTITIONS for place in places), ends)
committed = lambda: {place: reader.committed(place) for place in places}
until(lambda: committed() == ends, lambda: f"everything is committed, not {committed()}")
for member in members:
    member.leaving.set()
for member in members:
    member.join(60)
    check(not member.is_alive(), "a member does not leave")

# Whoever read before the second member came has handed over; nothing is missing, nothing is another record.
found = {(record.partition, record.offset): record for member in members for record in member.seen}
check(len(found) == COUNT * len(CODECS), len(found), "different records")
for record in found.values():
    codec, number = dict(record.headers)["codec"].decode(), int(record.key)
    check(record.value == value(codec, number), "another value at", record.partition, record.offset)
    check(record.headers == [("codec", codec.encode()), ("empty", b"")], "other headers", record.headers)
    check(record.timestamp == FIRST_TIMESTAMP_MS + number and record.partition == number % PARTITIONS, record)

check(committed() == ends, "committed", committed(), "ends", ends)
timed = reader.offsets_for_times({places[1]: FIRST_TIMESTAMP_MS + 201})
check(timed[places[1]].offset == 50 and timed[places[1]].timestamp == FIRST_TIMESTAMP_MS + 201, timed)
reader.close()

admin.delete_topics(["python"])
until(lambda: "python" not in admin.list_topics(), "the topic is gone")
say("done")
