"""The same raw calls to any broker; prints one line a call, to be compared between two brokers.

differential.py BOOTSTRAP
"""

import struct
import sys
import time

from records import FIRST_TIMESTAMP_MS
from talk import say, until
from topics import create_topics
from wire import Connection, batch

BOOTSTRAP = sys.argv[1]
wire = Connection(BOOTSTRAP)


def show(name, *answer):
    say("answer", name, "->", *answer)


def loaded(call):
    """The answer, once the coordinator has loaded what it keeps (14, 15, 16 say that it has not)."""
    return until(lambda: answer if (answer := call())["error"] not in (14, 15, 16) else None, "the coordinator is ready")


# Configurations first: everything a topic has.
create_topics(BOOTSTRAP, 2, "plain")
create_topics(BOOTSTRAP, 1, "compacted", config={"cleanup.policy": "compact"})
create_topics(BOOTSTRAP, 1, "small", config={"max.message.bytes": "1000"})
create_topics(BOOTSTRAP, 1, "stamped", config={"message.timestamp.type": "LogAppendTime"})
create_topics(BOOTSTRAP, 1, "gone")

CONFIGS = [("throttle", "i32"), ("results", [
    ("error", "i16"), ("message", "nstr"), ("type", "i8"), ("name", "str"), ("configs", [
        ("name", "str"), ("value", "nstr"), ("read_only", "bool"), ("source", "i8"), ("sensitive", "bool"),
        ("synonyms", [("name", "str"), ("value", "nstr"), ("source", "i8")]), ("kind", "i8"), ("doc", "nstr")])])]


def describe_configs(kind, name, names=None):
    request = [("resources", [("type", "i8"), ("name", "str"), ("names", ["str"])]), ("synonyms", "bool"), ("docs", "bool")]
    values = {"resources": [{"type": kind, "name": name, "names": names}], "synonyms": True, "docs": True}
    return wire.call(32, 3, request, values, CONFIGS)["results"][0]


for topic in ["plain", "compacted", "small"]:
    for config in sorted(describe_configs(2, topic)["configs"], key=lambda config: config["name"]):
        synonyms = [(synonym["value"], synonym["source"]) for synonym in config["synonyms"]]
        show(f"config {topic} {config['name']}", config["value"], config["read_only"], config["source"],
             config["sensitive"], config["kind"], "documented" if config["doc"] else "undocumented", synonyms)
show("configs of an absent topic", describe_configs(2, "absent")["error"])
show("configs of a bad topic name", describe_configs(2, "a b")["error"])
show("configs of another broker", describe_configs(4, "99")["error"])
show("configs of no broker number", describe_configs(4, "one")["error"])
show("one config by name", [config["name"] for config in describe_configs(2, "plain", ["retention.ms"])["configs"]])


# Broker options that both have: their types.
OPTIONS = """node.id process.roles broker.rack controller.quorum.bootstrap.servers controller.quorum.voters listeners
advertised.listeners listener.security.protocol.map socket.request.max.bytes queued.max.request.bytes max.connections
max.connections.per.ip connections.max.idle.ms max.incremental.fetch.session.cache.slots fetch.max.bytes num.partitions
default.replication.factor auto.create.topics.enable min.insync.replicas message.max.bytes compression.type
log.cleanup.policy log.retention.ms log.retention.minutes log.retention.hours log.retention.bytes
log.retention.check.interval.ms log.segment.bytes log.message.timestamp.type log.message.timestamp.before.max.ms
log.message.timestamp.after.max.ms offsets.topic.num.partitions offsets.topic.replication.factor
offsets.retention.minutes offsets.retention.check.interval.ms offset.metadata.max.bytes group.initial.rebalance.delay.ms
group.min.session.timeout.ms group.max.session.timeout.ms group.max.size producer.id.expiration.ms""".split()
kinds = {config["name"]: config["kind"] for config in describe_configs(4, "1", OPTIONS)["configs"]}
for name in OPTIONS:
    show(f"type of the broker's {name}", kinds.get(name))


def alter(topic, *changes, validate=False):
    request = [("resources", [("type", "i8"), ("name", "str"), ("configs", [
        ("name", "str"), ("operation", "i8"), ("value", "nstr")])]), ("validate", "bool")]
    response = [("throttle", "i32"), ("results", [("error", "i16"), ("message", "nstr"), ("type", "i8"), ("name", "str")])]
    configs = [{"name": name, "operation": operation, "value": value} for name, operation, value in changes]
    values = {"resources": [{"type": 2, "name": topic, "configs": configs}], "validate": validate}
    return wire.call(44, 0, request, values, response)["results"][0]["error"]


