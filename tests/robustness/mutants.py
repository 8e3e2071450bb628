"""Changing bytes of a valid file, and reading the mutant in a process of its own.

What the program makes of a mutant is

    same      what it makes of the valid file
    other     something else, where no checksum can tell: pixels, names
    refused   HypercolumnsError, the one-line message

and, all of them failures,

    exception    any other
    hang         nothing after `patience` seconds
    crash        the process ended, or wanted 4 GB more than it had
    wrong        something else, though the file has checksums
"""

import multiprocessing
import random
import resource
import signal
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hypercolumns.errors import HypercolumnsError

FAILURES = ("exception", "hang", "crash", "wrong")
ENDS = ("hang", "crash")  # of the process that reads
MEMORY = 4 << 30  # more than before, that a reader may ask for
EDGE = 512  # bytes at either end, with half of the mutations: headers lie there
WAYS = ("flip", "cut", "insert", "delete", "swap")


class Outcome(NamedTuple):
    """What came of a mutant: one of the words above, and the message, if there is one."""

    result: str
    reason: str


def try_mutants(name, valid_file, count, patience=20):
    """The outcomes of so many mutants; they are read in one process, and after a failure in a new one."""
    valid, expected, outcomes = valid_file.path.read_bytes(), valid_file.read(), []
    while len(outcomes) < count:
        numbers = range(len(outcomes), count)
        with reading(valid_file, name, valid, expected, numbers) as (process, results):
            for _ in numbers:
                outcomes.append(receive(process, results, patience))
                if outcomes[-1].result in ENDS:
                    break
    valid_file.path.write_bytes(valid)
    return outcomes


@contextmanager
def reading(*arguments):
    """A process that reads mutants, and the connection that their outcomes come by; it is killed in the end."""
    results, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=read_mutants, args=(*arguments, sender))
    process.start()
    sender.close()
    try:
        yield process, results
    finally:
        process.kill()
        process.join()
        results.close()


def receive(process, results, patience):
    try:
        return results.recv() if results.poll(patience) else Outcome("hang", f"after {patience} s")
    except EOFError:
        process.join()
        return Outcome("crash", f"exit code {process.exitcode}")


def read_mutants(valid_file, name, valid, expected, numbers, results):
    """Read mutants and send what came of each."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
    for number in numbers:
        valid_file.path.write_bytes(mutate(valid, random.Random(f"0 {name} {number}")))
        results.send(outcome(valid_file, expected))


def outcome(valid_file, expected):
    """What the program makes of the file as it is now."""
    try:
        if valid_file.read() == expected:
            return Outcome("same", "")
        return Outcome("wrong" if valid_file.checked else "other", "")
    except HypercolumnsError as error:
        return Outcome("refused" if "\n" not in str(error) else "exception", str(error))
    except MemoryError as error:
        return Outcome("crash", repr(error))
    except Exception as error:
        return Outcome("exception", repr(error)[:300])


def mutate(valid, chance):
    """Other bytes than these, by one of the ways."""
    while True:
        data = bytearray(valid)
        mutate_in_place(data, chance)
        if data != valid:
            return bytes(data)


def mutate_in_place(data, chance):
    way, at, length = chance.choice(WAYS), place(data, chance), chance.randint(1, 16)
    match way:
        case "flip":
            for _ in range(chance.choice([1, 1, 2, 8])):
                data[place(data, chance)] ^= 1 << chance.randrange(8)
        case "cut":
            del data[at:]
        case "insert":
            data[at:at] = chance.randbytes(length)
        case "delete":
            del data[at : at + length]
        case "swap":
            other = place(data, chance)
            data[at : at + length], data[other : other + length] = data[other : other + length], data[at : at + length]


def place(data, chance):
    """A position in the file: half of the time near an end."""
    at = chance.randrange(min(EDGE, len(data)) if chance.random() < 0.5 else len(data))
    return at if chance.random() < 0.5 else len(data) - 1 - at
