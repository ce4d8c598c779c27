"""Times at which rows expire survive an export and an import."""

from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

import vicinal
from vicinal.cli.program import program


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_expiry_survives_export_and_import(tmp_path, suffix):
    soon = datetime.now(UTC).replace(microsecond=123456) + timedelta(hours=1)
    with vicinal.connect(tmp_path / "a.db") as db:
        db.collection("docs", dim=2).add(ids=["a", "b"], vectors=[[1, 0], [0, 1]], expires=[soon, None])
    run = CliRunner()
    exported = run.invoke(program, ["export", str(tmp_path / "a.db"), str(tmp_path / f"rows.{suffix}")])
    assert exported.exit_code == 0, exported.output
    imported = run.invoke(program, ["import", str(tmp_path / "b.db"), str(tmp_path / f"rows.{suffix}"), "-c", "docs"])
    assert imported.exit_code == 0, imported.output
    with vicinal.connect(tmp_path / "b.db") as db:
        rows = db.collection("docs").get(["a", "b"], include=["expires"])
        assert rows.expires == [soon, None]
