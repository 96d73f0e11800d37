"""Static members: a member that comes back keeps its partitions, an impostor fences the older one.

static_members.py BOOTSTRAP TOPIC GROUP
"""

import sys

from confluent_kafka import Consumer

from talk import check, say, until
from topics import create_topics

BOOTSTRAP, TOPIC, GROUP = sys.argv[1:]


class Member:
    def __init__(self, instance):
        self.owned = None
        self.rebalances = 0
        self.fatal = None
        self.consumer = Consumer({
            "bootstrap.servers": BOOTSTRAP,
            "group.id": GROUP,
            "group.instance.id": instance,
            "partition.assignment.strategy": "range",
            "session.timeout.ms": 30_000,
            "heartbeat.interval.ms": 300,
            "enable.auto.commit": False,
            "error_cb": self.failed,
        })
        self.consumer.subscribe([TOPIC], on_assign=self.assigned)

    def assigned(self, consumer, partitions):
        self.owned = sorted(partition.partition for partition in partitions)
        self.rebalances += 1

    def failed(self, error):
        if error.name() == "_FATAL":
            self.fatal = str(error)

    def poll(self):
        message = self.consumer.poll(0.05)
        if message is not None and message.error() is not None and message.error().name() == "_FATAL":
            self.fatal = str(message.error())


create_topics(BOOTSTRAP, 4, TOPIC)


def drive(members, condition, what):
    def step():
        for member in members:
            member.poll()
        return condition()

    until(step, what)


first, second = Member("one"), Member("two")
drive([first, second], lambda: (first.owned or []) + (second.owned or []) and
      sorted((first.owned or []) + (second.owned or [])) == [0, 1, 2, 3] and first.owned and second.owned, "two members")
rebalances, owned = first.rebalances, second.owned
second.consumer.close()
second = Member("two")
drive([first, second], lambda: second.owned, "the member that came back")
check(second.owned == owned, "it had", owned, "and has", second.owned)
for _ in range(20):  # several heartbeats: a rebalance would have reached the other by now
    first.poll()
    second.poll()
check(first.rebalances == rebalances, "the other member was rebalanced")
say("kept", owned)

impostor = Member("two")
drive([first, second, impostor], lambda: second.fatal and impostor.owned, lambda: f"the older member is fenced: {second.fatal} {impostor.owned} {impostor.fatal}")
check("instance" in second.fatal.lower() or "fenced" in second.fatal.lower(), second.fatal)
say("fenced", second.fatal)
first.consumer.close()
impostor.consumer.close()
