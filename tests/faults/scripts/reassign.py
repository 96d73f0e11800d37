"""Moves partitions.

reassign.py BOOTSTRAP
Told "TOPIC PARTITION NODE": has that node lead the partition, and says "moved" once it does. "*" for PARTITION means all of
them, with one request. Told "enough": ends.
"""

import sys

from kafka import KafkaAdminClient, TopicPartition

from talk import check, say, told, until

# For what the test does meanwhile.
LONGEST_S = 1_800

admin = KafkaAdminClient(bootstrap_servers=sys.argv[1].split(","))


def leaders(topic):
    [told] = admin.describe_topics([topic])
    return {one["partition_index"]: one["leader_id"] for one in told["partitions"]}


while (word := told(LONGEST_S)) != "enough":
    topic, index, node = word.split()
    indexes = list(leaders(topic)) if index == "*" else [int(index)]
    places = {TopicPartition(topic, index): [int(node)] for index in indexes}
    for place, refused in admin.alter_partition_reassignments(places).items():
        check(refused is None, place, refused)

    def moved():
        now = leaders(topic)
        return all(now[index] == int(node) for index in indexes)

    until(moved, f"{topic}-{index} goes to {node}")
    say("moved")