SET, DELETE, APPEND, SUBTRACT = range(4)
show("alter an absent topic", alter("absent", ("retention.ms", SET, "1")))
show("alter twice the same", alter("plain", ("retention.ms", SET, "1"), ("retention.ms", SET, "2")))
show("alter an unknown operation", alter("plain", ("retention.ms", 9, "1")))
show("alter to null", alter("plain", ("retention.ms", SET, None)))
show("alter a bad value", alter("plain", ("cleanup.policy", SET, "shred")))
show("alter, validate only", alter("plain", ("retention.ms", SET, "123"), validate=True))
show("... leaves it", describe_configs(2, "plain", ["retention.ms"])["configs"][0]["value"])
show("append twice", alter("plain", ("cleanup.policy", APPEND, "compact")), alter("plain", ("cleanup.policy", APPEND, "compact")))
show("... makes", describe_configs(2, "plain", ["cleanup.policy"])["configs"][0]["value"])
show("subtract", alter("plain", ("cleanup.policy", SUBTRACT, "compact")))
show("... makes", describe_configs(2, "plain", ["cleanup.policy"])["configs"][0]["value"])
show("delete", alter("plain", ("cleanup.policy", DELETE, None)))

# Produce.
PRODUCE = [("transactional", "nstr"), ("acks", "i16"), ("timeout", "i32"),
           ("topics", [("name", "str"), ("partitions", [("index", "i32"), ("records", "bytes")])])]
PRODUCED = [("topics", [("name", "str"), ("partitions", [
    ("index", "i32"), ("error", "i16"), ("base", "i64"), ("append_time", "i64"), ("start", "i64"),
    ("errors", [("index", "i32"), ("message", "nstr")]), ("message", "nstr")])]), ("throttle", "i32")]
OLD_PRODUCED = [("topics", [("name", "str"), ("partitions", [
    ("index", "i32"), ("error", "i16"), ("base", "i64"), ("append_time", "i64"), ("start", "i64")])]), ("throttle", "i32")]


def produce(records, topic="plain", partition=0, acks=-1, version=8, transactional=None):
    values = {"transactional": transactional, "acks": acks, "timeout": 30_000,
              "topics": [{"name": topic, "partitions": [{"index": partition, "records": records}]}]}
    answer = wire.call(0, version, PRODUCE, values, PRODUCED if version >= 8 else OLD_PRODUCED)
    return answer["topics"][0]["partitions"][0]


def shown(answer):
    # Kafka tells the log start with some errors and -1 with others; no client looks at it then.
    start = answer["start"] if answer["error"] == 0 else "any"
    return (answer["error"], answer["base"], "now" if answer["append_time"] > 0 else answer["append_time"], start,
            [(error["index"], bool(error["message"])) for error in answer.get("errors", [])])


now = int(time.time() * 1_000)
ZSTD_EMPTY = bytes.fromhex("28b52ffd2000010000")
for name, answer in {
    "one record": lambda: produce(batch([b"a"])),
    "three records": lambda: produce(batch([b"b", b"c", b"d"], timestamp=FIRST_TIMESTAMP_MS + 5_000)),
    "old version 5": lambda: produce(batch([b"e"]), version=5),
    "absent topic": lambda: produce(batch([b"a"]), topic="absent"),
    "absent partition": lambda: produce(batch([b"a"]), partition=7),
    "bad topic name": lambda: produce(batch([b"a"]), topic="a b"),
    "acks 2": lambda: produce(batch([b"a"]), acks=2),
    "acks -2": lambda: produce(batch([b"a"]), acks=-2),
    "acks 1": lambda: produce(batch([b"f"]), acks=1),
    "bad crc": lambda: produce(batch([b"a"], crc_xor=1)),
    "magic 1": lambda: produce(batch([b"a"], magic=1)),
    "magic 3": lambda: produce(batch([b"a"], magic=3)),
    "two batches": lambda: produce(batch([b"a"]) + batch([b"b"])),
    "no records": lambda: produce(b""),
    "an empty batch": lambda: produce(batch([])),
    "truncated": lambda: produce(batch([b"abc" * 100])[:-10]),
    "control batch": lambda: produce(batch([b"a"], attributes=0x20)),
    "transactional batch without id": lambda: produce(batch([b"a"], attributes=0x10, producer=(9, 0, 0))),
    "count too large": lambda: produce(batch([b"a"], count=2)),
    "last delta too large": lambda: produce(batch([b"a"], last_delta=5)),
    "first delta not 0": lambda: produce(batch([b"a"], first_delta=1)),
    "base offset not 0": lambda: produce(batch([b"g"], base_offset=77)),
    "too large": lambda: produce(batch([b"x" * 2_000]), topic="small"),
    "fits": lambda: produce(batch([b"x" * 500]), topic="small"),
    "keyless on compacted": lambda: produce(batch([b"a", b"b"], keys=[b"k", None]), topic="compacted"),
    "keyed on compacted": lambda: produce(batch([b"a", b"b"], keys=[b"k", b"l"]), topic="compacted"),
    "two hours ahead": lambda: produce(batch([b"a"], timestamp=now + 7_200_000)),
    "log append time": lambda: produce(batch([b"a"]), topic="stamped"),
    "zstd in version 5": lambda: produce(batch([], attributes=4, count=1, last_delta=0, payload=ZSTD_EMPTY), version=5),
    "an unknown codec": lambda: produce(batch([b"a"], attributes=6)),
    "garbage for gzip": lambda: produce(batch([b"a"], attributes=1, payload=b"no gzip at all"), topic="stamped"),
}.items():
    show(f"produce {name}", *shown(answer()))

