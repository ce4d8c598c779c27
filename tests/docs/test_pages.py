"""The documentation runs as it stands, leads nowhere dead, and says what the code says."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import vicinal
from vicinal import settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = sorted(DOCS.rglob("*.md"))
# Pages with Python of their own kind: single expressions, or another test runs them.
ELSEWHERE = {"reference/filters.md", "how-to/import-export.md", "wrong-uses.md"}
RUN = [path for path in PAGES if path.relative_to(DOCS).as_posix() not in ELSEWHERE]
EXAMPLE = re.compile(r"^```python([^\n]*)\n(.*?)^```$(?:\n\n?^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def text_of(path):
    return path.read_text(encoding="utf-8")


def parametrize_pages(pages):
    return pytest.mark.parametrize("path", pages, ids=[path.relative_to(ROOT).as_posix() for path in pages])


@parametrize_pages(RUN)
def test_examples_run(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for number, (about, code, output) in enumerate(EXAMPLE.findall(text_of(path)), 1):
        if about.strip().startswith("no-run"):
            assert len(about.partition(":")[2]) > 5, "say why: ```python no-run: needs …"
            continue
        exec(compile(code, f"{path.name}, example {number}", "exec"), namespace)  # noqa: S102 - our own pages
        printed = capsys.readouterr().out
        if output:
            assert printed == output


def anchors(path):
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", text_of(path)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(path):
    for link in LINK.findall(FENCED.sub("", text_of(path))):
        if not re.match(r"https?:", link):
            name, _, anchor = link.partition("#")
            yield (path.parent / name).resolve() if name else path, anchor


@parametrize_pages([README, *PAGES])
def test_links_lead_somewhere(path):
    for target, anchor in links(path):
        assert target.exists(), target
        assert not anchor or anchor in anchors(target), f"{target}#{anchor}"


def test_every_page_can_be_reached_from_the_readme():
    seen, waiting = set(), [README]
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting += [target for target, _ in links(path) if target.suffix == ".md"]
    assert [path.name for path in PAGES if path not in seen] == []


@pytest.mark.parametrize("name", ["api.md", "errors.md"])
def test_generated_reference_is_current(name):
    pages = runpy.run_path(str(DOCS / "generate.py"))["pages"]()
    assert text_of(DOCS / "reference" / name) == pages[name], "run: python docs/generate.py"


def test_wrong_uses_are_current():
    program = Path(__file__).with_name("wrong_uses.py")
    source = str(Path(vicinal.__file__).parents[1])
    run = subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, "PYTHONPATH": source, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert run.stdout == text_of(DOCS / "wrong-uses.md"), f"run: python {program} > docs/wrong-uses.md"


def test_wrong_uses_raise_errors_of_ours():
    page = text_of(DOCS / "wrong-uses.md")
    assert [line for line in page.splitlines() if line.isupper()] == []


def test_every_setting_is_documented():
    page = text_of(DOCS / "reference" / "settings.md")
    names = {entry.name for entry in dataclasses.fields(settings.Settings)}
    names |= set(inspect.signature(vicinal.connect).parameters)
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []


def test_every_limit_is_documented():
    page = text_of(DOCS / "reference" / "settings.md")
    limits = {name: value for name, value in vars(settings).items() if name.startswith("MAX_")}
    assert [name for name, value in limits.items() if f"| `{name}` | {value:,} |" not in page] == []
