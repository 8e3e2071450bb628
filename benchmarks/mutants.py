"""Valid files with some bytes changed, opened as the program opens them: no crash, no hang, no wrong success.

python benchmarks/mutants.py --mutants 10000

Each kind of file is made small and valid, then mutated by chance (`--seed`): bits flipped, cut short, bytes inserted,
deleted or swapped; half of the places are within 512 bytes of an end, where headers lie. What the program's own
function makes of a mutant is

    same      what it makes of the valid file
    other     something else, where no checksum can tell: pixels, names
    refused   HypercolumnsError, the one-line message

and, all of them failures,

    exception    any other
    hang         nothing after --patience seconds
    crash        the process ended, or wanted 4 GB more than it had
    wrong        something else, though the file has checksums
"""

import argparse
import hashlib
import json
import multiprocessing
import random
import resource
import signal
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from common import report
from PIL import Image
from torch import Tensor

from hypercolumns.callbacks import AtomicCheckpointIO, SelfContainedCheckpoint
from hypercolumns.data.class_files import read_classes
from hypercolumns.data.datasets.voc import read_layout
from hypercolumns.errors import HypercolumnsError
from hypercolumns.evaluation import Evaluation
from hypercolumns.io.images import read_image, read_mask, write_mask
from hypercolumns.labels import voc_palette
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.backbones import weights as weights_module
from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.models.model_file import TRAINED
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.store import ImageSamples, SampleStore, StoreWriter, find_damage

CLASSES = ["ground", "cat", "dog"]
FAILURES = ("exception", "hang", "crash", "wrong")
OUTCOMES = ("same", "other", "refused", *FAILURES)
MEMORY = 4 << 30  # more than before, that a reader may ask for
EDGE = 512  # bytes at either end, with half of the mutations


class Kind(NamedTuple):
    """A kind of file.

    Attributes:
        file: that is mutated.
        read: what the program makes of it, as something that can be compared.
        checked: whether checksums cover it, so that other content must be refused.
    """

    file: Path
    read: Callable[[], Any]
    checked: bool


def main() -> None:
    """Try and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=10_000, help="of all kinds together")
    parser.add_argument("--kinds", nargs="*", help="only these")
    parser.add_argument("--patience", type=float, default=20, help="seconds for one mutant")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table as data too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as temporary:
        kinds = make(Path(temporary))
        chosen = options.kinds or list(kinds)
        rows: list[dict[str, Any]] = []
        for place, name in enumerate(chosen):
            number = options.mutants * (place + 1) // len(chosen) - options.mutants * place // len(chosen)
            began = time.perf_counter()
            counts = try_out(name, kinds[name], number, options.seed, options.patience)
            seconds = {"s": f"{time.perf_counter() - began:.0f}"}
            rows.append({"file": name, "mutants": number, **{one: counts[one] for one in OUTCOMES}} | seconds)
    rows.append({"file": "all", **{one: sum(row[one] for row in rows) for one in ("mutants", *OUTCOMES)}, "s": ""})
    report(f"{options.mutants} mutants, seed {options.seed}", rows, options.json)
    assert not any(rows[-1][one] for one in FAILURES), "some mutants were not refused as they should be"


def try_out(name: str, kind: Kind, number: int, seed: int, patience: float) -> Counter[str]:
    """How many mutants of a file came to what; they are tried in a process of its own, a new one after a failure."""
    valid, expected = kind.file.read_bytes(), kind.read()
    counts: Counter[str] = Counter()
    done = 0
    while done < number:
        parent, child = multiprocessing.Pipe()
        process = multiprocessing.get_context("fork").Process(
            target=work, args=(name, kind, valid, expected, range(done, number), seed, child)
        )
        process.start()
        child.close()
        while done < number:
            try:
                outcome, why = parent.recv() if parent.poll(patience) else ("hang", f"after {patience} s")
            except EOFError:
                process.join()
                outcome, why = "crash", f"exit code {process.exitcode}"
            if outcome in FAILURES:
                print(f"{name}, mutant {done} of seed {seed}: {outcome} {why}")
            counts[outcome] += 1
            done += 1
            if outcome in ("hang", "crash"):
                break
        process.kill()
        process.join()
    kind.file.write_bytes(valid)
    return counts


def work(name: str, kind: Kind, valid: bytes, expected: Any, numbers: range, seed: int, results: Connection) -> None:
    """Try mutants and send what came of each."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
    for number in numbers:
        kind.file.write_bytes(mutate(valid, random.Random(f"{seed} {name} {number}")))
        why = ""
        try:
            outcome = "same" if kind.read() == expected else "wrong" if kind.checked else "other"
        except HypercolumnsError as error:
            outcome = "refused" if "\n" not in str(error) else "exception"
            why = str(error)
        except MemoryError as error:
            outcome, why = "crash", repr(error)
        except Exception as error:
            outcome, why = "exception", repr(error)[:300]
        results.send((outcome, why))


