"""How a script talks with the test that started it: lines out, lines in, and bounded waits."""

import os
import queue
import threading
import time

LIMIT_S = 120

_told = queue.Queue()


def _listen():
    # Not sys.stdin: a thread that waits inside it keeps the interpreter from ending.
    text = b""
    while chunk := os.read(0, 4_096):
        *lines, text = (text + chunk).split(b"\n")
        for line in lines:
            _told.put(line.decode())
    _told.put(None)


threading.Thread(target=_listen, daemon=True).start()


def say(*words):
    print(*words, flush=True)


def told(limit=LIMIT_S):
    """The next line from the test; it must come."""
    word = _told.get(timeout=limit)
    if word is None:
        raise SystemExit("the test has gone")
    return word


def told_already():
    """The next line from the test, or None if there is none yet."""
    try:
        return _told.get_nowait()
    except queue.Empty:
        return None


def until(condition, what, limit=LIMIT_S):
    """Waits for a condition; what it returned."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise SystemExit(f"not within {limit} s: {what() if callable(what) else what}")


def check(condition, *words):
    if not condition:
        raise SystemExit("CHECK FAILED: " + " ".join(str(word) for word in words))


def messages(consumer, many=500, patience_s=60):
    """Messages and partition ends as they come; the test fails if nothing comes for too long."""
    last = time.monotonic()
    while True:
        batch = consumer.consume(many, 0.1)
        if batch:
            last = time.monotonic()
            yield from batch
        check(time.monotonic() - last < patience_s, "nothing comes any more")