# Idempotence by hand.
PRODUCER = [("transactional", "nstr"), ("timeout", "i32")]
IDENTITY = [("throttle", "i32"), ("error", "i16"), ("id", "i64"), ("epoch", "i16")]
identity = loaded(lambda: wire.call(22, 1, PRODUCER, {"transactional": None, "timeout": 60_000}, IDENTITY))
show("producer id", identity["error"], identity["id"] >= 0, identity["epoch"])
empty = wire.call(22, 1, PRODUCER, {"transactional": "", "timeout": 60_000}, IDENTITY)
show("empty transactional id", empty["error"], empty["id"])


def sequenced(sequence, epoch=0, values=(b"s",)):
    return shown(produce(batch(list(values), producer=(identity["id"], epoch, sequence)), partition=1))


show("sequence 0", *sequenced(0))
show("sequence 1", *sequenced(1, values=(b"s", b"t")))
show("sequence 0 again", *sequenced(0))
show("sequence 1 again", *sequenced(1, values=(b"s", b"t")))
show("sequence 5, a gap", *sequenced(5))
show("sequence 3", *sequenced(3))
show("epoch 1 begins at 3", *sequenced(3, epoch=1))
show("epoch 1 begins at 0", *sequenced(0, epoch=1))
show("epoch 0 is fenced", *sequenced(4, epoch=0))
for sequence in range(1, 7):
    sequenced(sequence, epoch=1)
show("an old duplicate", *sequenced(0, epoch=1))
show("negative sequence", *shown(produce(batch([b"a"], producer=(identity["id"], 1, -1)), partition=1)))
show("a new producer begins at 5", *shown(produce(batch([b"a"], producer=(10**9, 0, 5)), partition=1)))

# Fetch.
FETCH = [("replica", "i32"), ("max_wait", "i32"), ("min_bytes", "i32"), ("max_bytes", "i32"), ("isolation", "i8"),
         ("session", "i32"), ("session_epoch", "i32"),
         ("topics", [("name", "str"), ("partitions", [
             ("index", "i32"), ("leader_epoch", "i32"), ("offset", "i64"), ("log_start", "i64"), ("max_bytes", "i32")])]),
         ("forgotten", [("name", "str"), ("partitions", ["i32"])]), ("rack", "str")]
FETCHED = [("throttle", "i32"), ("error", "i16"), ("session", "i32"), ("topics", [
    ("name", "str"), ("partitions", [
        ("index", "i32"), ("error", "i16"), ("high_watermark", "i64"), ("stable", "i64"), ("log_start", "i64"),
        ("aborted", [("producer", "i64"), ("first", "i64")]), ("replica", "i32"), ("records", "bytes")])])]


def fetch(offset, topic="plain", partition=0, leader_epoch=-1, session=0, session_epoch=-1, max_bytes=1 << 20,
          partition_bytes=1 << 20, isolation=0, wait=100, topics=True):
    partitions = [{"index": partition, "leader_epoch": leader_epoch, "offset": offset, "log_start": -1,
                   "max_bytes": partition_bytes}]
    values = {"replica": -1, "max_wait": wait, "min_bytes": 1, "max_bytes": max_bytes, "isolation": isolation,
              "session": session, "session_epoch": session_epoch, "forgotten": [], "rack": "",
              "topics": [{"name": topic, "partitions": partitions}] if topics else []}
    return wire.call(1, 11, FETCH, values, FETCHED)


