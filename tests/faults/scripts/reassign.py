"""Moves partitions.

reassign.py BOOTSTRAP
Told "TOPIC PARTITION NODE": has that node lead the partition, and says "moved" once it does. Told "enough": ends.
"""

import sys

from kafka import KafkaAdminClient, TopicPartition

from talk import check, say, told, until

# For what the test does meanwhile.
LONGEST_S = 600

admin = KafkaAdminClient(bootstrap_servers=sys.argv[1].split(","))


def leader(topic, index):
    [told] = admin.describe_topics([topic])
    return next(one["leader_id"] for one in told["partitions"] if one["partition_index"] == index)


while (word := told(LONGEST_S)) != "enough":
    topic, index, node = word.split()
    place = TopicPartition(topic, int(index))
    refused = admin.alter_partition_reassignments({place: [int(node)]})[place]
    check(refused is None, refused)
    until(lambda: leader(topic, int(index)) == int(node), f"{topic}-{index} goes to {node}")
    say("moved")
