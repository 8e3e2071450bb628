"""Judge what this project makes of networks of timm, independently of how it derives their properties.

python benchmarks/networks.py --list benchmarks/networks_150.txt --json networks.jsonl
python benchmarks/networks.py --names resnet18 resnet50_gn
python benchmarks/networks.py --all --json all.jsonl
python benchmarks/networks.py --sample 200 --seed 0 --json sample.jsonl
python benchmarks/networks.py --self-test

Each network is judged in a process of its own, with a limit of time and of memory. All times are times of the
processor, so that other programs on the machine hardly change them. The classes are:

- right: `Backbone` accepts the network, and all values pass the checks of `network_checks.py`.
- wrong: `Backbone` accepts it, but a check fails.
- refused: `Backbone` refuses it, and the message says why.
- refused without a reason: the message quotes internals of a library (`INTERNALS`) or nothing in place of a reason.
- crashed: the construction ends with another error, is killed, or takes too long.
- unjudged: accepted, but a check did not end in time, or timm has no maps to compare with.

The result of each network is a line of JSON in the file, so that `--resume` continues an interrupted survey.
`network_list.py` describes and makes the list. `--all` constructs every network of timm without values, so that it says
only whether networks are accepted. `--sample N` does so for N of these names, drawn at random with `--seed`, and prints
the share that is accepted, with an interval of 95 %.
"""

import argparse
import json
import math
import multiprocessing
import os
import random
import re
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import timm
import torch
from common import report
from network_checks import run_checks
from network_reference import Reference, drawn_state

from hypercolumns import Backbone, HypercolumnsError
from hypercolumns.models.backbones import _network_info
from hypercolumns.models.backbones._blank import build_without_values

LIST = Path(__file__).with_name("networks_150.txt")
RIGHT, WRONG, REFUSED, UNEXPLAINED, CRASHED, UNJUDGED, ACCEPTED = (
    "right",
    "wrong",
    "refused",
    "refused without a reason",
    "crashed",
    "unjudged",
    "accepted",
)
# Words of libraries, which do not tell a user why a network is refused.
INTERNALS = re.compile(
    r"Proxy\(|getitem|AssertionError|Error\b\s*[);]|\(\)|NoneType|has no attribute|unexpected keyword|positional arg"
    r"|symbolically traced|aten[:.]|meta tensor|torch\.Size|invalid for input of size|must match|object is not|KeyError"
    r"|not enough values|unpack|unsupported operand|mat1 and mat2|not divisible|[Ee]xpected .* got |_[a-z]+_[a-z]+\("
)
MAX_WAIT = 10  # a process is killed after this many times its limit, even if it only waited for the processor
Record = dict[str, Any]
Tell = Callable[[Record], None]


@dataclass
class _Child:
    """A process that judges one network, and what it has told so far."""

    name: str
    process: Any
    pipe: Connection
    start: float = field(default_factory=time.monotonic)
    record: Record = field(default_factory=dict)


def main() -> None:
    """Judge the networks, and print how many are in each class."""
    options = _parser().parse_args()
    torch.set_num_threads(options.threads)
    if options.self_test:
        from network_self_test import run

        run()
        return
    of_all = options.all or options.sample is not None
    names = timm.list_models() if of_all else options.names or options.list.read_text().split()
    if options.sample is not None:
        names = random.Random(options.seed).sample(names, options.sample)
    done = _read(options.json) if options.resume and options.json else {}
    _warm_up()
    waiting = [name for name in names if name not in done]
    for record in survey(waiting, construct if of_all else judge, options):
        done[record["name"]] = record
        _write(options.json, record)
    records = [done[name] for name in names if name in done]
    others = [record for record in records if record["verdict"] not in (RIGHT, ACCEPTED)]
    if others:
        report("not right", [_row(record) for record in others], None)
    counts = Counter(record["verdict"] for record in records)
    report(f"{len(records)} networks of timm {timm.__version__}", [dict(sorted(counts.items()))], None)
    if options.sample is not None and records:
        good = counts[ACCEPTED], counts[ACCEPTED] + counts[REFUSED]
        rows = [
            {"share": title, "percent": 100 * count / len(records), **interval(count, len(records))}
            for title, count in zip(("accepted", "accepted or refused with a reason"), good, strict=True)
        ]
        report(f"of all {len(timm.list_models())} names, with an interval of 95 %", rows, None)


def interval(count: int, of: int) -> dict[str, float]:
    """Return Wilson's interval of 95 % for a share, in percent.

    E. B. Wilson: Probable inference, the law of succession, and statistical inference. JASA 22, 1927.
    """
    z, share = 1.96, count / of
    middle, width = share + z * z / (2 * of), z * math.sqrt(share * (1 - share) / of + (z / (2 * of)) ** 2)
    return {name: 100 * (middle + sign * width) / (1 + z * z / of) for name, sign in (("from", -1), ("to", 1))}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", type=Path, default=LIST, help="a file of names, one in each line")
    parser.add_argument("--names", nargs="*", help="names, in place of a list")
    parser.add_argument("--all", action="store_true", help="every name of timm, by construction without values")
    parser.add_argument("--sample", type=int, metavar="N", help="names to draw from all of timm, as for --all")
    parser.add_argument("--seed", type=int, default=0, help="the seed of --sample")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append the results to this file, one in each line")
    parser.add_argument("--resume", action="store_true", help="leave out the networks that are in the file")
    parser.add_argument("--jobs", type=int, default=1, help="networks that are judged at the same time")
    parser.add_argument("--threads", type=int, default=1, help="threads of each process")
    parser.add_argument("--seconds", type=int, default=120, help="limit of the processor's time for one network")
    parser.add_argument("--gigabytes", type=float, default=6, help="limit of the memory for one network")
    parser.add_argument("--self-test", action="store_true", help="check that wrong backbones are judged wrong")
    return parser


