"""The speed benchmarks run, and report what they measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

# Benchmarks are scripts: the interpreter finds their modules beside the one that runs.
sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

import gpu
import measuring
import run
import sampling
import shortcuts
from measuring import Bench, Comparison, Sample, Way


def test_speeds_are_ratios_within_a_round() -> None:
    comparison = Comparison(
        "t", "frame", "slow", {"slow": 10, "fast": 100},
        {"slow": [Sample(10, 20), Sample(30, 20)], "fast": [Sample(50, 20, 7), Sample(30, 40, 9)]},
    )  # fmt: skip
    assert comparison.speeds("fast") == pytest.approx([2, 10])
    assert comparison.speeds("fast", "cpu") == pytest.approx([10, 5])
    assert comparison.peak("fast") == 9
    assert comparison.peak("slow") is None
    row = next(line for line in measuring.table(comparison).splitlines() if "| fast" in line)
    assert row == "| fast | 400 | 300 | 6 (2-10) | 7.5 (5-10) | 9 |"


@pytest.mark.slow
def test_the_study_of_samplings_runs(tmp_path: Path) -> None:
    sampling.main([str(tmp_path), "--groups", "3", "--budgets", "3", "--seeds", "1"])
    table = (tmp_path / "sampling.md").read_text().splitlines()
    assert [row.split(" | ")[0].removeprefix("| ") for row in table[2:]] == list(sampling.SAMPLINGS)
    assert (tmp_path / "sampling.png").read_bytes().startswith(b"\x89PNG")


def test_every_way_has_its_turn_in_every_round(tmp_path: Path) -> None:
    done: list[str] = []
    ways = {name: Way(lambda name=name: done.append(name), 1) for name in "abc"}
    found = Bench(3, 1, tmp_path).compare("t", "thing", "a", ways)
    assert done == list("abcbcacab")
    assert {name: len(samples) for name, samples in found.samples.items()} == dict.fromkeys(
        "abc", 3
    )


def test_a_process_is_measured_alone(tmp_path: Path) -> None:
    ballast = torch.ones(50_000_000)
    bench = Bench(1, 1, tmp_path)
    small = bench.process(sys.executable, "-c", "pass")
    large = bench.process(sys.executable, "-c", "b = bytearray(b'1') * 60_000_000; sum(b[::9])")
    assert small.peak is not None
    assert large.peak is not None
    assert 0 < small.peak < 100 < ballast.nbytes / 1e6
    assert large.peak - small.peak > 50
    assert large.cpu > small.cpu > 0
    with pytest.raises(RuntimeError, match="no such luck"):
        bench.process(sys.executable, "-c", "raise SystemExit('no such luck')")


@pytest.mark.parametrize(
    ("case", "way"),
    [
        ("extraction", "glimpses extract, video to store"),
        ("training", "nn.LSTM, pooled"),
        ("gpu", "glimpses, read ahead"),
        pytest.param("start", "glimpses decoder step", marks=pytest.mark.slow),
        pytest.param("growth", "2 clips", marks=pytest.mark.slow),
    ],
)
def test_a_case_runs(case: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "SIDE", 64)
    monkeypatch.setattr(gpu, "DEVICE", "cuda" if torch.cuda.is_available() else "cpu")
    # Both are changed by the run, which is a program of its own.
    monkeypatch.setenv("GLIMPSES_CACHE", "")
    for name in measuring.THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    threads = torch.get_num_threads()
    try:
        run.main([case, "--quick", "--threads", "1", "--out", str(tmp_path)])
    finally:
        torch.set_num_threads(threads)
    found = json.loads((tmp_path / "results.json").read_text())["comparisons"]
    for comparison in found:
        assert comparison["title"] in (tmp_path / "results.md").read_text()
        for samples in comparison["samples"].values():
            assert len(samples) == 1
            assert samples[0]["wall"] > 0
    assert any(way in comparison["samples"] for comparison in found)
    assert (tmp_path / "results.png").read_bytes().startswith(b"\x89PNG")


def test_a_shortcuts_loss_is_paired() -> None:
    usual = {seed: {"accuracy": value} for seed, value in zip("abc", (0.9, 0.5, 0.7), strict=True)}
    other = {
        seed: {"accuracy": value} for seed, value in zip("abc", (0.89, 0.49, 0.69), strict=True)
    }
    # Seeds differ by 40 points, pairs by none.
    assert shortcuts.loss(usual, other, "accuracy") == "+1.00 (+1.00 to +1.00)"
    assert shortcuts.loss(usual, {"a": other["a"]}, "accuracy") == "+1.00"


@pytest.mark.slow
def test_shortcuts_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortcuts, "GROUPS", 3)
    monkeypatch.setattr(shortcuts, "ROUNDS", 1)
    monkeypatch.setitem(
        shortcuts.SETTINGS, "generated", {"epochs": 1, "hidden_size": 8, "num_layers": 1}
    )
    ways = ["int8", "skip-static-8"]
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path), "--seeds", "1", "--ways", *ways])
    shortcuts.main()
    found = json.loads((tmp_path / "shortcuts.json").read_text())
    for way in ("float32", *ways):
        assert found["studies"]["generated"][way]["1"]["clips"] == 6
        (extraction,) = found["extraction"]["generated"][way].values()
        assert extraction["frames"] == 3 * 6 * 30
        assert (extraction["computed"] < extraction["frames"]) == (way == "skip-static-8")
