"""A text as passages short enough to be found by meaning.

Sections begin at headings (Markdown `# …`, reStructuredText underlines). Within a section, whole
paragraphs are put together up to about a thousand characters; a longer paragraph is cut at the end of a
sentence, or else between words. The heading opens the first passage of its section.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TARGET_CHARACTERS", "Passage", "passages"]

TARGET_CHARACTERS: Final = 1000
_ATX = re.compile(r" {0,3}#{1,6}[ \t]+(.*?)[ \t]*#*[ \t]*")
_FENCE = re.compile(r" {0,3}```")
_UNDERLINE = re.compile(r"([=\-~^\"'#*+:.])\1{2,}[ \t]*")
_SENTENCE_END = re.compile(r"[.!?…][\"')\]]*\s")


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a text. `title` is the nearest heading above it, or empty."""

    title: str
    text: str


def passages(text: str, target: int = TARGET_CHARACTERS) -> list[Passage]:
    r"""Return the passages of a text in order; blank ones are left out.

    >>> passages("# Paint\n\nDries fast.\n\n# Brush\n\nSoft.")
    [Passage(title='Paint', text='# Paint\n\nDries fast.'), Passage(title='Brush', text='# Brush\n\nSoft.')]
    """
    return [
        Passage(title, body) for title, section in _sections(text) for body in _grouped(section, target) if body.strip()
    ]


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """Yield (heading, lines from the heading to the next one)."""
    title = ""
    lines: list[str] = []
    fenced = False
    for line in text.splitlines():
        if _FENCE.match(line):
            fenced = not fenced
        heading = None if fenced else _ATX.fullmatch(line)
        if heading:
            yield title, "\n".join(lines)
            title, lines = heading[1], [line]
        elif not fenced and _is_underline(line, lines):
            above = lines.pop()
            yield title, "\n".join(lines)
            title, lines = above.strip(), [above, line]
        else:
            lines.append(line)
    yield title, "\n".join(lines)


def _is_underline(line: str, above: list[str]) -> bool:
    """Tell whether `line` underlines a one-line paragraph, which makes that a heading."""
    if not above or not above[-1].strip() or above[-1][0] in " \t-|>" or not _UNDERLINE.fullmatch(line):
        return False
    alone = len(above) == 1 or not above[-2].strip() or bool(_UNDERLINE.fullmatch(above[-2]))
    return alone and len(line.rstrip()) >= len(above[-1].rstrip()) // 2


def _grouped(section: str, target: int) -> Iterator[str]:
    """Yield whole paragraphs put together up to `target` characters."""
    gathered: list[str] = []
    length = 0
    for paragraph in re.split(r"\n[ \t]*\n", section):
        for piece in _cut(paragraph.strip("\n").rstrip(), target):
            if gathered and length + len(piece) > target:
                yield "\n\n".join(gathered)
                gathered, length = [], 0
            gathered.append(piece)
            length += len(piece) + 2
    if gathered:
        yield "\n\n".join(gathered)


def _cut(paragraph: str, target: int) -> Iterator[str]:
    """Yield a paragraph in pieces of at most 1.5 times `target` characters."""
    limit = target + target // 2
    while len(paragraph) > limit:
        ends = [match.end() for match in _SENTENCE_END.finditer(paragraph, target // 2, limit)]
        end = ends[-1] if ends else paragraph.rfind(" ", target // 2, limit) + 1 or limit
        yield paragraph[:end].rstrip()
        paragraph = paragraph[end:].lstrip()
    if paragraph.strip():
        yield paragraph
