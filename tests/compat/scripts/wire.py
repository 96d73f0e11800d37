"""Kafka's protocol by hand: what no well-behaved client would send can be sent, and answers are seen as they are.

A message is described by pairs (field, type); a type is a name, or a list holding the fields of the elements of an
array. Old, inflexible versions only; `tags` and `c…` types serve the few flexible ones.
"""

import socket
import struct

INTEGERS = {"i8": ">b", "i16": ">h", "i32": ">i", "i64": ">q", "u32": ">I"}


def uvarint(number):
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def varint(number):
    return uvarint((number << 1) ^ (number >> 63))


def encode(fields, values):
    return b"".join(encode_one(kind, values[name] if name else b"") for name, kind in fields)


def encode_one(kind, value):
    if isinstance(kind, str) and kind in INTEGERS:
        return struct.pack(INTEGERS[kind], value)
    if kind == "bool":
        return bytes([value])
    if kind == "uuid":
        return value
    if kind == "tags":
        return b"\0"
    if kind in ("str", "nstr"):
        data = None if value is None else value.encode()
        return struct.pack(">h", -1) if data is None else struct.pack(">h", len(data)) + data
    if kind == "bytes":
        return struct.pack(">i", -1) if value is None else struct.pack(">i", len(value)) + value
    if kind == "cstr":
        return uvarint(len(value.encode()) + 1) + value.encode()
    if isinstance(kind, tuple):  # a compact array
        return uvarint(len(value) + 1) + b"".join(encode(kind[0], element) for element in value)
    if value is None:
        return struct.pack(">i", -1)
    return struct.pack(">i", len(value)) + b"".join(
        encode(kind, element) if isinstance(kind[0], tuple) else encode_one(kind[0], element) for element in value)


class Reader:
    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, count):
        assert self.at + count <= len(self.data), "the answer is too short"
        self.at += count
        return self.data[self.at - count:self.at]

    def uvarint(self):
        number = shift = 0
        while True:
            byte = self.take(1)[0]
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    def decode(self, fields):
        values = {}
        for name, kind in fields:
            value = self.one(kind)
            if name:
                values[name] = value
        return values

    def one(self, kind):
        if isinstance(kind, str) and kind in INTEGERS:
            return struct.unpack(INTEGERS[kind], self.take(struct.calcsize(INTEGERS[kind])))[0]
        if kind == "bool":
            return self.take(1) != b"\0"
        if kind == "uuid":
            return self.take(16)
        if kind == "tags":
            for _ in range(self.uvarint()):
                self.uvarint()
                self.take(self.uvarint())
            return None
        if kind in ("str", "nstr"):
            length = self.one("i16")
            return None if length < 0 else self.take(length).decode()
        if kind == "bytes":
            length = self.one("i32")
            return None if length < 0 else self.take(length)
        if kind == "cbytes":
            length = self.uvarint()
            return None if length == 0 else self.take(length - 1)
        if isinstance(kind, tuple):
            return [self.decode(kind[0]) for _ in range(self.uvarint() - 1)]
        return [self.decode(kind) if isinstance(kind[0], tuple) else self.one(kind[0]) for _ in range(self.one("i32"))]


class Connection:
    """One connection; the broker may close it, which is an answer too."""

    def __init__(self, bootstrap):
        host, port = bootstrap.split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=60)

    def send(self, frame):
        self.socket.sendall(struct.pack(">i", len(frame)) + frame)

    def receive(self):
        """The next answer without its length, or None if the broker closed the connection."""
        head = self.exactly(4)
        return None if head is None else self.exactly(struct.unpack(">i", head)[0])

    def exactly(self, count):
        data = b""
        while len(data) < count:
            try:
                part = self.socket.recv(count - len(data))
            except ConnectionResetError:
                return None
            if not part:
                return None
            data += part
        return data

    def call(self, key, version, request, values, response, flexible=False, body_only=False):
        header = struct.pack(">hhih", key, version, 7, 4) + b"wire"
        self.send(header + (b"\0" if flexible else b"") + encode(request, values))
        answer = self.receive()
        if answer is None:
            return None
        reader = Reader(answer)
        assert reader.one("i32") == 7, "another request's answer"
        if flexible and not body_only:
            reader.one("tags")
        values = reader.decode(response)
        assert reader.at == len(answer), f"{len(answer) - reader.at} bytes too many in the answer to {key}"
        return values


# Record batches.

CRC_TABLE = []
for number in range(256):
    for _ in range(8):
        number = number >> 1 ^ (0x82F63B78 if number & 1 else 0)
    CRC_TABLE.append(number)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def record(delta, value, key=None, timestamp_delta=0):
    def field(data):
        return varint(-1) if data is None else varint(len(data)) + data

    body = b"\0" + varint(timestamp_delta) + varint(delta) + field(key) + field(value) + varint(0)
    return varint(len(body)) + body


def batch(values, timestamp=1_700_000_000_000, producer=(-1, -1, -1), attributes=0, magic=2, keys=None, last_delta=None,
          count=None, crc_xor=0, base_offset=0, first_delta=0, payload=None, epoch=-1):
    """A record batch, right or wrong."""
    keys = keys or [None] * len(values)
    records = b"".join(record(first_delta + index, value, key) for index, (value, key) in enumerate(zip(values, keys)))
    records = records if payload is None else payload
    last = len(values) - 1 if last_delta is None else last_delta
    number = len(values) if count is None else count
    body = struct.pack(">hiqqqhii", attributes, last, timestamp, timestamp, producer[0], producer[1], producer[2],
                       number) + records
    crc = crc32c(body) ^ crc_xor
    return struct.pack(">qiibI", base_offset, len(body) + 9, epoch, magic, crc) + body
