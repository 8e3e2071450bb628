"""Reading a file with some changed bytes never crashes, hangs or passes for the valid file."""

import os
import random
import time
from collections import Counter

import pytest
import torch
from helpers.mutants import FAILURES, WAYS, mutate, try_mutants
from helpers.valid_files import FILES, ValidFile

from hypercolumns.errors import HypercolumnsError

OF_EACH = 20  # mutants of each of 17 kinds of files
# Python 3.12 warns about forks of processes with several threads. The thread of pytest-xdist holds no lock of a reader.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture(autouse=True)
def one_thread():
    """OpenMP must have one thread: a forked process would wait for the threads that only its parent has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_mutants_of_each_file_kind_never_fail(name, tmp_path, effort):
    """A mutant is refused, or read as the valid file; other content passes only where no checksum covers it."""
    outcomes = try_mutants(name, FILES[name](tmp_path), OF_EACH * effort)
    assert len(outcomes) == OF_EACH * effort
    print(name, dict(Counter(outcome.result for outcome in outcomes)))
    assert not {n: outcome for n, outcome in enumerate(outcomes) if outcome.result in FAILURES}


class TwoLinesError(HypercolumnsError):
    def __str__(self):
        return "two\nlines"


def fail(error):
    raise error


ON_MUTANT = {
    "same": lambda: "valid",
    "wrong": lambda: "something else",
    "refused": lambda: fail(HypercolumnsError("one line")),
    "exception": lambda: fail(ValueError("any")),
    "crash": lambda: os._exit(3),
    "hang": lambda: time.sleep(60),
}


@pytest.fixture
def any_file(tmp_path):
    """A function that returns a `ValidFile` whose mutants are read by the given function."""
    path = tmp_path / "file"
    path.write_bytes(b"a valid file")

    def read(on_mutant):
        return "valid" if path.read_bytes() == b"a valid file" else on_mutant()

    return lambda on_mutant, checked=True: ValidFile(path, lambda: read(on_mutant), checked)


def results(file, count=1, **settings):
    return [outcome.result for outcome in try_mutants("any", file, count, **settings)]


@pytest.mark.parametrize("result", ON_MUTANT)
def test_each_outcome_is_recognised(result, any_file):
    """The second mutant is read by a new process if the first one crashed or hung."""
    file = any_file(ON_MUTANT[result])
    assert results(file, 2, patience=1 if result == "hang" else 20) == [result] * 2
    assert file.path.read_bytes() == b"a valid file"


def test_message_of_two_lines_is_a_failure(any_file):
    assert results(any_file(lambda: fail(TwoLinesError("")))) == ["exception"]


def test_too_much_memory_is_a_crash(any_file):
    assert results(any_file(lambda: bytearray(5 << 30))) == ["crash"]


def test_unchecked_other_content_is_allowed(any_file):
    assert results(any_file(ON_MUTANT["wrong"], checked=False)) == ["other"]


def test_mutants_are_seeded_and_use_every_way():
    valid = bytes(range(256)) * 8
    mutants = [mutate(valid, random.Random(number)) for number in range(200)]
    assert valid not in mutants
    assert len(set(mutants)) > 190
    assert [mutate(valid, random.Random(number)) for number in range(200)] == mutants
    lengths = [len(mutant) - len(valid) for mutant in mutants]
    assert len(WAYS) == 5
    assert min(lengths) < -16  # cut
    assert any(0 < length <= 16 for length in lengths)  # bytes inserted
    assert any(-16 <= length < 0 for length in lengths)  # bytes deleted
    assert sum(length == 0 for length in lengths) > 40  # bits flipped, or swapped
