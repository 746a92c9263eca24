"""Tests of `glimpses serve`: model descriptions, host names, bad arguments."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from glimpses import cli, runs
from glimpses.evaluation.explanation import Explanation
from glimpses.serve.server import _allowed_hosts, _is_loopback, _listen, describe_models
from tests.serve.conftest import Site


@pytest.mark.parametrize("host", ["127.0.0.1", "LOCALHOST", "127.1", "0.0.0.0"])
def test_loopback_accepts_local_names_only(host: str) -> None:
    with _listen(host, 0) as listener:
        assert _is_loopback(listener) == (host != "0.0.0.0")
    hosts = _allowed_hosts(host)
    assert "*" not in hosts
    assert {"localhost", "127.0.0.1", "::1", host.lower()} <= set(hosts)


def test_explanation_is_summarised(site: Site) -> None:
    folder = site.runs[0]
    file = folder / "explained" / "explanation.json"
    estimate = {"value": 0.9, "low": 0.8, "high": 1.0, "clips": 72}
    explanation = {
        "accuracy": estimate,
        "map_name": "attention",
        "localisation": {
            "attention": {"pointing": estimate},
            "uniform": {"pointing": {"value": 0.25}},
        },
        "attention_ablation": {"uniform": {"value": 0.4, "low": None, "high": None}},
        "groups": ["a", "b", "a"],
    }
    # The keys are the fields of the results that `glimpses explain` writes.
    assert set(explanation) <= {field.name for field in fields(Explanation)}
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(explanation))
    config = runs.read_config(folder)
    summary = describe_models([folder], [config])[0].explanation
    assert summary is not None
    assert summary.model_dump() == {
        "clips": 72, "recordings": 2, "accuracy": 0.9, "accuracy_interval": (0.8, 1.0),
        "pointing_accuracy": 0.9, "pointing_chance": 0.25, "accuracy_uniform_attention": 0.4,
        "accuracy_uniform_attention_interval": None,
    }  # fmt: skip
    file.write_text("{")
    assert describe_models([folder], [config])[0].explanation is None
    file.unlink()


def test_bad_arguments_are_reported_in_one_line(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = site.address.rsplit(":", 1)[1]
    run = str(site.runs[0])
    for arguments, message in {
        (str(tmp_path),): "is not a run",
        (run, "--port", port): "cannot listen on it",
        (run, "--port", "99999999"): "give a number from 0 to 65535",
        (run, "--host", "no.such.host.invalid"): "cannot listen on it",
        (run, "--workers", "0"): "--workers 0: give a number above 0",
        (run, "--max-seconds", "nan"): "--max-seconds nan: give a number above 0",
        (run, "--port", "0", "--examples", str(tmp_path / "none")): "is not a folder",
        (run, "--port", "0", "--examples", str(tmp_path)): "contains no video",
    }.items():
        assert cli.run(["serve", *arguments]) == 1
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
