"""Changing bytes of a valid file, and reading the mutant in a separate process.

Reading a mutant has one of these outcomes:

    same      the content of the valid file
    other     other content, which no checksum covers: pixels, names
    refused   a HypercolumnsError with a message of one line

These outcomes are failures:

    exception    any other exception
    hang         no result after `patience` seconds
    crash        the process ended, or asked for 4 GB of memory more than before
    wrong        other content, although checksums cover the file
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
ENDS = ("hang", "crash")  # outcomes after which the next mutant needs a new process
MEMORY = 4 << 30  # bytes that a reader may allocate on top of what it has
EDGE = 512  # half of the mutations hit this many bytes at either end, where headers lie
WAYS = ("flip", "cut", "insert", "delete", "swap")


class Outcome(NamedTuple):
    """The outcome of reading a mutant: one of the words above, and the message of its error, if any."""

    result: str
    reason: str


def try_mutants(name, valid_file, count, patience=20):
    """Read mutants of a valid file in a process, which is replaced after a hang or a crash.

    Args:
        name: of the kind of file; it seeds the mutations.
        valid_file: the `ValidFile`, which is restored in the end.
        count: number of mutants.
        patience: seconds that reading one mutant may take.

    Returns:
        A list of `count` outcomes.
    """
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
    """Yield a process that runs `read_mutants` and the connection for its outcomes; kill the process at the end."""
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
    """Return the next outcome; a hang or a crash if none arrives."""
    try:
        return results.recv() if results.poll(patience) else Outcome("hang", f"after {patience} s")
    except EOFError:
        process.join()
        return Outcome("crash", f"exit code {process.exitcode}")


def read_mutants(valid_file, name, valid, expected, numbers, results):
    """Write and read the mutants with these numbers, and send the outcome of each to `results`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
    for number in numbers:
        valid_file.path.write_bytes(mutate(valid, random.Random(f"0 {name} {number}")))
        results.send(outcome(valid_file, expected))


def outcome(valid_file, expected):
    """Return the outcome of reading the file in its present state."""
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
    """Return a copy of the bytes that was changed in one of `WAYS`."""
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
    """Return a random position in the data; half of the positions are near an end."""
    at = chance.randrange(min(EDGE, len(data)) if chance.random() < 0.5 else len(data))
    return at if chance.random() < 0.5 else len(data) - 1 - at