def fetched(answer):
    if not answer["topics"]:
        return answer["error"], "no topics"
    found = answer["topics"][0]["partitions"][0]
    records = found["records"] or b""
    bases = []
    while len(records) >= 61:
        base, length = struct.unpack(">qi", records[:12])
        bases.append((base, base + struct.unpack(">i", records[23:27])[0]))
        records = records[12 + length:]
    if found["error"] != 0:
        return answer["error"], found["error"], bases, len(records)
    return answer["error"], found["error"], found["high_watermark"], found["stable"], found["log_start"], bases, len(records)


show("fetch all", *fetched(fetch(0)))
show("fetch from the middle of a batch", *fetched(fetch(2)))
show("fetch at the end", *fetched(fetch(7)))
show("fetch one byte", *fetched(fetch(1, max_bytes=1, partition_bytes=1)))
show("fetch 100 bytes", *fetched(fetch(0, partition_bytes=100)))
show("fetch read committed", *fetched(fetch(0, isolation=1)))
show("fetch beyond the end", *fetched(fetch(1_000)))
show("fetch at -1", *fetched(fetch(-1)))
show("fetch an absent topic", *fetched(fetch(0, topic="absent")))
show("fetch an absent partition", *fetched(fetch(0, partition=9)))
show("fetch with a newer leader epoch", *fetched(fetch(0, leader_epoch=1_000)))
show("fetch in an unknown session", *fetched(fetch(0, session=12345, session_epoch=1)))
first = fetch(0, session_epoch=0)
show("fetch opens a session", first["session"] != 0, *fetched(first))
show("fetch in the session", *fetched(fetch(0, session=first["session"], session_epoch=1, topics=False)))
show("fetch with a wrong session epoch", *fetched(fetch(0, session=first["session"], session_epoch=9, topics=False)))
V13 = [("max_wait", "i32"), ("min_bytes", "i32"), ("max_bytes", "i32"), ("isolation", "i8"), ("session", "i32"),
       ("session_epoch", "i32"), ("topics", ([("id", "uuid"), ("partitions", ([
           ("index", "i32"), ("leader_epoch", "i32"), ("offset", "i64"), ("fetched_epoch", "i32"), ("log_start", "i64"),
           ("max_bytes", "i32"), ("", "tags")],)), ("", "tags")],)),
       ("forgotten", ([("id", "uuid")],)), ("rack", "cstr"), ("", "tags")]
V13_ANSWER = [("throttle", "i32"), ("error", "i16"), ("session", "i32"), ("topics", ([
    ("id", "uuid"), ("partitions", ([
        ("index", "i32"), ("error", "i16"), ("high_watermark", "i64"), ("stable", "i64"), ("log_start", "i64"),
        ("aborted", ([("producer", "i64"), ("first", "i64"), ("", "tags")],)), ("replica", "i32"), ("records", "cbytes"),
        ("", "tags")],)), ("", "tags")],)), ("", "tags")]
partition = {"index": 0, "leader_epoch": -1, "offset": 0, "fetched_epoch": -1, "log_start": -1, "max_bytes": 1000}
for version in (13, 16):
    V13_REQUEST = V13 if version >= 15 else [("replica", "i32"), *V13]
    answer = wire.call(1, version, V13_REQUEST, {
        "replica": -1, "max_wait": 0, "min_bytes": 1, "max_bytes": 1000, "isolation": 0, "session": 0, "session_epoch": -1,
        "topics": [{"id": b"unknown-topic-id", "partitions": [partition]}], "forgotten": [], "rack": ""}, V13_ANSWER, True)
    show(f"fetch {version} of an unknown topic id", answer["error"], answer["topics"][0]["partitions"][0]["error"])

# Offsets.
LIST = [("replica", "i32"), ("isolation", "i8"), ("topics", [("name", "str"), ("partitions", [
    ("index", "i32"), ("leader_epoch", "i32"), ("timestamp", "i64")])])]
LISTED = [("throttle", "i32"), ("topics", [("name", "str"), ("partitions", [
    ("index", "i32"), ("error", "i16"), ("timestamp", "i64"), ("offset", "i64"), ("leader_epoch", "i32")])])]


