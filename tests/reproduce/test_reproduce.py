"""The paper's experiments in miniature: every part is made, adds up, and is made only once."""

from __future__ import annotations

import inspect
import json
import re
import shutil
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pytest
from PIL import Image

from glimpses import backbones, video
from glimpses.datasets.layouts import ucf11
from glimpses.datasets.synthetic import make_miniature
from glimpses.evaluation import evaluate
from glimpses.report import report
from glimpses.reproduce import Reproduction, presets, reproduce
from glimpses.reproduce.cost import Cost
from glimpses.reproduce.paper import PENALTIES, SLOW, TABLE1, TABLE2
from glimpses.runs import read_scores
from glimpses.runs.onnx import export
from glimpses.training import train, train_run
from glimpses.utils.errors import GlimpsesError
from tests.fakes import GreyBackbone

NAMES = ("ucf11", "hmdb51", "hollywood2")
TINY = ("hidden=4", "layers=1", "epochs=1", "steps=10", "fps=10", "stride=10", "train_stride=10")


@pytest.fixture(autouse=True)
def _grey(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "load", lambda *_, **__: GreyBackbone())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("data")
    return {name: make_miniature(name, root / name) for name in NAMES}


def run(name: Any, data: Path, out: Path, **changes: Any) -> Reproduction:
    given = {"quick": True, "change": TINY, "store": data.parent / "store", **changes}
    made = reproduce(name, data=data, out=out, **given)
    assert isinstance(made, Reproduction)
    return made


@pytest.mark.parametrize("name", NAMES)
def test_every_table_and_figure_is_made(name: str, data: dict[str, Path], tmp_path: Path) -> None:
    made = run(name, data[name], tmp_path / "out")
    tables = {
        file.stem: json.loads(file.read_text()) for file in tmp_path.glob("out/tables/*.json")
    }
    cited = name in ("hmdb51", "hollywood2")
    assert set(tables) == {"table1", "penalty", *(["table2"] if cited else [])}
    rows = {row["key"]: row for row in tables["table1"]["rows"]}
    assert list(rows) == ["softmax", "average", "max", "attention-0"]
    assert [row["key"] for row in tables["penalty"]["rows"]] == [
        "attention-0", "attention-1", "attention-10",
    ]  # fmt: skip
    assert [row["paper"] for row in rows.values()] == [row.reported[name] for row in TABLE1]
    for row in rows.values():
        splits = row["scores"]
        assert list(splits) == {"ucf11": ["paper"], "hmdb51": ["1", "2", "3"]}.get(name, ["clean"])
        each = [score for seeds in splits.values() for score in seeds.values()]
        assert all(0 <= score <= 100 for score in each)
        assert row["mean"] == pytest.approx(mean(each))
    assert tables["table1"]["quantity"] == ("mAP" if name == "hollywood2" else "accuracy")
    for figure in made.figures:
        with Image.open(figure) as picture:
            assert min(picture.size) > 100
    assert {"figure6", "figure7"} <= {figure.stem for figure in made.figures}
    assert {"figure2", "figure3"} & {figure.stem for figure in made.figures}
    page = made.page.read_text()
    assert "these numbers say nothing" in page
    for link in re.findall(r"\]\(([^)]+)\)", page):
        assert (made.out / link).is_file()


