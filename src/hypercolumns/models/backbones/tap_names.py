"""Read the names of taps in a backbone's arguments `taps` and `context`."""

import re
from collections.abc import Sequence

from hypercolumns.errors import ArgumentError
from hypercolumns.models.backbones._body import TapModules
from hypercolumns.models.backbones.context import KINDS, ContextTap


def parse(name: object) -> ContextTap | None:
    """Create the context tap with the given name, or return None if the name is the path of a module.

    Args:
        name: the name of a context tap, such as `pyramid:6`, or the path of a module.

    Returns:
        The context tap; None if the name is the path of a module.

    Raises:
        ArgumentError: if the name contains a colon, but is not the name of a context tap.
    """
    for kind in KINDS:
        if match := re.fullmatch(kind.pattern, str(name)):
            return kind(str(name), *map(int, match.groups()))
    if ":" in str(name):  # no module's path contains a colon
        raise ArgumentError(
            f"{name} in the setting taps or context is not a context tap; write coordinates, pyramid:N (such as "
            f"pyramid:6) or local_mean:N with an odd N of at least 3"
        )
    return None


def split_taps(taps: Sequence[str | Sequence[str]]) -> tuple[TapModules, tuple[ContextTap, ...]]:
    """Separate the taps on modules of a network from the context taps.

    Args:
        taps: first the taps on modules, each as the path of a module or as a list of paths; then the names of context
            taps.

    Returns:
        Two tuples. The first one holds the paths of each tap's modules, one tuple for each tap on modules. The second
        one holds the context taps, with the global ones last.

    Raises:
        ArgumentError: if `taps` does not begin with a module, names a module after a context tap, or names a context
            tap twice.
    """
    groups = [(tap,) if isinstance(tap, str) else tuple(tap) for tap in taps]
    contexts = [parse(group[0]) if len(group) == 1 else None for group in groups]
    layers = tuple(group for group, context in zip(groups, contexts, strict=True) if context is None)
    if not layers or any(context is not None for context in contexts[: len(layers)]):
        raise ArgumentError(
            f"taps={[*taps]} must name modules of the network first, and then context taps; name at least one "
            f"module, and move the context taps to the end"
        )
    names = [context.name for context in contexts if context is not None]
    if doubled := [name for name in names if names.count(name) > 1]:
        raise ArgumentError(f"taps and context name {doubled[0]} twice; name it once")
    named = [context for context in contexts if context is not None]
    return layers, tuple(sorted(named, key=lambda context: context.is_global))


def check_context(names: Sequence[str] | None) -> Sequence[str]:
    """Check a backbone's argument `context`, and return it as a sequence; None becomes an empty sequence.

    Raises:
        ArgumentError: unless `names` is None or a list of names of context taps.
    """
    names = () if names is None else names
    if isinstance(names, str) or not isinstance(names, Sequence) or any(parse(name) is None for name in names):
        raise ArgumentError(f"context={names} must be a list of context taps, such as [pyramid:6,local_mean:3]")
    return names
