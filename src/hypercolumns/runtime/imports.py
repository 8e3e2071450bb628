"""Make imports of large libraries cheaper: no garbage collections, no torch's compiler, and no `scipy.signal`."""

import functools
import gc
import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo"
# Modules with a library by nanobind, which prints objects that still exist at the end of the process. torch imports
# triton for the compiler, but also for other modules, such as `torch.utils.flop_counter`.
LEAK_PRINTERS = (COMPILER, "triton", "onnx")
# Modules that import the compiler although an eager program does not use it. Each of them uses one of the stand-ins.
USERS = (
    "torchvision.ops.roi_align",
    "torchvision.tv_tensors",
    "lightning_fabric.wrappers",
    "pytorch_lightning.trainer.connectors.logger_connector.result",
    "pytorch_lightning.utilities.compile",
)
# torchmetrics imports this module where SciPy is installed, only to add an old name to it, `hamming`, for another
# library. This project does not use the name.
SIGNAL = "scipy.signal"
DEFERRED = {**dict.fromkeys(USERS, COMPILER), "torchmetrics": SIGNAL}  # what each module imports without a use


def pause_collections() -> None:
    """Pause the garbage collector while a program starts; do nothing if torch is imported already.

    Imports create many objects that live as long as the process, so collections during the imports take a third of
    their time and free next to nothing.
    """
    if "torch" not in sys.modules:
        gc.disable()


def resume_collections() -> None:
    """Resume the garbage collector if it is paused.

    Later collections, including those at the end of the process, leave out the objects that exist now.
    """
    if not gc.isenabled():
        if not gc.get_freeze_count():
            gc.freeze()
        gc.enable()


def end_collections() -> None:
    """Prepare the garbage collector for the end of the program.

    If one of the modules `LEAK_PRINTERS` was imported, no object is left out any more. Otherwise, this module would
    print objects that are left out as leaks.
    """
    resume_collections()
    if any(name in sys.modules for name in LEAK_PRINTERS):
        gc.unfreeze()


@contextmanager
def without_collections() -> Iterator[None]:
    """Pause the garbage collector while many lasting objects are made, as by the import of a large library."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def defer_imports() -> None:
    """Let torchvision, Lightning and torchmetrics leave out the imports `DEFERRED`.

    The import of torch's compiler takes about as long as `import torch`, that of `scipy.signal` half as long. Call this
    function before these libraries are imported. Their modules `USERS` then import the compiler when they need it.
    """
    if not any(isinstance(finder, _DeferringFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _DeferringFinder())


class _DeferringFinder(importlib.abc.MetaPathFinder):
    """Find the modules with an import in `DEFERRED`, and no other modules, and load them by `_DeferringLoader`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of a module that has an import in `DEFERRED` if this was not imported yet; otherwise None.

        Args:
            fullname: the name of the module.
            path: the folders of the package that holds the module.
            target: not used.

        Returns:
            The spec, or None to leave the module to the other finders.
        """
        if fullname not in DEFERRED or DEFERRED[fullname] in sys.modules:  # there may be a stand-in, see `_stand_ins`
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _DeferringLoader(spec.loader.name, spec.loader.path)
        return spec


class _DeferringLoader(importlib.machinery.SourceFileLoader):
    """Run a module with stand-ins for what it imports without a use."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module with the stand-ins; if this fails, as it may with other versions, run it without them."""
        before = dict(vars(module))
        try:
            with _stand_ins() if DEFERRED[self.name] == COMPILER else _signal_stand_in():
                super().exec_module(module)
        except Exception:
            vars(module).clear()
            vars(module).update(before)
            super().exec_module(module)


class _StandIn(ModuleType):
    """A module that stands in for one of torch's compiler."""


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Put the stand-ins in the place of the compiler and of `torch.compiler.disable`, which imports the compiler."""
    import torch

    compiler, utils = _StandIn(COMPILER), _StandIn(f"{COMPILER}.utils")
    vars(compiler)["OptimizedModule"] = _OptimizedModule
    vars(utils)["is_compile_supported"] = _is_compile_supported
    modules, disable = {module.__name__: module for module in (compiler, utils)}, torch.compiler.disable
    sys.modules |= modules
    vars(torch.compiler)["disable"] = _disable
    try:
        yield
    finally:
        vars(torch.compiler)["disable"] = disable
        for name in modules:
            if isinstance(sys.modules.get(name), _StandIn):
                del sys.modules[name]


@contextmanager
def _signal_stand_in() -> Iterator[None]:
    """Put a `_SignalStandIn` in the place of `scipy.signal`."""
    sys.modules[SIGNAL] = stand_in = _SignalStandIn(SIGNAL)
    try:
        yield
    finally:
        if sys.modules.get(SIGNAL) is stand_in:
            del sys.modules[SIGNAL]


class _SignalStandIn(ModuleType):
    """A module that stands in for `scipy.signal`, and imports it when something else than `hamming` is used."""

    hamming = None  # torchmetrics adds this name only if it does not exist

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(SIGNAL) is self:
            del sys.modules[SIGNAL]
        return getattr(importlib.import_module(SIGNAL), name)


def _compiler() -> Any:
    """Return torch's compiler if it is imported, otherwise None."""
    module = sys.modules.get(COMPILER)
    return None if isinstance(module, _StandIn) else module


def _is_compile_supported(device_type: str) -> bool:
    """Return whether torch can compile programs for a kind of device, by the function of the same name in torch."""
    from torch._dynamo.utils import is_compile_supported

    supported: bool = is_compile_supported(device_type)
    return supported


def _disable(function: Callable[..., Any] | None = None, **settings: Any) -> Any:
    """Decorate a function that torch must not compile. As long as the compiler is not imported, nothing compiles it.

    With settings, or without a function, the compiler is imported and decides.
    """
    if function is None or settings:
        import torch._dynamo

        return torch._dynamo.disable(function, **settings)

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        compiler = _compiler()
        return (function if compiler is None else compiler.disable(function))(*args, **kwargs)

    return wrapped


class _InstancesOfCompiler(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        compiler = _compiler()
        return compiler is not None and isinstance(instance, compiler.OptimizedModule)


class _OptimizedModule(metaclass=_InstancesOfCompiler):
    """The class of modules that `torch.compile` returned, in checks by `isinstance`."""
