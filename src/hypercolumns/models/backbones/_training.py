"""What a network does in training only: it leaves out random residual branches."""

from torch import nn

from hypercolumns.errors import ArgumentError


def check_drop_path(name: str, body: nn.Module, drop_path: float | None) -> None:
    """Check that a network has residual branches to leave out, if `drop_path` is above 0.

    Args:
        name: the network's name.
        body: the network up to its last tap, built with `drop_path`.
        drop_path: see `Backbone`.

    Raises:
        ArgumentError: if it has none. Some constructors ignore the wish, and the first block is never left out.
    """
    if drop_path and not any(getattr(module, "drop_prob", 0) for module in body.modules()):
        raise ArgumentError(
            f"drop_path={drop_path} has no effect on {name}: it has no residual branches up to its last tap that timm "
            f"can leave out; set drop_path=null"
        )