def survey(names: Sequence[str], work: Callable[[str, Tell], None], options: argparse.Namespace) -> Iterator[Record]:
    """Judge networks, each in a process of its own.

    Args:
        names: timm's names of the networks.
        work: judges a network in the process; it passes parts of the record to the function that it is given.
        options: `jobs`, `seconds` and `gigabytes` of the command line.

    Yields:
        The record of each network, as soon as it is judged.
    """
    waiting, running = list(reversed(names)), list[_Child]()
    while waiting or running:
        while waiting and len(running) < options.jobs:
            running.append(_start(waiting.pop(), work, options))
        ready = wait([child.pipe for child in running], timeout=0.5)
        for child in list(running):
            ended = child.pipe in ready and not _listen(child)
            late = time.monotonic() - child.start > MAX_WAIT * options.seconds
            if ended or late:
                if not ended:
                    child.process.kill()
                child.process.join()
                running.remove(child)
                code = child.process.exitcode
                out_of_time = code == -signal.SIGXCPU or not ended
                reason = "the time limit" if out_of_time else f"exit code {code}"
                record = {"name": child.name, **_concluded(child.record, reason)}
                print(f"{record['name']}: {record['verdict']} {record.get('reason', '')[:200]}", file=sys.stderr)
                yield record


def _start(name: str, work: Callable[[str, Tell], None], options: argparse.Namespace) -> _Child:
    # A fork starts with the libraries imported, which takes longer than to judge a small network.
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(name, work, sender, options))
    process.start()
    sender.close()
    return _Child(name, process, receiver)


def _child(name: str, work: Callable[[str, Tell], None], pipe: Connection, options: argparse.Namespace) -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + int(options.gigabytes * 1e9),) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (options.seconds, options.seconds + 5))
    sys.stdout = sys.stderr = open("/dev/null", "w")
    try:
        work(name, pipe.send)
    except Exception as error:  # a network may fail in any way
        pipe.send({"error": f"{type(error).__name__}: {error}"[:500]})
    pipe.send({"ended": True, "seconds": round(time.process_time(), 1)})


def _listen(child: _Child) -> bool:
    """Add what a child has sent to its record; return whether more may follow."""
    try:
        while child.pipe.poll():
            child.record |= child.pipe.recv()
    except EOFError:
        return False
    return True


def construct(name: str, tell: Tell) -> None:
    """Construct a backbone without values of its weights; see `judge` for the arguments."""
    _accept(name, tell, build_without_values)


def judge(name: str, tell: Tell) -> None:
    """Construct a backbone, and check its values if it is accepted.

    Args:
        name: timm's name of the network.
        tell: called with parts of the record of the network, as soon as they are known.
    """
    if not _accept(name, tell, lambda build: build()):
        return
    tell({"at": "weights"})
    state = drawn_state(name)
    backbone = Backbone(f"timm/{name}", None, weights=state).eval()
    run_checks(backbone, Reference(name, state, [tap.name for tap in backbone.taps]), tell)


def _accept(name: str, tell: Tell, run: Callable[[Callable[[], Backbone]], Backbone]) -> bool:
    """Return whether a backbone with random weights can be constructed; if not, tell why.

    Args:
        name: timm's name of the network.
        tell: see `judge`.
        run: calls the function that constructs the backbone.
    """
    start = time.process_time()
    try:
        run(lambda: Backbone(f"timm/{name}", None, weights=None))
    except HypercolumnsError as error:
        tell({"refusal": str(error)})
        return False
    tell({"accepted": True, "construction": round(time.process_time() - start, 2)})
    return True


def _concluded(record: Record, reason: str) -> Record:
    """Add the verdict and its reason to what a child told. `reason` says why the child ended if it did not finish."""
    if "refusal" in record:
        explained = not INTERNALS.search(record["refusal"].partition("; choose")[0])
        return {"verdict": REFUSED if explained else UNEXPLAINED, "reason": record.pop("refusal")}
    if "accepted" not in record:
        return {"verdict": CRASHED, "reason": record.get("error") or reason}
    faults, untested = record.pop("faults", []), record.pop("untested", [])
    if faults:
        return {"verdict": WRONG, "reason": "; ".join(faults), "untested": untested, **record}
    if "error" in record or "ended" not in record:
        stage = f"{record.get('error') or reason}, in {record.get('at', 'construction')}"
        return {"verdict": UNJUDGED, "reason": stage, "untested": untested, **record}
    if "at" not in record:
        return {"verdict": ACCEPTED, **record}
    if not any(key.startswith("maps ") and key != "maps seconds" for key in record):
        return {"verdict": UNJUDGED, "reason": "; ".join(untested), **record}
    return {"verdict": RIGHT, "untested": untested, **record}


def _row(record: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(record.get(key, "")) for key in ("name", "verdict", "reason")}


def _read(file: Path) -> dict[str, Record]:
    lines = file.read_text().splitlines() if file.exists() else []
    return {record["name"]: record for record in map(json.loads, lines)}


def _write(file: Path | None, record: Mapping[str, Any]) -> None:
    if file is not None:
        with file.open("a") as stream:
            stream.write(json.dumps(record) + "\n")


def _warm_up() -> None:
    """Import what the construction of backbones imports, before processes are forked."""
    os.environ["HYPERCOLUMNS_CACHE"] = ""  # so that the properties of each network are derived
    _network_info.CACHE.clear()
    Backbone("timm/test_resnet", None)
    _network_info.CACHE.clear()


if __name__ == "__main__":
    main()
