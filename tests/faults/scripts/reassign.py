"""Moves topics.

reassign.py BOOTSTRAP
Told "TOPIC NODE": has that node lead all partitions, asked for with one request, and says "moved" once it does. Told
"enough": ends.
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
    topic, node = word.split()
    places = {TopicPartition(topic, index): [int(node)] for index in leaders(topic)}
    for place, refused in admin.alter_partition_reassignments(places).items():
        check(refused is None, place, refused)
    until(lambda: set(leaders(topic).values()) == {int(node)}, f"{topic} goes to {node}")
    say("moved")
