"""One thing with one topic.

topic.py create-topic|delete-topic BOOTSTRAP TOPIC      says "created TOPIC", "deleted TOPIC", or "error NAME"
topic.py write-marked BOOTSTRAP TOPIC COUNT             each record alone, with its number in it
topic.py read BOOTSTRAP TOPIC PARTITION                 says "read N", or "error NAME" for the consumer's error
"""

import sys

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from talk import check, say
from topics import create_topics


def told(future, word, topic):
    try:
        future.result(60)
        say(word, topic)
    except KafkaException as error:
        say("error", error.args[0].name())


def create_topic(bootstrap, topic):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    told(admin.create_topics([NewTopic(topic, 1, 1)], request_timeout=10)[topic], "created", topic)


def delete_topic(bootstrap, topic):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    told(admin.delete_topics([topic], request_timeout=30)[topic], "deleted", topic)


def write_marked(bootstrap, topic, count):
    create_topics(bootstrap, 1, topic)
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    for number in range(int(count)):
        producer.produce(topic, f"MARKED-{number:04}-" * 1_000, partition=0)
        check(producer.flush(60) == 0)
    say("written", count)


def read(bootstrap, topic, partition):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False,
                         "auto.offset.reset": "error", "enable.partition.eof": True, "check.crcs": True})
    consumer.assign([TopicPartition(topic, int(partition), 0)])
    count = 0
    while True:
        message = consumer.poll(20)
        if message is None:
            say("error nothing comes after", count)
            return
        if message.error() is None:
            check(message.offset() == count, "offset", message.offset(), "after", count - 1)
            count += 1
        elif message.error().name() == "_PARTITION_EOF":
            say("read", count)
            return
        else:
            say("error", message.error().name(), "after", count)
            return


ACTIONS = {"create-topic": create_topic, "delete-topic": delete_topic, "write-marked": write_marked, "read": read}
ACTIONS[sys.argv[1]](*sys.argv[2:])