def test_interrupted_it_goes_on_and_ends_the_same(
    data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run("ucf11", data["ucf11"], tmp_path / "whole")
    calls: list[int] = []
    fit = train_run.fit

    def interrupted(*given: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        fit(*given)

    monkeypatch.setattr(train_run, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("ucf11", data["ucf11"], tmp_path / "cut")
    again = run("ucf11", data["ucf11"], tmp_path / "cut")
    models = len({row.key for row in (*TABLE1, *PENALTIES, SLOW)})
    assert len(calls) == models + 1
    assert [t.to_json() for t in again.tables] == [t.to_json() for t in whole.tables]
    run("ucf11", data["ucf11"], tmp_path / "cut")
    assert len(calls) == models + 1


def test_several_seeds_give_a_spread(data: dict[str, Path], tmp_path: Path) -> None:
    made = run("ucf11", data["ucf11"], tmp_path / "out", quick=False, seeds=2)
    row = made.tables[0].rows[0]
    assert list(row.scores["paper"]) == [0, 1]
    assert row.to_json()["deviation"] is not None
    assert "mean of 2 seeds" in made.tables[0].markdown()


def test_cost_is_told_and_follows_from_the_clips(data: dict[str, Path], tmp_path: Path) -> None:
    given = {"data": data["ucf11"], "out": tmp_path / "out", "dry_run": True}
    one = reproduce("ucf11", seeds=1, change=TINY, **given)
    two = reproduce("ucf11", seeds=2, change=TINY, **given)
    assert isinstance(one, Cost)
    assert isinstance(two, Cost)
    assert (one.models, two.models) == (7, 13)
    # 3 seconds a clip; 2x2 places of one half-precision number; at 10 fps, and at 6 for Figure 7.
    clips = len(list(data["ucf11"].rglob("*.mpg")))
    assert one.disk == pytest.approx(clips * 3 * (10 + 6) * 8, rel=0.05)
    assert two.training > one.training
    assert not (tmp_path / "out").exists()


def test_presets_name_their_sources_and_fit_the_training() -> None:
    accepted = inspect.signature(train).parameters
    for name in NAMES:
        for kind in ("paper", "authors-code"):
            settings = presets.preset(name, kind)
            assert all(setting.source for setting in settings.values())
            for row in (*TABLE1, *PENALTIES, SLOW):
                assert set(presets.arguments(settings, row)) <= set(accepted)


def test_authors_lambda_is_worth_less_where_the_loss_is_a_mean() -> None:
    settings = presets.preset("ucf11", "authors-code")
    given = presets.arguments(settings, PENALTIES[1])
    assert given["model"] == "authors"
    assert given["attention_penalty"] == pytest.approx(1 / 128)
    assert presets.arguments(presets.preset("ucf11"), PENALTIES[1])["attention_penalty"] == 1


def test_reported_numbers_are_the_papers(shared: Path) -> None:
    lines = (shared / "PAPER.md").read_text().splitlines()
    first = {line.split("\t")[0]: line.split("\t")[1:] for line in lines if line.count("\t") == 3}
    names = {"softmax": "Softmax", "average": "Avg", "max": "Max", "attention-0": "Soft attention"}
    for row in TABLE1:
        found = next(cells for title, cells in first.items() if title.startswith(names[row.key]))
        assert [float(cell) for cell in found] == [row.reported[name] for name in NAMES]
    second = {line.split("\t")[0]: line.split("\t")[1:] for line in lines if line.count("\t") == 2}
    for system in TABLE2:
        key = re.sub(r"\W", "", system.title)
        cells = next(c for title, c in second.items() if re.sub(r"\W", "", title).startswith(key))
        found = {n: float(c) for n, c in zip(NAMES[1:], cells, strict=True) if c != "-"}
        assert found == dict(system.reported)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"change": ("hiden=4",)}, "--change hiden=4"),
        ({"change": ("hidden=many",)}, "--change hidden=many"),
        ({"change": ("vote=foo",)}, "--vote foo: must be one of mean, majority"),
        ({"change": ("optimiser=SGD",)}, "--optimiser SGD"),
        ({"change": ("form=foo",)}, "--form foo"),
        ({"change": ("hidden=0",)}, "--hidden-size 0"),
        ({"change": ("fps=-3",)}, "--fps -3"),
        ({"change": ("learning_rate=nan",)}, "--learning-rate nan"),
        ({"change": ("attention_penalty=5",)}, "--change attention_penalty=5"),
        ({"split": ("4",)}, "there are 1, 2, 3"),
        ({"seeds": 0}, "--seeds 0"),
        ({"data": None, "quick": False}, "glimpses download hmdb51"),
        ({"data": Path("nowhere")}, "nowhere: no such folder"),
    ],
)
def test_wrong_calls_say_what_is_wrong(
    changes: dict[str, Any], said: str, data: dict[str, Path], tmp_path: Path
) -> None:
    given = {"data": data["hmdb51"], "out": tmp_path / "out", "quick": True, **changes}
    with pytest.raises(GlimpsesError, match=re.escape(said)):
        reproduce("hmdb51", **given)
    assert not (tmp_path / "out" / "runs").exists()


