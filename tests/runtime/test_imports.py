"""Imports without torch's compiler, `scipy.signal` and garbage collections, each in a new process."""

import subprocess
import sys

import pytest

PROLOGUE = """
import gc, importlib, sys
import hypercolumns
from hypercolumns.runtime import imports

def compiler():
    return "torch._dynamo" in sys.modules or "torch._dynamo.utils" in sys.modules
"""


def run(code, *arguments):
    command = [sys.executable, "-c", PROLOGUE + code, *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_prediction_does_not_import_compiler(segmenter, tmp_path):
    path = tmp_path / "model.safetensors"
    segmenter.save(path)
    code = """
import torch
segmenter = hypercolumns.Segmenter.load(sys.argv[1])
segmenter.labels(torch.rand(1, 3, 40, 50))
assert not compiler()
assert "pytorch_lightning" not in sys.modules
"""
    run(code, str(path))


def test_stages_import_no_compiler_and_no_signal():
    """The stand-ins serve every module that imports the compiler in the versions that the tests use."""
    code = """
import hypercolumns.stages.evaluate, hypercolumns.stages.extract, hypercolumns.stages.train
assert not compiler()
assert all(type(sys.modules[name].__loader__).__name__ == "_DeferringLoader" for name in imports.DEFERRED)
assert "torchmetrics.functional.audio" in sys.modules
assert not any(name.startswith("scipy.s") for name in sys.modules)
import scipy.signal
assert scipy.signal.convolve([1, 2], [1, 3]).tolist() == [1, 5, 6]
"""
    run(code)


def test_library_that_uses_scipy_signal_gets_it():
    """torchmetrics may import a library that keeps the module, or some of its names."""
    code = """
with imports._signal_stand_in():
    import scipy.signal
    kept = sys.modules["scipy.signal"]
    assert hasattr(scipy.signal, "hamming")
    assert not hasattr(kept, "unknown")
    from scipy.signal import convolve
    assert convolve is kept.convolve
assert convolve is sys.modules["scipy.signal"].convolve is scipy.signal.convolve
"""
    run(code)


def test_roi_align_and_compiler_work_afterwards():
    """`roi_align` gives the mean of each part of a box, with and without the compiler; tracing meets no stand-in."""
    code = """
import torch
from torchvision.ops import roi_align
image, box = torch.arange(16.).reshape(1, 1, 4, 4), [torch.tensor([[0., 0., 4., 4.]])]
expected = torch.tensor([[[[2.5, 4.5], [10.5, 12.5]]]])
assert torch.equal(roi_align(image, box, 2, aligned=True), expected)
assert not compiler()
torch.use_deterministic_algorithms(True)
assert torch.equal(roi_align(image, box, 2, aligned=True), expected)
assert sys.modules["torchvision.ops.roi_align"].is_compile_supported("cpu") in (True, False)
import torch._dynamo
from torch._dynamo.utils import is_compile_supported
assert sys.modules["torchvision.ops.roi_align"].is_compile_supported("cpu") == is_compile_supported("cpu")
compiled = torch.compile(lambda x: x + 1, backend="eager")
assert torch.equal(compiled(torch.zeros(2)), torch.ones(2))
"""
    run(code)


@pytest.mark.slow
def test_checks_for_compiled_modules():
    """Lightning recognises a module that `torch.compile` returned, and any other module."""
    code = """
import torch, pytorch_lightning
from lightning_fabric import wrappers
from pytorch_lightning.utilities import compile
plain = torch.nn.Linear(2, 2)
assert not compiler()
assert not isinstance(plain, wrappers.OptimizedModule)
assert wrappers._unwrap_compiled(plain) == (plain, None)
compiled = torch.compile(plain, backend="eager")
assert compiler()
assert isinstance(compiled, wrappers.OptimizedModule)
assert isinstance(compiled, compile.OptimizedModule)
assert not isinstance(plain, compile.OptimizedModule)
from torchvision import tv_tensors
assert torch.equal(tv_tensors.wrap(torch.ones(2), like=tv_tensors.Image(torch.ones(1, 2, 2))), torch.ones(2))
"""
    run(code)


@pytest.mark.parametrize("missing", ["is_compile_supported", "OptimizedModule"])
@pytest.mark.slow
def test_unknown_use_imports_compiler(missing):
    """With a version that uses another part of the compiler, the modules are imported as without this project."""
    code = """
import contextlib
stand_ins = imports._stand_ins

@contextlib.contextmanager
def incomplete():
    with stand_ins():
        for module in ("torch._dynamo", "torch._dynamo.utils"):
            vars(sys.modules[module]).pop(sys.argv[1], None)
        yield

imports._stand_ins = incomplete
import torch, torchvision, pytorch_lightning, lightning_fabric.wrappers
assert compiler()
import torch._dynamo
from torch._dynamo.utils import is_compile_supported
assert sys.modules["torchvision.ops.roi_align"].is_compile_supported("cpu") == is_compile_supported("cpu")
assert lightning_fabric.wrappers.OptimizedModule is torch._dynamo.OptimizedModule or sys.argv[1] != "OptimizedModule"
assert torch.compiler.disable.__module__ == "torch.compiler"
"""
    run(code, missing)


def test_imported_compiler_is_left_alone():
    code = """
import torch._dynamo
import torchvision
from torch._dynamo.utils import is_compile_supported
assert sys.modules["torchvision.ops.roi_align"].is_compile_supported is is_compile_supported
"""
    run(code)


def test_collections_pause_until_start_is_over():
    code = """
imports.pause_collections()
assert not gc.isenabled()
with imports.without_collections():
    pass
assert not gc.isenabled()
imports.resume_collections()
frozen = gc.get_freeze_count()
assert gc.isenabled() and frozen > 0
imports.pause_collections()
imports.resume_collections()
assert gc.get_freeze_count() == frozen
with imports.without_collections():
    assert not gc.isenabled()
assert gc.isenabled()
"""
    run(code)


@pytest.mark.slow
def test_compiler_makes_objects_collectable():
    """The compiler's library nanobind prints objects that still exist at the end of the process."""
    code = """
imports.pause_collections()
import torch
imports.resume_collections()
frozen = gc.get_freeze_count()
imports.end_collections()
assert gc.get_freeze_count() == frozen > 0
import torch._dynamo
imports.end_collections()
assert gc.get_freeze_count() == 0
"""
    run(code)


@pytest.mark.parametrize("module", ["triton", "onnx"])
def test_leak_printers_make_objects_collectable(module):
    code = f"""
import sys
imports.pause_collections()
sys.modules[{module!r}] = sys
imports.resume_collections()
assert gc.get_freeze_count() > 0
imports.end_collections()
assert gc.get_freeze_count() == 0
"""
    run(code)


def test_program_with_torch_never_pauses():
    """`resume_collections` would leave out what the program no longer needs from all later collections."""
    code = """
sys.modules["torch"] = sys  # a stand-in, which takes no second to import
imports.pause_collections()
assert gc.isenabled()
imports.resume_collections()
assert gc.get_freeze_count() == 0
"""
    run(code)
