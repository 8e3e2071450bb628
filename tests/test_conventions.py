"""The conventions of CONTRIBUTING.md that a program can check."""

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Callable, Iterator

import pytest
from helpers.paths import CONF, ROOT

import hypercolumns

TESTS = sorted((ROOT / "tests").rglob("*.py"))
PROSE = [
    *(ROOT / "src").rglob("*.py"),
    *CONF.rglob("*.yaml"),
    *(path for path in TESTS if path.name != "test_conventions.py"),
    *(
        path
        for folder in ("benchmarks", "docs")
        for suffix in ("py", "md")
        for path in (ROOT / folder).rglob(f"*.{suffix}")
    ),
    *(
        path
        for pattern in ("*.md", "*.py", "pyproject.toml", ".ci/run", "findings/*.sh")
        for path in ROOT.glob(pattern)
    ),
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
        plain = inspect.unwrap(getattr(member, "__func__", member))
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
    return method != "forward" and any(method in vars(base) for base in owner.__mro__[1:])


def wide(function: Callable) -> bool:
    names = [name for name in inspect.signature(function).parameters if name not in ("self", "cls", "_cls")]
    return len(names) >= WIDE


def raises(function: Callable) -> bool:
    """Whether the function itself raises an error, rather than something that it calls."""
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):  # made by dataclass or NamedTuple
        return False
    pending: list[ast.AST] = list(ast.parse(textwrap.dedent(source)).body[0].body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Raise) and node.exc and "NotImplementedError" not in ast.unparse(node.exc):
            return True
        if not isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            pending += ast.iter_child_nodes(node)
    return False


def missing_sections(function: Callable, doc: str) -> list[str]:
    """Return the sections that the docstring lacks."""
    is_constructor = function.__name__ in ("__init__", "__new__")
    returns = inspect.signature(function).return_annotation
    needed = [("Args:", "Attributes:")]
    if not is_constructor and returns not in (None, "None", inspect.Signature.empty):
        needed.append(("Returns:", "Yields:"))
    if raises(function):
        needed.append(("Raises:",))
    return [" or ".join(titles) for titles in needed if not any(re.search(rf"(?m)^\s*{t}$", doc) for t in titles)]


def imports(tree: ast.AST) -> list[tuple[str, str]]:
    """Return (module, name) of everything that a file imports from the package."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return [
        (node.module, alias.name)
        for node in nodes
        if (node.module or "").startswith("hypercolumns")
        for alias in node.names
    ]


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


def test_prose_avoids_banned_words():
    pattern = re.compile(rf"\b({BANNED})\b".replace(" ", r"[\s#]+"), re.IGNORECASE)
    hits = [
        f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, found.start()) + 1}: {found[0]}"
        for path in sorted(PROSE)
        for text in [path.read_text(encoding="utf-8")]
        for found in pattern.finditer(text)
    ]
    assert not hits, "\n".join(hits)


def test_readme_fits_one_screen():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= MAX_README


def test_public_names_and_version_are_documented():
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    directives = set(re.findall(r"^\.\. auto\w+:: hypercolumns\.(\w+)$", page, re.MULTILINE))
    assert directives == set(hypercolumns.__all__) - {"__version__"}
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {hypercolumns.__version__}\n" in citation


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_have_short_names_and_files(path):
    source = path.read_text(encoding="utf-8")
    names = re.findall(r"def (test_\w+)", source)
    assert [name for name in names if len(name) > MAX_NAME] == []
    assert len(source.splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_use_no_private_names(path):
    source = path.read_text(encoding="utf-8")
    names = imports(ast.parse(source))
    private = [
        f"{module}.{name}" for module, name in names if any(part[0] == "_" for part in [*module.split("."), name])
    ]
    for _, module in names:
        private += re.findall(rf"\b{module}\._[a-z]\w*|\b{module}, \"_[a-z]\w*", source)
    private += re.findall(r"hypercolumns\.(?:\w+\.)*_[a-z]\w*", source)
    assert private == []
