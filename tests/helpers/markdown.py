"""Code blocks, headings and links of the project's Markdown pages."""

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

NEEDS = re.compile(r"<!-- needs: (.+) -->\n*")


class Block(NamedTuple):
    """A fenced block; `needs` is what its author says that it needs, such as a GPU, or None."""

    language: str
    text: str
    line: int
    needs: str | None


def blocks(page: Path) -> Iterator[Block]:
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.type == "fence":
            mark = NEEDS.fullmatch(before.content) if before and before.type == "html_block" else None
            yield Block(token.info.strip(), token.content, token.map[0] + 2, mark[1] if mark else None)


def inline_commands(page: Path) -> Iterator[Block]:
    """Yield the whole commands in the text and the tables of a page, which are checked and not run.

    A variable such as `$C` in them stands for settings that another page lists.
    """
    for token in MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8")):
        for child in token.children or ():
            if child.type == "code_inline" and re.match(r"(python|uv run) (train|predict)\.py [^<]+$", child.content):
                yield Block(
                    "bash",
                    re.sub(r" \$\w+", "", child.content),
                    token.map[0] + 1 if token.map else 0,
                    "its place in the text",
                )


def commands(script: str) -> Iterator[list[str]]:
    """Yield the arguments of each command of a bash block, with the variables that the block or an earlier one sets.

    Only what the pages need is understood: commands joined by `&&`, lines by `\\`; comments; `C="..."` and `$C`.
    """
    for line in script.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        for ends, group in itertools.groupby(words, "&&".__eq__):
            if not ends:
                yield list(group)


def substitute(words: list[str], line_variables: dict[str, str]) -> list[str]:
    """Replace each `$C` that stands alone by the words of its value, as bash does without quotes."""
    result = []
    for word in words:
        value = line_variables.get(word[1:]) if word.startswith("$") else None
        result += shlex.split(value) if value is not None else [word]
    return result


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    found: dict[str, int] = {}
    result = set()
    for heading, content in itertools.pairwise(tokens):
        if heading.type == "heading_open":
            text = "".join(child.content for child in content.children or () if child.type in ("text", "code_inline"))
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            number = found.get(slug, 0)
            found[slug] = number + 1
            result.add(f"{slug}-{number}" if number else slug)
    return result


def links(page: Path) -> Iterator[str]:
    """Yield the targets of a page's links and pictures."""
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        for child in token.children or ():
            target = child.attrs.get("href" if child.type == "link_open" else "src") if child.attrs else None
            if target:
                yield str(target)
