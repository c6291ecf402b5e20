"""Answers of cronsim: a line in, `schedule TAB zone TAB instant TAB count`, a line out, `instant,instant,...`,
or nothing in it where cronsim does not come to an end."""

import signal
import sys
from datetime import datetime, timezone
from itertools import islice
from zoneinfo import ZoneInfo

from cronsim import CronSim


class Endless(Exception):
    pass


def give_up(*_):
    raise Endless


# Of this program's own time, so that a busy machine changes no answer. A case needs milliseconds.
signal.signal(signal.SIGVTALRM, give_up)
for line in open(sys.argv[1], encoding="utf-8"):
    schedule, zone, instant, count = line.rstrip("\n").split("\t")
    start = datetime.fromtimestamp(int(instant), timezone.utc).astimezone(ZoneInfo(zone))
    signal.setitimer(signal.ITIMER_VIRTUAL, 2)
    try:
        slots = [slot.timestamp() for slot in islice(CronSim(schedule, start), int(count))]
    except Endless:
        slots = []
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    print(",".join(str(int(slot)) for slot in slots))
