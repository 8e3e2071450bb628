"""Estimate the memory that a network takes for images of some size, without computing anything.

The network runs on the meta device, where tensors have sizes but no values. A count of the bytes of all tensors that
exist at the same time gives the peak.
"""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_bytes(run: Callable[[], object], present: Iterable[Tensor]) -> int:
    """Return the maximum number of bytes of the tensors that exist at the same time during a run on the meta device.

    Memory that an operation uses only while it runs is not counted.

    Args:
        run: computes with tensors on the meta device. Tensors in its result count until the end.
        present: tensors that exist before the run, such as the parameters of the network; they do not count.

    Returns:
        The number of bytes.
    """
    live = _LiveBytes(present)
    with live, _FusedAttention():
        run()
    return live.peak


class _LiveBytes(TorchDispatchMode):
    """Count the bytes of all tensors that operations make inside a `with` block.

    Args:
        present: tensors that do not count.

    Attributes:
        peak: the maximum number of bytes so far.
    """

    def __init__(self, present: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self._now = 0
        self._known: dict[int, object] = {}  # the storages, by address; views share the storage of another tensor
        for tensor in present:
            self._add(tensor, counts=False)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._add(leaf, counts=True)
        self.peak = max(self.peak, self._now)
        return result

    def _add(self, tensor: Tensor, counts: bool) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes() if counts else 0
        self._now += size
        self._known[key] = weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._now -= size
        del self._known[key]


class _FusedAttention(TorchFunctionMode):
    """Let attention run on the meta device as it runs on a CPU or GPU: without a matrix of all pairs of tokens.

    For tensors without values, torch would choose a formula that makes this matrix.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        return _attention(func, *args, **kwargs)


def _attention(
    func: Callable[..., Tensor],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **others: Any,
) -> Tensor:
    """Compute attention by the fused operation if it takes these arguments, which are those of `func`."""
    fits = query.ndim == 4 and query.shape[-1] == value.shape[-1] and query.shape[:2] == key.shape[:2] and not others
    if not fits or dropout_p or (attn_mask is not None and attn_mask.requires_grad):
        return func(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, **others)
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    attended: Tensor = fused(query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale)[0]
    return attended
