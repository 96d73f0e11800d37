"""Making topics."""

from confluent_kafka.admin import AdminClient, NewTopic


def create_topics(bootstrap, partitions, *names, config=None):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    # Records may be as old as a test likes.
    config = {"retention.ms": "-1"} | (config or {})
    topics = [NewTopic(name, partitions, 1, config=config) for name in names]
    for future in admin.create_topics(topics).values():
        future.result(60)