def offset(timestamp, topic="plain", partition=0, leader_epoch=-1):
    values = {"replica": -1, "isolation": 0, "topics": [{"name": topic, "partitions": [
        {"index": partition, "leader_epoch": leader_epoch, "timestamp": timestamp}]}]}
    found = wire.call(2, 5, LIST, values, LISTED)["topics"][0]["partitions"][0]
    return found["error"], found["timestamp"], found["offset"]


for timestamp in [-1, -2, 0, FIRST_TIMESTAMP_MS, FIRST_TIMESTAMP_MS + 1, FIRST_TIMESTAMP_MS + 5_000,
                  FIRST_TIMESTAMP_MS + 5_001, now]:
    show(f"offset at {'now' if timestamp == now else timestamp}", *offset(timestamp))
show("max timestamp before version 7", offset(-3)[0])
show("offset of an absent topic", *offset(-1, topic="absent"))
show("offset of an absent partition", *offset(-1, partition=9))
show("offset with a newer leader epoch", *offset(-1, leader_epoch=1_000))
EPOCH = [("replica", "i32"), ("topics", [("name", "str"), ("partitions", [
    ("index", "i32"), ("current", "i32"), ("epoch", "i32")])])]
EPOCH_END = [("throttle", "i32"), ("topics", [("name", "str"), ("partitions", [
    ("error", "i16"), ("index", "i32"), ("epoch", "i32"), ("end", "i64")])])]
for name, topic, current, epoch in [("an unknown epoch", "plain", -1, 1_000), ("no epoch", "plain", -1, -1),
                                    ("a newer current epoch", "plain", 1_000, 0), ("an absent topic", "absent", -1, 0)]:
    found = wire.call(23, 3, EPOCH, {"replica": -2, "topics": [{"name": topic, "partitions": [
        {"index": 0, "current": current, "epoch": epoch}]}]}, EPOCH_END)["topics"][0]["partitions"][0]
    show(f"end of {name}", found["error"], found["epoch"], found["end"])

# Topics.
CREATE = [("topics", [("name", "str"), ("partitions", "i32"), ("factor", "i16"),
                      ("assignments", [("index", "i32"), ("brokers", ["i32"])]),
                      ("configs", [("name", "str"), ("value", "nstr")])]), ("timeout", "i32"), ("validate", "bool")]
CREATED = [("throttle", "i32"), ("topics", [("name", "str"), ("error", "i16"), ("message", "nstr")])]


def topic(name, partitions=1, factor=1, assignments=(), configs=()):
    return {"name": name, "partitions": partitions, "factor": factor,
            "assignments": [{"index": index, "brokers": brokers} for index, brokers in assignments],
            "configs": [{"name": key, "value": value} for key, value in configs]}


def create(*topics, validate=False):
    values = {"topics": list(topics), "timeout": 30_000, "validate": validate}
    return sorted((found["name"], found["error"]) for found in wire.call(19, 4, CREATE, values, CREATED)["topics"])


show("create good and bad", create(topic("c-good", 2), topic("c bad"), topic(""), topic("."), topic("c" * 250),
                                   topic("plain"), topic("c-none", 0), topic("c-negative", -3),
                                   topic("c-config", configs=[("no.such", "1")]),
                                   topic("c-null", configs=[("retention.ms", None)])))
show("create twice in one request", create(topic("twice"), topic("twice", 2)))
show("create with assignments", create(topic("c-assigned", -1, -1, [(0, [1]), (1, [1])])))
show("create with assignments and a number", create(topic("c-both", 2, 1, [(0, [1])])))
show("create with a hole in the assignments", create(topic("c-hole", -1, -1, [(0, [1]), (2, [1])])))
show("create for an unknown broker", create(topic("c-broker", -1, -1, [(0, [77])])))
show("create nothing", create())
GROW = [("topics", [("name", "str"), ("count", "i32"), ("assignments", [("brokers", ["i32"])])]), ("timeout", "i32"),
        ("validate", "bool")]


def grow(name, count, assignments=None):
    values = {"topics": [{"name": name, "count": count, "assignments": assignments}], "timeout": 30_000, "validate": False}
    return [found["error"] for found in wire.call(37, 1, GROW, values, CREATED)["topics"]]


