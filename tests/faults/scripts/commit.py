"""Commits rising offsets for a group until told to stop, and says what the group has in the end.

commit.py BOOTSTRAP TOPIC PARTITIONS GROUP
Told "look" (all nodes must be well): compares what is committed with what was acknowledged, says "looked OFFSET".
Told "stop": ends the commits. Told "check" (the node may have been restarted): compares, says "checked N commits".
"""

import sys
import time

from confluent_kafka import Consumer, KafkaException, TopicPartition

from talk import check, say, told, told_already, until

BOOTSTRAP, TOPIC, PARTITIONS, GROUP = sys.argv[1:]
places = range(int(PARTITIONS))
settings = {"bootstrap.servers": BOOTSTRAP, "group.id": GROUP, "enable.auto.commit": False, "socket.timeout.ms": 10_000,
            "reconnect.backoff.max.ms": 200, "log_level": 2}
consumer = Consumer(settings)
tried = acknowledged = commits = 0


def committed():
    try:
        return consumer.committed([TopicPartition(TOPIC, place) for place in places], timeout=10)
    except KafkaException:
        return None


def compare():
    """No acknowledged commit may be gone: the newest one is there, or a later one that had no answer. A coordinator that does not
    know yet that it is none may tell old news; what is lost stays lost."""

    def there():
        found = committed()
        return found and all(place.error is None and acknowledged <= max(place.offset, 0) <= tried for place in found)

    until(there, lambda: f"commits: acknowledged {acknowledged}, tried {tried}, found {committed()}", 30)


while (word := told_already()) != "stop":
    if word == "look":
        compare()
        say("looked", acknowledged)
    tried += 1
    try:
        answer = consumer.commit(offsets=[TopicPartition(TOPIC, place, tried) for place in places], asynchronous=False)
        if all(place.error is None for place in answer):
            acknowledged = tried
            commits += 1
    except KafkaException:  # the node is away, or begins anew: the next one counts
        pass
    time.sleep(0.01)  # the pace of the source, nothing waits for it
say("stopped", commits)
check(told() == "check")
compare()
check(commits > 0, "no commit was acknowledged")
say("checked", commits, "commits")
