"""Ends a process at the Nth of its calls that change a file below some directories.

    steps.py PID N BUT PATH...

BUT: what begins with that path does not count. Says `attached` once it follows every thread of PID, then each such call before the kernel carries it out, in the one order
in which all threads make them. At the Nth (from 1; 0: never) PID gets SIGKILL, the call is not made, and it says `killed`.
Ends with PID. Linux on x86_64 and aarch64 only.
"""

import ctypes
import os
import platform
import re
import signal
import struct
import sys

SEIZE, INTERRUPT, LISTEN, SYSCALL, SYSCALL_INFO = 0x4206, 0x4207, 0x4208, 24, 0x420E
TRACE_SYSTEM_GOOD, TRACE_CLONE, EVENT_STOP = 1, 8, 128
ALL_THREADS = 0x40000000
HERE = -100
CREATES_OR_CUTS = os.O_CREAT | os.O_TRUNC

# What the arguments are: f a descriptor, p a path, d a directory and a path in it, o the flags of an open, . nothing.
SHAPES = {
    "write": "f", "pwrite64": "f", "writev": "f", "fsync": "f", "fdatasync": "f", "syncfs": "f", "ftruncate": "f",
    "fchmod": "f", "fchown": "f", "sendfile": "f", "copy_file_range": "..f", "mkdirat": "d", "unlinkat": "d",
    "fchmodat": "d", "openat": "do", "renameat": "dd", "renameat2": "dd", "linkat": "dd", "symlinkat": ".d",
    "open": "po", "rename": "pp", "mkdir": "p", "rmdir": "p", "link": "pp", "unlink": "p", "symlink": ".p", "chmod": "p",
}
NUMBERS = {
    "x86_64": {
        "write": 1, "open": 2, "pwrite64": 18, "writev": 20, "sendfile": 40, "fsync": 74, "fdatasync": 75,
        "ftruncate": 77, "rename": 82, "mkdir": 83, "rmdir": 84, "link": 86, "unlink": 87, "symlink": 88, "chmod": 90,
        "fchmod": 91, "fchown": 93, "openat": 257, "mkdirat": 258, "unlinkat": 263, "renameat": 264, "linkat": 265,
        "symlinkat": 266, "fchmodat": 268, "syncfs": 306, "renameat2": 316, "copy_file_range": 326,
    },
    "aarch64": {
        "mkdirat": 34, "unlinkat": 35, "symlinkat": 36, "linkat": 37, "renameat": 38, "ftruncate": 46, "fchmod": 52,
        "fchmodat": 53, "fchown": 55, "openat": 56, "write": 64, "writev": 66, "pwrite64": 68, "sendfile": 71,
        "fsync": 82, "fdatasync": 83, "syncfs": 267, "renameat2": 276, "copy_file_range": 285,
    },
}
CALLS = {number: (name, SHAPES[name]) for name, number in NUMBERS[platform.machine()].items()}

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(what, thread, address=0, data=0):
    """False: the thread is gone."""
    if libc.ptrace(what, thread, address, data) >= 0:
        return True
    error = ctypes.get_errno()
    if error == 3:
        return False
    raise OSError(error, f"ptrace {what:#x} of {thread}: {os.strerror(error)}")


def text_at(thread, address):
    with open(f"/proc/{thread}/mem", "rb", buffering=0) as memory:
        text = b""
        while b"\0" not in text and len(text) < 4096:
            # Never beyond a page, the next one may not be there.
            memory.seek(address + len(text))
            text += memory.read(4096 - (address + len(text)) % 4096)
    return text.split(b"\0")[0].decode(errors="replace")


def opened(thread, number):
    number = ctypes.c_int(number & 0xFFFFFFFF).value
    try:
        return os.readlink(f"/proc/{thread}/cwd" if number == HERE else f"/proc/{thread}/fd/{number}")
    except OSError:
        return ""


def paths_of(thread, shape, arguments):
    """The paths that a call is about; none where it changes nothing."""
    found, at = [], 0
    for letter in shape:
        if letter == "f":
            found.append(opened(thread, arguments[at]))
        elif letter == "p":
            found.append(text_at(thread, arguments[at]))
        elif letter == "d":
            found.append(os.path.join(opened(thread, arguments[at]), text_at(thread, arguments[at + 1])))
            at += 1
        elif letter == "o" and not arguments[at] & CREATES_OR_CUTS:
            return []
        at += 1
    return found


def call_of(thread):
    """The name and the paths of the call that this thread is about to make."""
    info = ctypes.create_string_buffer(88)
    if not ptrace(SYSCALL_INFO, thread, len(info), ctypes.addressof(info)) or info.raw[0] != 1:
        return None
    number, *arguments = struct.unpack_from("7Q", info.raw, 24)
    if number not in CALLS:
        return None
    name, shape = CALLS[number]
    return name, paths_of(thread, shape, arguments)


def follow_all(process):
    followed = set()
    while new := {int(name) for name in os.listdir(f"/proc/{process}/task")} - followed:
        followed |= new
        for thread in new:
            try:
                if ptrace(SEIZE, thread, 0, TRACE_SYSTEM_GOOD | TRACE_CLONE):
                    ptrace(INTERRUPT, thread)
            except PermissionError:
                # Born of one that is followed already, so it is followed too.
                pass


def main():
    process, last, other, places = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]
    below = "|".join(map(re.escape, places))
    is_ours = re.compile(f"(?!{re.escape(other)})({below})(/|$)").match
    follow_all(process)
    print("attached", flush=True)
    count = 0
    while True:
        try:
            thread, status = os.waitpid(-1, ALL_THREADS)
        except ChildProcessError:
            return
        if not os.WIFSTOPPED(status):
            continue
        sig, event = os.WSTOPSIG(status), status >> 16
        if event == EVENT_STOP and sig != signal.SIGTRAP:
            ptrace(LISTEN, thread)
            continue
        if sig == signal.SIGTRAP | 0x80:
            call = call_of(thread)
            if call and any(is_ours(path) for path in call[1]):
                count += 1
                print(call[0], *call[1], flush=True)
                if count == last:
                    os.kill(process, signal.SIGKILL)
                    print("killed", flush=True)
                    continue
            sig = 0
        elif event:
            sig = 0
        ptrace(SYSCALL, thread, 0, sig)


main()