until(lambda: offset(-1, topic="c-good", partition=1)[0] == 0, "c-good is there")
show("grow", grow("c-good", 3), grow("c-good", 3), grow("c-good", 1), grow("absent", 3), grow("c-good", 0))
show("grow with an assignment too few", grow("c-good", 6, [{"brokers": [1]}]))
DROP = [("names", ["str"]), ("timeout", "i32")]
DROPPED = [("throttle", "i32"), ("topics", [("name", "str"), ("error", "i16")])]
dropped = wire.call(20, 3, DROP, {"names": ["gone", "absent", "a b"], "timeout": 30_000}, DROPPED)["topics"]
show("delete topics", sorted((found["name"], found["error"]) for found in dropped))
DELETE_RECORDS = [("topics", [("name", "str"), ("partitions", [("index", "i32"), ("offset", "i64")])]), ("timeout", "i32")]
DELETED = [("throttle", "i32"), ("topics", [("name", "str"), ("partitions", [
    ("index", "i32"), ("low", "i64"), ("error", "i16")])])]
for name, place, where in [("plain", 0, 2), ("plain", 0, 1), ("plain", 0, 1_000), ("plain", 0, -5), ("plain", 9, 0),
                           ("absent", 0, 0), ("compacted", 0, 1)]:
    found = wire.call(21, 1, DELETE_RECORDS, {"topics": [{"name": name, "partitions": [
        {"index": place, "offset": where}]}], "timeout": 30_000}, DELETED)["topics"][0]["partitions"][0]
    show(f"delete records {name} {place} {where}", found["error"], found["low"])
show("fetch what was deleted", *fetched(fetch(0)))
METADATA = [("topics", ["str"]), ("create", "bool"), ("cluster_bits", "bool"), ("topic_bits", "bool")]
METADATA_ANSWER = [("throttle", "i32"), ("brokers", [("node", "i32"), ("host", "str"), ("port", "i32"), ("rack", "nstr")]),
                   ("cluster", "nstr"), ("controller", "i32"), ("topics", [
                       ("error", "i16"), ("name", "str"), ("internal", "bool"), ("partitions", [
                           ("error", "i16"), ("index", "i32"), ("leader", "i32"), ("epoch", "i32"), ("replicas", ["i32"]),
                           ("isr", ["i32"]), ("offline", ["i32"])]), ("bits", "i32")]), ("cluster_bits", "i32")]


def metadata(*names, create_them=False):
    values = {"topics": list(names), "create": create_them, "cluster_bits": False, "topic_bits": False}
    return wire.call(3, 8, METADATA, values, METADATA_ANSWER)


answer = metadata("plain", "absent", "a b")
show("metadata", [(broker["node"], broker["host"], broker["rack"]) for broker in answer["brokers"]], answer["controller"],
     answer["cluster_bits"], sorted((found["name"], found["error"], found["internal"], found["bits"], [
         (part["error"], part["index"], part["leader"], part["replicas"], part["isr"], part["offline"])
         for part in sorted(found["partitions"], key=lambda part: part["index"])]) for found in answer["topics"]))
until(lambda: metadata("made", create_them=True)["topics"][0]["error"] == 0, "made by metadata")
show("metadata of no topics", metadata()["topics"])

# Groups.
FIND = [("key", "str"), ("type", "i8")]
FOUND = [("throttle", "i32"), ("error", "i16"), ("message", "nstr"), ("node", "i32"), ("host", "str"), ("port", "i32")]
until(lambda: wire.call(10, 2, FIND, {"key": "g", "type": 0}, FOUND)["error"] == 0, "a coordinator")
show("coordinator of an unknown type", wire.call(10, 2, FIND, {"key": "g", "type": 9}, FOUND)["error"])
JOIN = [("group", "str"), ("session", "i32"), ("rebalance", "i32"), ("member", "str"), ("instance", "nstr"),
        ("type", "str"), ("protocols", [("name", "str"), ("metadata", "bytes")])]
JOINED = [("throttle", "i32"), ("error", "i16"), ("generation", "i32"), ("protocol", "str"), ("leader", "str"),
          ("member", "str"), ("members", [("member", "str"), ("instance", "nstr"), ("metadata", "bytes")])]


def join(group="g", session=10_000, member="", kind="consumer", protocols=("range",), instance=None):
    values = {"group": group, "session": session, "rebalance": 10_000, "member": member, "instance": instance, "type": kind,
              "protocols": [{"name": name, "metadata": b"m"} for name in protocols]}
    return wire.call(11, 5, JOIN, values, JOINED)


show("join without a group id", join(group="")["error"])
loaded(lambda: join(member="unknown"))
show("join with a short session", join(session=1)["error"])
show("join with a long session", join(session=10**9)["error"])
show("join as an unknown member", join(member="unknown")["error"])
show("join without protocols", join(protocols=())["error"])
required = join()
show("join without a member id", required["error"], required["generation"], required["member"].startswith("wire-"))
joined = join(member=required["member"])
show("join", joined["error"], joined["generation"], joined["protocol"], joined["leader"] == joined["member"],
     len(joined["members"]))
