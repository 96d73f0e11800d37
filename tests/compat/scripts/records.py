"""Records that anyone can make again, and a digest that two sides can compare."""

import hashlib
import random
import struct

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
PARTITIONS = 3
FIRST_TIMESTAMP_MS = 1_700_000_000_000
SIZES = [1, 2, 3, 10, 100, 999, 1_000, 10_000, 16_384, 65_537, 100_000, 1_000_000]


def header_sets():
    return [
        [],
        [("trace", b"1")],
        [("same", b"1"), ("same", b"2"), ("null", None), ("empty", b"")],
        [("bytes", bytes(range(256))), ("näme", "größe".encode())],
    ]


def records(codec, partition):
    """(timestamp, key, value, headers) of one partition, in order."""
    source = random.Random(f"{codec}/{partition}")
    headers = header_sets()
    keys = [None, b"", b"key", source.randbytes(1_000)]
    values = [None, b""]
    for size in SIZES:
        values.append(source.randbytes(size))
        values.append((b"compressible text " * (size // 18 + 1))[:size])
    values.extend(source.randbytes(source.randrange(1, 300)) for _ in range(200))
    for index, value in enumerate(values):
        # A keyless null is a legal record, a large key beside a large value is not needed.
        key = keys[index % len(keys)]
        if value is not None and len(value) >= 1_000_000:
            key = b"large"
        yield FIRST_TIMESTAMP_MS + index * 1_000 + partition, key, value, headers[index % len(headers)]


class Digest:
    """SHA-256 over everything that a record is."""

    def __init__(self):
        self.sha = hashlib.sha256()
        self.count = 0

    def add(self, offset, timestamp, key, value, headers):
        self.sha.update(struct.pack(">qq", offset, timestamp))
        for field in [key, value]:
            self.field(field)
        self.sha.update(struct.pack(">i", len(headers)))
        for name, field in headers:
            self.field(name.encode())
            self.field(field)
        self.count += 1

    def field(self, field):
        self.sha.update(struct.pack(">i", -1 if field is None else len(field)))
        self.sha.update(field or b"")

    def __str__(self):
        return f"{self.count} {self.sha.hexdigest()}"