def test_other_data_do_not_spoil_what_is_done(data: dict[str, Path], tmp_path: Path) -> None:
    first = run("ucf11", data["ucf11"], tmp_path / "out")
    fewer = tmp_path / "fewer"
    shutil.copytree(data["ucf11"], fewer)
    shutil.rmtree(next(one for one in sorted(fewer.rglob("*")) if one.name in ucf11.PREFIXES))
    with pytest.raises(GlimpsesError, match="other settings"):
        run("ucf11", fewer, tmp_path / "out")
    again = run("ucf11", data["ucf11"], tmp_path / "out")
    assert [t.to_json() for t in again.tables] == [t.to_json() for t in first.tables]


def test_scores_follow_the_labels(data: dict[str, Path], tmp_path: Path) -> None:
    """Corrected labels change the scores of runs that were trained before."""
    root = tmp_path / "hollywood2"
    shutil.copytree(data["hollywood2"], root)
    before = run("hollywood2", root, tmp_path / "out", quick=False, seeds=1)
    lists = sorted((root / "Hollywood2" / "ClipSets").glob("*_test.txt"))
    texts = [file.read_text() for file in lists]
    for file, text in zip(lists, [*texts[1:], texts[0]], strict=True):
        file.write_text(text)
    after = run("hollywood2", root, tmp_path / "out", quick=False, seeds=1)
    assert [r.mean for r in after.tables[0].rows] != [r.mean for r in before.tables[0].rows]


def test_one_clip_a_side_is_enough_for_a_miniature(tmp_path: Path) -> None:
    root = tmp_path / "ucf11"
    for label, prefix in list(ucf11.PREFIXES.items())[:2]:
        for group in (1, 5):
            name = f"{prefix}_{group:02}"
            frames = np.full((12, 32, 32, 3), 20 * group + len(label), np.uint8)
            video.write(root / label / name / f"{name}_01.mpg", frames, fps=30)
    made = run("ucf11", root, tmp_path / "out")
    assert "2 of the 11 classes" in made.page.read_text()


def test_a_reproduced_run_can_be_evaluated_reported_and_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    changes = ("hidden=4", "layers=1", "epochs=1", "steps=10", "backbone=efficientnet_lite0:4:7",
               "stride=10", "train_stride=10")  # fmt: skip
    root = tmp_path / "ucf11"
    for label, prefix in list(ucf11.PREFIXES.items())[:2]:
        for group in (1, 5):
            name = f"{prefix}_{group:02}"
            frames = np.full((12, 32, 32, 3), 20 * group + len(label), np.uint8)
            video.write(root / label / name / f"{name}_01.mpg", frames, fps=30)
    out, store = tmp_path / "out", tmp_path / "store"
    made = reproduce("ucf11", data=root, out=out, quick=True, change=changes, store=store)
    assert isinstance(made, Reproduction)
    folder = out / "runs" / "paper" / "average-seed0"
    (record,) = read_scores(folder)
    expected = next(row for row in made.tables[0].rows if row.row.key == "average").mean
    assert 100 * record.value == expected
    assert evaluate(folder, feature_dir=store).value == record.value
    report(folder, out=tmp_path / "report.html", feature_dir=store)
    assert read_scores(folder) == [record]
    exported = export(folder).out
    assert f"accuracy {record.value:.1%}" in (exported / "README.md").read_text()
    # After all that, reproducing again scores nothing again.
    monkeypatch.setattr("glimpses.reproduce.experiments.evaluate_clips", None)
    monkeypatch.setattr("glimpses.reproduce.experiments._draw", lambda *_: [])
    again = reproduce("ucf11", data=root, out=out, quick=True, change=changes, store=store)
    assert isinstance(again, Reproduction)
    assert [t.to_json() for t in again.tables] == [t.to_json() for t in made.tables]
