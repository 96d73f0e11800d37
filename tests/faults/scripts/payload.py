"""What record number N of a fault test carries: its number, and bytes that follow from it."""

import random

LARGEST = 64_000
PADDING = random.Random(1).randbytes(LARGEST)


def payload(number, size):
    return number.to_bytes(8, "big") + PADDING[: number * 37 % size]


def number_of(value, size):
    """The number of a record; None if its bytes are not what was written."""
    number = int.from_bytes(value[:8], "big")
    return number if value == payload(number, size) else None
