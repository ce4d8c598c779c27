"""What each command prints, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

import vicinal
from vicinal.cli.program import program

COMMANDS = sorted(program.commands)


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


# --- help


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(run, name):
    output = run(name, "--help").stdout
    assert "Example" in output
    assert f"vicinal {name}" in output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_help(name):
    for parameter in program.commands[name].params:
        assert not isinstance(parameter, click.Option) or parameter.help


def test_the_program_alone_shows_help(run):
    assert "Commands:" in run().stdout
    assert run("-h").stdout == run().stdout


def test_version(run):
    assert run("--version").stdout == f"vicinal {vicinal.__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(run, shell):
    assert "_VICINAL_COMPLETE" in run("completion", shell).stdout


def test_names_of_collections_are_completed(run, points):
    words = {"_VICINAL_COMPLETE": "bash_complete", "COMP_WORDS": "vicinal info points.db -c po", "COMP_CWORD": "4"}
    assert run(env=words).stdout == "plain,points\n"


# --- search


def test_a_field_that_no_row_has_is_named_where_nothing_is_found(run, app):
    assert run("search", app, "wall", "--where", "yeer > 2000").stderr == "note: no row has the field 'yeer'\n"
    assert run("search", app, "wall", "--where", "year > 3000").stderr == ""


def test_search_prints_lines_with_tabs(run, app):
    lines = run("search", app, "wall colour", "-k", 2).stdout.splitlines()
    assert lines[0] == "score\tid\tdocument\tmetadata"
    assert lines[1].split("\t")[1:] == ["paint", "a wall paint that dries fast", 'year=2024, tags=["diy"]']
    assert len(lines) == 3


def test_search_prints_json(run, app):
    found = json.loads(run("search", app, "archive", "--where", "year >= 2025", "--json").stdout)
    assert [hit["id"] for hit in found] == ["gzip"]
    assert sorted(found[0]) == ["distance", "document", "id", "metadata", "score"]


def test_filter_can_be_a_json_object(run, app):
    found = json.loads(run("search", app, "x", "--where", '{"year": {"$lt": 2022}}', "--json").stdout)
    assert [hit["id"] for hit in found] == ["bread"]
    assert "looks like JSON" in run("search", app, "x", "--where", "{year", code=2).stderr


def test_search_by_vector_in_its_three_forms(run, points, tmp_path):
    np.save(tmp_path / "q.npy", np.array([[3, 4]], np.float32))
    (tmp_path / "q.json").write_text("[3, 4]\n")
    for given in (["--vector", "[3, 4]"], ["--vector-file", "q.npy"], ["--vector-file", "q.json"]):
        found = json.loads(run("search", points, "-c", "points", "-k", 1, "--exact", "--json", *given).stdout)
        assert [(hit["id"], hit["distance"]) for hit in found] == [(2, 0.0)]


def test_explain(run, app):
    assert "candidates" in run("search", app, "x", "--explain").stdout
    assert json.loads(run("search", app, "x", "--explain", "--json").stdout)["rows"] == 3


def test_control_characters_do_not_reach_the_terminal(run, tmp_path):
    with vicinal.connect(tmp_path / "a.db") as db:
        db.collection("a", dim=1, metric="l2").add(vectors=[[1]], documents=["\x1b[31mred\r\n\ttext"])
    output = run("search", "a.db", "--vector", "[1]").stdout
    assert "\x1b" not in output
    assert "red text" in output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["app.db"], 2, "give one of QUERY, --vector and --vector-file"),
        (["app.db", "x", "--vector", "[1]"], 2, "give one of"),
        (["app.db", "x", "-k", "0"], 2, "-k"),
        (["app.db", "x", "-c", "dosc"], 3, "did you mean 'docs'"),
        (["app.db", "x", "--where", "year >>= 3"], 2, "at character 7 of: year >>= 3"),
        (["app.db", "--vector", "[1, 2]"], 2, "256"),
        (["app.db", "--vector", "[1, NaN"], 2, "not a JSON array"),
        (["app.db", " "], 2, "the query is empty"),
        (["ap.db", "x"], 3, "did you mean 'app.db'"),
        (["notes.txt", "x"], 7, "is not an SQLite database"),
        ([".", "x"], 2, "is a directory"),
        (["points.db", "x", "-c", "points"], 2, "has no embedder"),
        (["points.db", "x"], 2, "choose one with -c: other, points"),
    ],
)
@pytest.mark.usefixtures("app", "points")
def test_search_refuses(run, tmp_path, arguments, code, message):
    (tmp_path / "notes.txt").write_text("not a database, but long enough to have a header of its own" * 20)
    assert message in run("search", *arguments, code=code).stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["search", "typo.db", "x"],
        ["get", "typo.db", "x"],
        ["info", "typo.db"],
        ["export", "typo.db", "out.jsonl"],
        ["backup", "typo.db", "copy.db"],
        ["verify", "typo.db"],
        ["verify", "typo.db", "--repair"],
        ["compact", "typo.db"],
        ["delete", "typo.db", "x", "--yes"],
        ["delete", "typo.db", "-c", "x", "--all", "--yes"],
    ],
    ids=" ".join,
)
def test_misspelt_path_makes_no_file(run, tmp_path, arguments):
    assert "no database 'typo.db'" in run(*arguments, code=3).stderr
    assert listing(tmp_path) == []


# --- get and info


def test_get_by_id_tells_what_is_missing(run, app):
    result = run("get", app, "bread", "nothing", code=3)
    assert "bread\thow to bake" in result.stdout
    assert "no row with id 'nothing'" in result.stderr


def test_get_by_filter_in_order(run, app):
    found = json.loads(run("get", app, "--where", "year > 2000", "--order-by", "-year", "--limit", 2, "--json").stdout)
    assert [row["id"] for row in found] == ["gzip", "paint"]


def test_get_counts(run, app):
    assert run("get", app, "--count", "--where", "year > 2020").stdout == "2\n"


def test_get_with_vectors(run, points):
    found = json.loads(run("get", points, "-c", "points", "2", "--vectors", "--json").stdout)
    assert found[0]["vector"] == [3.0, 4.0]


def test_id_of_another_type_is_refused(run, points):
    assert "are whole numbers, not 'x'" in run("get", points, "-c", "points", "x", code=3).stderr


def test_info(run, points):
    result = run("info", points)
    assert "points\t3\tvector: 2 x f32, l2" in result.stdout
    found = json.loads(run("info", points, "-c", "points", "--json").stdout)
    assert found["collections"][0]["rows"] == 3
    assert "id_type\tint" in run("info", points, "-c", "points").stdout


# --- import and export


def test_import_names_the_collection_after_the_file(run, tmp_path):
    (tmp_path / "facts.jsonl").write_text('{"id": "a", "text": "water is wet"}\n')
    output = run("import", "new.db", "facts.jsonl", "--embedder", "wordllama").stdout
    assert output == "stored 1 row; 'facts' in new.db has 1\n"


def test_import_options_reach_the_collection(run, tmp_path):
    np.save(tmp_path / "v.npy", np.eye(8, dtype=np.float32))
    found = json.loads(
        run(
            "import",
            "new.db",
            "v.npy",
            "-c",
            "v",
            "--metric",
            "l2",
            "--dtype",
            "f16",
            "--number",
            "--batch",
            3,
            "--json",
        ).stdout
    )
    assert found == {"collection": "v", "stored": 8, "repeated": 0, "batches": 3, "rows": 8}
    with vicinal.connect("new.db") as db:
        info = db.collection("v").info()
    index = {"kind": "auto", "parameters": {}}
    assert info["fields"] == [{"name": "vector", "dim": 8, "dtype": "f16", "metric": "l2", "index": index}]
    assert info["id_type"] == "int"


@pytest.mark.parametrize("target", ["out.jsonl", "out.parquet"])
def test_export_and_import(run, app, target):
    assert run("export", app, target).stdout.startswith(f"wrote 3 rows to {target}")
    assert "exists already" in run("export", app, target, code=4).stderr
    run("export", app, target, "--force")
    assert run("import", "copy.db", target).stdout == "stored 3 rows; 'docs' in copy.db has 3\n"
    assert run("search", "copy.db", "wall", "--json").stdout == run("search", app, "wall", "--json").stdout


def test_export_to_stdout(run, app):
    lines = run("export", app, "-", "--no-vectors", "--where", "year = 2020").stdout.splitlines()
    assert [json.loads(line).get("id") for line in lines] == [None, "bread"]


def test_export_to_another_format_is_refused(run, app):
    assert "ends in .jsonl or .parquet" in run("export", app, "out.xlsx", code=2).stderr


@pytest.mark.parametrize(
    ("text", "arguments", "code", "message"),
    [
        ('{"id": 1, "text": "x"}', [], 2, "choose an embedder"),
        ('{"id": 1, "text": "x"}', ["--embedder", "wordlama"], 3, "did you mean 'wordllama'"),
        ('{"id": 1, "vector": [1]}\n{"id": 2, "vector": [1, 2]}', [], 2, "data.jsonl, line 2: expected 1 dimension"),
        ('{"id": 1, "vector": [1]}\n{"id": 2, "vec', [], 2, "data.jsonl, line 2: not JSON"),
        ('{"id": 1, "vector": [0]}', [], 2, "data.jsonl, line 1: "),
        ("", [], 2, "holds no rows"),
    ],
)
def test_import_refuses(run, tmp_path, text, arguments, code, message):
    (tmp_path / "data.jsonl").write_text(text)
    assert message in run("import", "new.db", "data.jsonl", *arguments, code=code).stderr


def test_import_of_nothing_makes_no_database(run, tmp_path):
    assert "no file or folder 'typo.jsonl'" in run("import", "new.db", "typo.jsonl", code=3).stderr
    (tmp_path / "bad.npy").write_text("hello")
    run("import", "new.db", "bad.npy", code=2)
    assert listing(tmp_path) == ["bad.npy"]


# --- keeping


def test_backup(run, app, tmp_path):
    assert run("backup", app, "copy.db").stdout.startswith("copied ")
    assert run("get", "copy.db", "--count").stdout == "3\n"
    assert "never overwrites" in run("backup", app, "copy.db", code=4).stderr


def test_verify(run, app):
    assert "no problems" in run("verify", app).stdout
    assert json.loads(run("verify", app, "--json").stdout)["ok"] is True


def test_compact(run, app):
    run("delete", app, "--where", "year > 0", "--yes")
    assert json.loads(run("compact", app, "--json").stdout)["bytes_after"] > 0


# --- delete


def test_delete_by_id_and_by_filter(run, app):
    assert run("delete", app, "bread", "--yes").stdout == "deleted 1 row\n"
    assert json.loads(run("delete", app, "-w", "year > 0", "--yes", "--json").stdout) == {"deleted": 2}


def test_delete_asks(run, app):
    refused = CliRunner().invoke(program, ["delete", str(app), "bread"], input="n\n")
    assert refused.exit_code == 1
    assert "Delete 1 row of 'docs'? [y/N]" in refused.stderr
    assert "nothing was deleted" in refused.stderr
    agreed = CliRunner().invoke(program, ["delete", str(app), "bread"], input="y\n")
    assert (agreed.exit_code, agreed.stdout) == (0, "deleted 1 row\n")


def test_delete_where_nobody_answers(run, app):
    unanswered = CliRunner().invoke(program, ["delete", str(app), "bread"], input="")
    assert unanswered.exit_code == 2
    assert "add --yes" in unanswered.stderr
    assert run("get", app, "--count").stdout == "3\n"


def test_delete_of_everything_needs_the_name(run, app):
    assert "needs its name" in run("delete", app, "--all", code=2).stderr
    run("delete", app, "-c", "docs", "--all", "--yes")
    with vicinal.connect(app) as db:
        assert db.collections() == []


def test_delete_without_rows_is_refused(run, app):
    assert "give one of IDS" in run("delete", app, code=2).stderr
    assert "give one of IDS" in run("delete", app, "x", "-w", "a = 1", code=2).stderr


def test_an_import_that_stores_nothing_leaves_no_collection(run, points):
    Path("ragged.jsonl").write_text('{"id": "a", "vector": [1, 2, 3]}\n{"id": "b", "vector": [1, 2]}\n', "utf-8")
    assert "expected 3 dimensions, got 2" in run("import", "new.db", "ragged.jsonl", code=2).stderr
    assert "ragged" not in run("info", "new.db", "--json").stdout
    run("import", points, "ragged.jsonl", "-c", "other", code=2)
    with vicinal.connect(points) as db:
        assert db.collections() == ["other", "points"]
