"""aiokafka, on asyncio: an idempotent producer, a group whose second member comes later, seeks.

aiokafka_client.py BOOTSTRAP
"""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from records import CODECS, FIRST_TIMESTAMP_MS
from talk import check, say

BOOTSTRAP = sys.argv[1]
PARTITIONS = 4
COUNT = 500
LIMIT = 60


async def write(codec):
    producer = AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, enable_idempotence=True, linger_ms=5,
                                compression_type=None if codec == "none" else codec)
    async with producer:
        sent = [await producer.send("asyncio", f"{codec} {number}".encode(), key=b"k", partition=number % PARTITIONS,
                                    timestamp_ms=FIRST_TIMESTAMP_MS + number, headers=[("n", b"%d" % number)])
                for number in range(COUNT)]
        await asyncio.wait_for(asyncio.gather(*sent), LIMIT)


def member():
    return AIOKafkaConsumer("asyncio", bootstrap_servers=BOOTSTRAP, group_id="aiokafka", auto_offset_reset="earliest",
                            enable_auto_commit=False, session_timeout_ms=10_000, heartbeat_interval_ms=500)


async def read(consumer, into):
    while True:
        for records in (await consumer.getmany(timeout_ms=200)).values():
            into.update({(record.partition, record.offset): record for record in records})


async def eventually(holds, what):
    for _ in range(LIMIT * 20):
        if holds():
            return
        await asyncio.sleep(0.05)
    check(False, "not in time:", what())


async def main():
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    await admin.start()
    await admin.create_topics([NewTopic("asyncio", PARTITIONS, 1, topic_configs={"retention.ms": "-1"})])
    for codec in CODECS:
        await write(codec)

    found = {}
    async with member() as first, member() as second:
        readers = [asyncio.create_task(read(consumer, found)) for consumer in (first, second)]
        await eventually(lambda: len(first.assignment()) == len(second.assignment()) == 2,
                         lambda: f"two partitions each: {first.assignment()} {second.assignment()}")
        await eventually(lambda: len(found) == COUNT * len(CODECS), lambda: f"{len(found)} records")
        for reader in readers:
            check(not reader.done() or reader.exception() is None, reader)
            reader.cancel()
        for consumer in (first, second):
            await consumer.commit()
    for place, record in found.items():
        codec, number = CODECS[place[1] // (COUNT // PARTITIONS)], int(record.headers[0][1])
        check(record.value == f"{codec} {number}".encode(), "another value at", place, record.value)
        check(record.timestamp == FIRST_TIMESTAMP_MS + number, "another timestamp at", place)

    places = [TopicPartition("asyncio", partition) for partition in range(PARTITIONS)]
    async with member() as again:
        await eventually(lambda: len(again.assignment()) == PARTITIONS, lambda: str(again.assignment()))
        ends = await again.end_offsets(places)
        committed = {place: await again.committed(place) for place in places}
        check(committed == ends and set(ends.values()) == {COUNT * len(CODECS) // PARTITIONS}, committed, ends)
        await again.seek_to_beginning(places[2])
        record = await asyncio.wait_for(again.getone(places[2]), LIMIT)
        check(record.offset == 0 and record.value == b"none 2", record)
    await admin.delete_topics(["asyncio"])
    await admin.close()
    say("done")


asyncio.run(main())
