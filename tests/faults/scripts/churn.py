"""Makes, changes and deletes topics until told to stop; then all of it must be so.

churn.py BOOTSTRAP
Told "stop": ends. Told "check" (the node may have been restarted): compares, says "checked N topics made M deleted".
"""

import sys
import time

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from talk import check, say, told, told_already, until

BOOTSTRAP = sys.argv[1]
KEPT = 4
admin = AdminClient({"bootstrap.servers": BOOTSTRAP, "reconnect.backoff.max.ms": 200, "log_level": 2})
producer = Producer({"bootstrap.servers": BOOTSTRAP, "reconnect.backoff.max.ms": 200, "message.timeout.ms": 30_000, "log_level": 2})
made, deleted, unsure, retention = [], [], set(), {}


def tried(futures):
    """Whether all of it was acknowledged."""
    try:
        for future in futures.values():
            future.result(20)
        return True
    except KafkaException:
        return False


def resource(name, value=None):
    entries = [] if value is None else [ConfigEntry("retention.ms", value, incremental_operation=AlterConfigOpType.SET)]
    return ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)


number = 0
while told_already() != "stop":
    name = f"churn-{number}"
    number += 1
    if not tried(admin.create_topics([NewTopic(name, 1 + number % 3, 1)], request_timeout=5)):
        unsure.add(name)
        continue
    made.append(name)
    for _ in range(20):
        producer.produce(name, b"x" * 1_000)
    producer.poll(0)
    value = str(3_600_000 + number)
    if tried(admin.incremental_alter_configs([resource(name, value)], request_timeout=5)):
        retention[name] = value
    if len(made) > KEPT:
        victim = made.pop(0)
        if tried(admin.delete_topics([victim], request_timeout=5)):
            deleted.append(victim)
        else:
            unsure.add(victim)
    time.sleep(0.02)  # the pace of the source, nothing waits for it
producer.flush(60)
say("stopped")
check(told() == "check")
# One that has no part in what went before.
admin = AdminClient({"bootstrap.servers": BOOTSTRAP, "log_level": 2})


def topics():
    try:
        return set(admin.list_topics(timeout=10).topics)
    except KafkaException:
        return None


names = until(topics, "the topics")
for name in made:
    check(name in names, "made and lost:", name)
for name in deleted:
    check(name not in names, "deleted and there again:", name)
for name in made:
    if name in retention:
        [future] = admin.describe_configs([resource(name)], request_timeout=20).values()
        found = future.result(30)["retention.ms"].value
        check(found == retention[name], name, "retention.ms", found, "acknowledged was", retention[name])
say("checked", len(made) + len(deleted), "topics made,", len(deleted), "deleted")