MEMBER = joined["member"]
show("join with another type", join(kind="connect")["error"])
show("join with other protocols", join(protocols=("sticky",))["error"])
SYNC = [("group", "str"), ("generation", "i32"), ("member", "str"), ("instance", "nstr"),
        ("assignments", [("member", "str"), ("data", "bytes")])]
SYNCED = [("throttle", "i32"), ("error", "i16"), ("data", "bytes")]


def sync(generation=1, member=MEMBER, group="g"):
    values = {"group": group, "generation": generation, "member": member, "instance": None,
              "assignments": [{"member": member, "data": b"mine"}]}
    answer = wire.call(14, 3, SYNC, values, SYNCED)
    return answer["error"], answer["data"]


BEAT = [("group", "str"), ("generation", "i32"), ("member", "str"), ("instance", "nstr")]
BEATEN = [("throttle", "i32"), ("error", "i16")]


def beat(generation=1, member=MEMBER, group="g", instance=None):
    values = {"group": group, "generation": generation, "member": member, "instance": instance}
    return wire.call(12, 3, BEAT, values, BEATEN)["error"]


COMMIT = [("group", "str"), ("generation", "i32"), ("member", "str"), ("instance", "nstr"), ("topics", [
    ("name", "str"), ("partitions", [("index", "i32"), ("offset", "i64"), ("epoch", "i32"), ("metadata", "nstr")])])]
COMMITTED = [("throttle", "i32"), ("topics", [("name", "str"), ("partitions", [("index", "i32"), ("error", "i16")])])]


def commit(generation=1, member=MEMBER, group="g", name="plain", place=0, metadata="m", instance=None):
    values = {"group": group, "generation": generation, "member": member, "instance": instance, "topics": [
        {"name": name, "partitions": [{"index": place, "offset": 3, "epoch": -1, "metadata": metadata}]}]}
    return wire.call(8, 7, COMMIT, values, COMMITTED)["topics"][0]["partitions"][0]["error"]


show("commit before the sync", commit())
show("sync a wrong generation", *sync(generation=9))
show("sync an unknown member", *sync(member="unknown"))
show("sync an unknown group", *sync(group="h"))
show("sync", *sync())
show("heartbeats", beat(), beat(generation=9), beat(member="unknown"), beat(group="h"), beat(instance="i"))
show("commits", commit(), commit(generation=9), commit(member="unknown"), commit(group="h"), commit(name="absent"),
     commit(place=9), commit(metadata="x" * 4_097), commit(metadata=None), commit(generation=-1, member=""), commit(group=""))
show("a simple commit in a group of its own", commit(generation=-1, member="", group="simple"))
FETCH_OFFSETS = [("group", "str"), ("topics", [("name", "str"), ("partitions", ["i32"])])]
OFFSETS = [("throttle", "i32"), ("topics", [("name", "str"), ("partitions", [
    ("index", "i32"), ("offset", "i64"), ("epoch", "i32"), ("metadata", "nstr"), ("error", "i16")])]), ("error", "i16")]


def offsets(group, topics=True):
    values = {"group": group, "topics": [{"name": "plain", "partitions": [0, 1]}, {"name": "absent", "partitions": [0]}]
              if topics else None}
    answer = wire.call(9, 5, FETCH_OFFSETS, values, OFFSETS)
    return answer["error"], sorted((found["name"], part["index"], part["offset"], part["epoch"], part["metadata"],
                                    part["error"]) for found in answer["topics"] for part in found["partitions"])


show("offsets", *offsets("g"))
show("all offsets", *offsets("g", topics=False))
show("offsets of an unknown group", *offsets("unknown"))
show("all offsets of an unknown group", *offsets("unknown", topics=False))
DESCRIBE = [("groups", ["str"]), ("bits", "bool")]
DESCRIBED = [("throttle", "i32"), ("groups", [
    ("error", "i16"), ("group", "str"), ("state", "str"), ("type", "str"), ("protocol", "str"), ("members", [
        ("member", "str"), ("instance", "nstr"), ("client", "str"), ("host", "str"), ("metadata", "bytes"),
        ("assignment", "bytes")]), ("bits", "i32")])]
for group in wire.call(15, 4, DESCRIBE, {"groups": ["g", "simple", "unknown", ""], "bits": False}, DESCRIBED)["groups"]:
    show(f"describe group '{group['group']}'", group["error"], group["state"], group["type"], group["protocol"],
         group["bits"], [(member["instance"], member["client"], member["host"], member["metadata"], member["assignment"])
                         for member in group["members"]])