def mutate(valid: bytes, chance: random.Random) -> bytes:
    """Other bytes than these, by one of the ways."""

    def place() -> int:
        near = min(EDGE, len(valid))
        at = chance.randrange(near if chance.random() < 0.5 else len(valid))
        return at if chance.random() < 0.5 else len(valid) - 1 - at

    while True:
        data = bytearray(valid)
        way, at, length = chance.choice(["flip", "cut", "insert", "delete", "swap"]), place(), chance.randint(1, 16)
        if way == "flip":
            for _ in range(chance.choice([1, 1, 2, 8])):
                data[place()] ^= 1 << chance.randrange(8)
        elif way == "cut":
            del data[at:]
        elif way == "insert":
            data[at:at] = chance.randbytes(length)
        elif way == "delete":
            del data[at : at + length]
        else:
            other = place()
            one, two = data[at : at + length], data[other : other + length]
            data[at : at + length], data[other : other + length] = two, one
        if data != valid:
            return bytes(data)


def make(folder: Path) -> dict[str, Kind]:
    """Small valid files of each kind, in that folder."""
    chance = np.random.default_rng(0)
    palette = voc_palette(len(CLASSES))
    layout = folder / "VOC"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (layout / name).mkdir(parents=True)
    mask = np.kron(chance.integers(0, 3, (6, 8)), np.ones((8, 8))).astype(np.uint8)
    picture = Image.fromarray((mask[..., None] * 80 + chance.integers(0, 60, (48, 64, 3))).astype(np.uint8))
    names = [f"2007_{number:06d}" for number in range(6)]
    for name in names:
        picture.save(layout / "JPEGImages" / f"{name}.jpg")
        write_mask(layout / "SegmentationClass" / f"{name}.png", mask, palette)
    for split, listed in (("train", names[:4]), ("val", names[4:])):
        (layout / "ImageSets/Segmentation" / f"{split}.txt").write_text("".join(f"{name}\n" for name in listed))
    jpeg, png = layout / "JPEGImages" / f"{names[0]}.jpg", folder / "image.png"
    picture.save(png)
    coloured = folder / "coloured.png"
    Image.fromarray(np.array(palette, np.uint8)[mask]).save(coloured)
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))

    torch.manual_seed(0)
    backbone = Backbone("rgb", ["image", "pyramid:2", "coordinates"])
    segmenter = Segmenter(backbone, MLPClassifier(backbone.channels, len(CLASSES), 32), CLASSES).eval()
    model, checkpoint, weights = (folder / name for name in ("model.safetensors", "last.ckpt", "weights.pth"))
    segmenter.save(model)
    state: dict[str, Any] = {"state_dict": {TRAINED + name: one for name, one in segmenter.tensors().items()}}
    SelfContainedCheckpoint(segmenter).on_save_checkpoint(None, None, state)  # type: ignore[arg-type]
    AtomicCheckpointIO().save_checkpoint(state, checkpoint)
    torch.save({f"features.{number}.weight": torch.randn(8, 3, 3, 3) for number in range(3)}, weights)

    evaluation = Evaluation(
        tuple(CLASSES), tuple(names), *(torch.from_numpy(chance.integers(0, 99, (6, 3, 3))) for _ in range(2)), 3
    )
    evaluation.save(folder / "images.npz")

    store = folder / "store"
    with StoreWriter(store, {"seed": 1, "cnn": {"network": "none"}}, {"train": 40, "val": 5}) as writer:
        for split in ("train", "val"):
            for shard in writer.claims(split):
                writer.write(shard, [samples(number) for number in writer.images(shard)])
        writer.finish()

    def of_layout() -> Any:
        images = read_layout(layout, "voc", CLASSES, "train", "val")
        return {split: [pair.id for pair in pairs] for split, pairs in images.splits.items()}

    def of_store() -> Any:
        opened = SampleStore(store)
        found = []
        for name in opened.records:
            split = opened.split(name)
            found.append(
                tensors_hash(dict(zip("fl", split.fetch(torch.arange(len(split)), places=True)[:2], strict=True)))
            )
            found.append(tensors_hash(dict(zip("ms", split.statistics(), strict=True))))
            found += [image.id for image in split.images()]
            split.origins(torch.arange(len(split)))
        return found

    def of_verified_store() -> Any:
        damage = find_damage(store)
        if damage:
            raise HypercolumnsError(damage[0])
        return of_store()

    def of_segmenter(path: Path) -> Any:
        loaded = Segmenter.load(path)
        return json.dumps(loaded.header(), sort_keys=True), tensors_hash(loaded.tensors())

    def of_evaluation() -> Any:
        loaded = Evaluation.load(folder / "images.npz")
        counts = tensors_hash({"e": loaded.all_pixels, "b": loaded.boundary})
        return loaded.classes, loaded.ids, loaded.boundary_width, counts

    def of_weights() -> Any:
        return tensors_hash(weights_module.load("squeezenet1_0", str(weights))[0])

    mask_file = layout / "SegmentationClass" / f"{names[0]}.png"
    return {
        "JPEG": Kind(jpeg, lambda: hash_of(read_image(jpeg)), False),
        "PNG": Kind(png, lambda: hash_of(read_image(png)), False),
        "mask of indices": Kind(mask_file, lambda: hash_of(read_mask(mask_file, palette, len(CLASSES))), True),
        "mask of colours": Kind(coloured, lambda: hash_of(read_mask(coloured, palette, len(CLASSES))), True),
        "split list": Kind(layout / "ImageSets/Segmentation/train.txt", of_layout, False),
        "class names": Kind(folder / "classes.txt", lambda: read_classes(folder / "classes.txt"), False),
        "model.safetensors": Kind(model, lambda: of_segmenter(model), True),
        "checkpoint": Kind(checkpoint, lambda: of_segmenter(checkpoint), True),
        "weights.pth": Kind(weights, of_weights, True),
        "images.npz": Kind(folder / "images.npz", of_evaluation, True),
        "store: index": Kind(store / "index.json", of_verified_store, True),
        "store: fingerprint": Kind(store / "fingerprint.json", of_verified_store, True),
        "store: sidecar": Kind(store / "train-00001.json", of_verified_store, True),
        "store: shard": Kind(store / "train-00001.safetensors", of_verified_store, True),
        "shard, not verified": Kind(store / "train-00001.safetensors", of_store, False),
        "sidecar, not verified": Kind(store / "train-00001.json", of_store, False),
        "index, not verified": Kind(store / "index.json", of_store, False),
    }


def samples(number: int) -> ImageSamples:
    """Those of an image, by chance."""
    generator = torch.Generator().manual_seed(number)
    count = 1 + number % 4
    return ImageSamples(
        f"image {number}",
        (30, 40),
        torch.randint(0, 30, (count, 2), generator=generator),
        torch.randint(0, 3, (count,), generator=generator),
        torch.randn(count, 6, generator=generator),
    )


def hash_of(tensor: Tensor) -> str:
    """A hash of a tensor's type, shape and values."""
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def tensors_hash(tensors: Any) -> dict[str, str]:
    """A hash of each."""
    return {name: hash_of(tensor) for name, tensor in tensors.items()}


if __name__ == "__main__":
    main()
