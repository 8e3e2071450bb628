"""The conventions of CONTRIBUTING.md that a program can check."""

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import hypercolumns

ROOT = Path(__file__).parents[1]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
PROSE = [
    *sorted((ROOT / "src").rglob("*.py")),
    *sorted((ROOT / "conf").rglob("*.yaml")),
    *sorted((ROOT / "benchmarks").rglob("*.*")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(ROOT.glob("*.md")),
]
BANNED = (
    "of which|such as are|likewise|besides|wanting|anew|whichever|so many|as can be|(is|are) told|(is|are) said|has had"
)
WIDE = 3  # arguments from which a callable needs the sections of Google's style
MAX_NAME, MAX_LINES, MAX_README = 45, 400, 150


def modules() -> list:
    found = pkgutil.walk_packages(hypercolumns.__path__, "hypercolumns.")
    return [importlib.import_module(name) for _, name, _ in found if name.rpartition(".")[2] != "__main__"]


def public_members(scope, module: str) -> Iterator[tuple[str, object]]:
    for name, member in vars(scope).items():
        plain = getattr(member, "__func__", member)
        if not name.startswith("_") and getattr(plain, "__module__", None) == module:
            yield name, plain


def callables() -> Iterator[tuple[str, Callable, str]]:
    """Yield the name, the function and the docstring of every public callable of the package."""
    for module in modules():
        for name, member in public_members(module, module.__name__):
            where = f"{module.__name__}.{name}"
            if inspect.isfunction(member):
                yield where, member, member.__doc__ or ""
            elif inspect.isclass(member):
                own_init = vars(member).get("__init__")
                if own_init or dataclasses.is_dataclass(member) or hasattr(member, "_fields"):
                    initializer = own_init or member.__new__
                    yield where, initializer, f"{member.__doc__}\n{getattr(own_init, '__doc__', None)}"
                for method, function in public_members(member, module.__name__):
                    if inspect.isfunction(function) and not overrides(member, method):
                        yield f"{where}.{method}", function, function.__doc__ or ""


def overrides(owner: type, method: str) -> bool:
    """Whether a base class documents the method: one from outside, such as Lightning's, or one of ours."""
    return any(method in vars(base) for base in owner.__mro__[1:])


def wide(function: Callable) -> bool:
    names = [name for name in inspect.signature(function).parameters if name not in ("self", "cls", "_cls")]
    return len(names) >= WIDE


def raises(function: Callable) -> bool:
    """Whether the function itself raises an error of ours, rather than something that it calls."""
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):  # made by dataclass or NamedTuple
        return False
    pending: list[ast.AST] = list(ast.parse(textwrap.dedent(source)).body[0].body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            return ast.unparse(node.exc.func) != "NotImplementedError"
        if not isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            pending += ast.iter_child_nodes(node)
    return False


def missing_sections(function: Callable, doc: str) -> list[str]:
    """Return the sections that the docstring lacks."""
    is_method_or_function = inspect.isfunction(function) and function.__name__ not in ("__init__", "__new__")
    returns = inspect.signature(function).return_annotation
    needed = [("Args:", "Attributes:")]
    if is_method_or_function and returns not in (None, "None", inspect.Signature.empty):
        needed.append(("Returns:", "Yields:"))
    if raises(function):
        needed.append(("Raises:",))
    return [" or ".join(titles) for titles in needed if not any(re.search(rf"(?m)^\s*{t}$", doc) for t in titles)]


def test_wide_callables_have_google_sections():
    lacking = {where: gaps for where, f, doc in callables() if wide(f) and (gaps := missing_sections(f, doc))}
    assert not lacking, "\n".join(f"{where}: no {', '.join(gaps)}" for where, gaps in lacking.items())


def test_check_sees_a_missing_section():
    def bare(a: int, b: int, c: int) -> int:
        """Add."""
        if a < 0:
            raise ValueError("negative")
        return a + b + c

    assert wide(bare)
    assert missing_sections(bare, bare.__doc__) == ["Args: or Attributes:", "Returns: or Yields:", "Raises:"]
    assert (
        missing_sections(bare, "Add.\n\nArgs:\n    a: one.\n\nReturns:\n    Sum.\n\nRaises:\n    ValueError: it") == []
    )


def test_public_names_have_docstrings():
    assert [where for where, _, doc in callables() if not doc.strip(" \nNone")] == []


def test_prose_avoids_banned_words():
    pattern = re.compile(rf"\b({BANNED})\b", re.IGNORECASE)
    hits = [
        f"{path.relative_to(ROOT)}:{number}: {found[0]}"
        for path in PROSE
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (found := pattern.search(line))
    ]
    assert not hits, "\n".join(hits)


def test_readme_fits_one_screen():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= MAX_README


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_test_file_follows_conventions(path):
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    long = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and len(node.name) > MAX_NAME
    ]
    private = [
        f"{node.module}: {alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hypercolumns")
        for alias in node.names
        if any(part.startswith("_") for part in f"{node.module}.{alias.name}".split("."))
    ]
    modules = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hypercolumns")
        for alias in node.names
    }
    private += [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in modules
        and re.match("_[^_]", node.attr)
    ]
    private += re.findall(r"hypercolumns\.[\w.]*\._[a-z]\w*", source)
    assert not long, "names above 45 characters"
    assert not private, "imports of private names"
    assert len(source.splitlines()) <= MAX_LINES
