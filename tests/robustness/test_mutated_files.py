"""Valid files with some bytes changed, opened as the program opens them: no crash, no hang, no wrong success."""

import os
import random
import time
from collections import Counter

import pytest
import torch
from robustness.mutants import FAILURES, WAYS, mutate, try_mutants
from robustness.valid_files import FILES, ValidFile

from hypercolumns.errors import HypercolumnsError

OF_EACH = 20  # of 17 kinds
# Python 3.12 warns of forks beside other threads; pytest-xdist has one, which holds no lock that a reader takes.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture(autouse=True)
def one_thread():
    """A fork has none of its parent's threads, which OpenMP would wait for."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_mutants_are_refused_or_read_as_far_as_can_be_told(name, tmp_path, effort):
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
    """Makes a file whose mutants are read by a function."""
    path = tmp_path / "file"
    path.write_bytes(b"a valid file")

    def read(on_mutant):
        return "valid" if path.read_bytes() == b"a valid file" else on_mutant()

    return lambda on_mutant, checked=True: ValidFile(path, lambda: read(on_mutant), checked)


def results(file, count=1, **settings):
    return [outcome.result for outcome in try_mutants("any", file, count, **settings)]


@pytest.mark.parametrize("result", ON_MUTANT)
def test_each_outcome_is_told_from_the_others(result, any_file):
    """Two mutants: after a crash or a hang the next one is read by a new process."""
    file = any_file(ON_MUTANT[result])
    assert results(file, 2, patience=1 if result == "hang" else 20) == [result] * 2
    assert file.path.read_bytes() == b"a valid file"


def test_message_of_two_lines_is_a_failure(any_file):
    assert results(any_file(lambda: fail(TwoLinesError("")))) == ["exception"]


def test_too_much_memory_is_a_crash(any_file):
    assert results(any_file(lambda: bytearray(5 << 30))) == ["crash"]


def test_other_content_is_allowed_where_no_checksum_covers_it(any_file):
    assert results(any_file(ON_MUTANT["wrong"], checked=False)) == ["other"]


def test_mutants_differ_from_the_valid_file_and_are_drawn_in_every_way():
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