LISTED_GROUPS = [("throttle", "i32"), ("error", "i16"), ("groups", [("group", "str"), ("type", "str")])]
groups = wire.call(16, 2, [], {}, LISTED_GROUPS)
show("list groups", groups["error"], sorted((group["group"], group["type"]) for group in groups["groups"]))
OFFSET_DELETE = [("group", "str"), ("topics", [("name", "str"), ("partitions", [("index", "i32")])])]
OFFSET_DELETED = [("error", "i16"), ("throttle", "i32"), ("topics", [("name", "str"), ("partitions", [
    ("index", "i32"), ("error", "i16")])])]
for group, name in [("unknown", "plain"), ("simple", "absent"), ("simple", "plain")]:
    answer = wire.call(47, 0, OFFSET_DELETE, {"group": group, "topics": [
        {"name": name, "partitions": [{"index": 0}]}]}, OFFSET_DELETED)
    show(f"delete the offsets of {name} in {group}", answer["error"], answer["topics"])
LEAVE = [("group", "str"), ("members", [("member", "str"), ("instance", "nstr")])]
LEFT = [("throttle", "i32"), ("error", "i16"), ("members", [("member", "str"), ("instance", "nstr"), ("error", "i16")])]


def leave(member, instance=None, group="g"):
    answer = wire.call(13, 3, LEAVE, {"group": group, "members": [{"member": member, "instance": instance}]}, LEFT)
    return answer["error"], [found["error"] for found in answer["members"]]


DELETE_GROUPS = [("groups", ["str"])]
DELETED_GROUPS = [("throttle", "i32"), ("results", [("group", "str"), ("error", "i16")])]


def delete_group(group):
    return [found["error"] for found in wire.call(42, 1, DELETE_GROUPS, {"groups": [group]}, DELETED_GROUPS)["results"]]


show("delete a group with members", delete_group("g"))
show("leave", leave("unknown"), leave("", "unknown"), leave(MEMBER, group="h"), leave(MEMBER), leave(MEMBER))
show("delete groups", delete_group("g"), delete_group("g"), delete_group(""))

# Connections: what closes one, what does not.


def other(frame, half=False):
    connection = Connection(BOOTSTRAP)
    connection.send(frame) if not half else connection.socket.sendall(frame)
    answer = connection.receive()
    connection.socket.close()
    return "closed" if answer is None else answer[:6].hex() + "…"


HEADER = struct.pack(">h", 4) + b"wire"
show("an unknown key", other(struct.pack(">hhi", 999, 0, 1) + HEADER))
show("an unknown version", other(struct.pack(">hhi", 3, 99, 1) + HEADER))
show("a removed version of produce", other(struct.pack(">hhi", 0, 1, 1) + HEADER + struct.pack(">hii", -1, 1, 0)))
show("three bytes", other(b"\0\0\0"))
show("an empty frame", other(b""))
show("a negative length", other(struct.pack(">i", -1), half=True))
show("a huge length", other(struct.pack(">i", 2**31 - 1), half=True))
show("a body that claims two thousand million topics",
     other(struct.pack(">hhi", 3, 1, 1) + HEADER + struct.pack(">i", 2**31 - 1)))
show("too many bytes", other(struct.pack(">hhi", 12, 3, 1) + HEADER + struct.pack(">h", 30_000)))

VERSIONS = [("error", "i16"), ("keys", [("key", "i16"), ("min", "i16"), ("max", "i16")])]
answer = wire.call(18, 99, [], {}, VERSIONS, True, True)
show("api versions 99", answer["error"], [key for key in answer["keys"] if key["key"] == 18])
V3 = [("name", "cstr"), ("version", "cstr"), ("", "tags")]
V3_ANSWER = [("error", "i16"), ("keys", ([("key", "i16"), ("min", "i16"), ("max", "i16"), ("", "tags")],)),
             ("throttle", "i32"), ("", "tags")]
for name, version in [("good-name", "1.0"), ("bad name!", "1.0"), ("", ""), ("good", "-")]:
    answer = wire.call(18, 3, V3, {"name": name, "version": version}, V3_ANSWER, True, True)
    show(f"api versions for client '{name}' '{version}'", answer["error"])
for key in wire.call(18, 0, [], {}, VERSIONS)["keys"]:
    say("advertises", key["key"], key["min"], key["max"])
say("done")
