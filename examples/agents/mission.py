"""What the example agents have in common: they write what is expected of them, and on demand garbage.

GARBAGE=empty       nothing at all
GARBAGE=truncated   the first half
GARBAGE=wrong       the right form with wrong content
GARBAGE=yesterday   what was right a day ago
"""

import datetime
import json
import os
import sys

KINDS = ("", "empty", "truncated", "wrong", "yesterday")
GARBAGE = os.environ.get("GARBAGE", "")
if GARBAGE not in KINDS:
    sys.exit(f"GARBAGE is one of {', '.join(KINDS[1:])}")


def today():
    """The day that the output is made for."""
    return datetime.date.today() - datetime.timedelta(days=GARBAGE == "yesterday")


def garbled(text):
    if GARBAGE == "empty":
        return ""
    if GARBAGE == "truncated":
        return text[: len(text) // 2]
    return text


def as_json(value):
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def say(good, wrong):
    """Writes the good output to stdout, or what GARBAGE makes of it: a text as it is, all else as JSON."""
    value = wrong if GARBAGE == "wrong" else good
    sys.stdout.write(garbled(value if isinstance(value, str) else as_json(value)))
