"""`glimpses reproduce` in miniature."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pytest
from PIL import Image

from glimpses import backbones, cli, datasets, video
from glimpses.datasets.annotations.puppet_mask import load_part_mask
from glimpses.datasets.layouts import ucf11
from glimpses.datasets.synthetic import make_miniature
from glimpses.evaluation import evaluate
from glimpses.report import report
from glimpses.reproduce import PENALTIES, TABLE1, CostEstimate, Reproduction, cost, reproduce
from glimpses.reproduce.paper import SLOW
from glimpses.runs import read_config, read_scores
from glimpses.runs.onnx import export
from glimpses.training import train_run
from glimpses.utils.errors import GlimpsesError
from tests.fakes import GreyBackbone

NAMES = ("ucf11", "hmdb51", "hollywood2", "jhmdb")
SPLITS = {
    "ucf11": ["paper"], "hmdb51": ["1", "2", "3"], "hollywood2": ["clean"],
    "jhmdb": ["1", "2", "3"],
}  # fmt: skip
TINY = (
    "hidden_size=4", "num_layers=1", "epochs=1", "block_length=10", "fps=10", "stride=10",
    "train_stride=10",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _grey(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "load", lambda *_, **__: GreyBackbone())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("data")
    return {name: make_miniature(name, root / name) for name in NAMES}


def run(name: Any, data: Path, out: Path, **changes: Any) -> Reproduction:
    options = {"quick": True, "set": TINY, "feature_dir": data.parent / "features", **changes}
    result = reproduce(name, data=data, out=out, **options)
    assert isinstance(result, Reproduction)
    return result


@pytest.mark.parametrize("name", NAMES)
def test_writes_every_table_and_figure(name: str, data: dict[str, Path], tmp_path: Path) -> None:
    result = run(name, data[name], tmp_path / "out")
    tables = {
        file.stem: json.loads(file.read_text()) for file in tmp_path.glob("out/tables/*.json")
    }
    cited = name in ("hmdb51", "hollywood2")
    annotated = name in ("ucf11", "jhmdb")
    extra = [*(["table2"] if cited else []), *(["pointing"] if annotated else [])]
    assert set(tables) == {"table1", "penalty", *extra}
    rows = {row["key"]: row for row in tables["table1"]["rows"]}
    assert list(rows) == ["softmax", "average", "max", "attention-0"]
    assert [row["key"] for row in tables["penalty"]["rows"]] == [
        "attention-0", "attention-1", "attention-10",
    ]  # fmt: skip
    assert [row["paper"] for row in rows.values()] == [row.reported.get(name) for row in TABLE1]
    for row in rows.values():
        splits = row["scores"]
        assert list(splits) == SPLITS[name]
        scores = [score for seeds in splits.values() for score in seeds.values()]
        assert all(0 <= score <= 100 for score in scores)
        assert row["mean"] == pytest.approx(mean(scores))
    assert tables["table1"]["quantity"] == ("mAP" if name == "hollywood2" else "accuracy")
    for figure in result.figures:
        with Image.open(figure) as picture:
            assert min(picture.size) > 100
    assert {"figure6", "figure7"} <= {figure.stem for figure in result.figures}
    assert {"figure2", "figure3"} & {figure.stem for figure in result.figures}
    page = result.page.read_text()
    assert "scores cannot be compared" in page
    for link in re.findall(r"\]\(([^)]+)\)", page):
        assert (result.out / link).is_file()


def test_jhmdb_has_a_pointing_game_and_no_score_of_the_paper(
    data: dict[str, Path], tmp_path: Path
) -> None:
    result = run("jhmdb", data["jhmdb"], tmp_path / "out", split=("2",))
    first, penalty, pointing = result.tables
    assert "The paper has no scores for J-HMDB" in " ".join(first.notes)
    for table in (first, penalty):
        header = next(line for line in table.markdown().splitlines() if line.startswith("|"))
        assert "paper" not in header
    means = {row.row.key: row.mean for row in pointing.rows}
    keys = [*(row.key for row in PENALTIES), "chance", "centre", "motion"]
    assert list(means) == keys
    # Chance is the fraction of places on the actor, computed here from the masks.
    clips = {clip.id: clip for clip in datasets.load(data["jhmdb"]).clips}
    chances = []
    for id in read_config(result.out / "runs/2/attention-0-seed0").clips["test"]:
        mask = load_part_mask(clips[id].annotation)  # type: ignore[arg-type]
        pieces = mask.reshape(len(mask), 2, mask.shape[1] // 2, 2, -1).any((2, 4))
        chances.append(pieces[pieces.any((1, 2))].mean())
    assert means["chance"] == pytest.approx(100 * mean(chances))
    assert all(0 <= value <= 100 for value in means.values())


def test_jhmdb_in_folders_of_classes_is_split_by_recording(
    data: dict[str, Path], tmp_path: Path
) -> None:
    root = tmp_path / "plain"
    shutil.copytree(data["jhmdb"] / "ReCompress_Videos", root)
    result = run("jhmdb", root, tmp_path / "out", quick=False, seeds=1)
    assert list(result.tables[0].rows[0].scores) == ["folds"]
    assert [table.file for table in result.tables] == ["table1", "penalty"]


def test_jhmdb_has_no_options_of_the_authors_code(data: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(GlimpsesError, match="the authors have no script for jhmdb"):
        reproduce("jhmdb", data=data["jhmdb"], out=tmp_path, preset="authors-code", quick=True)


def test_prints_tables_without_markdown(
    data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [word for option in TINY for word in ("--set", option)]
    arguments = ["reproduce", "ucf11", "--quick", "--data", str(data["ucf11"])]
    features = ["--feature-dir", str(data["ucf11"].parent / "features")]
    assert cli.run([*arguments, "--out", str(tmp_path / "out"), *options, *features]) == 0
    shown = capsys.readouterr().out
    assert "Table 1. Performance on UCF-11" in shown
    row = next(line for line in shown.splitlines() if "Average-pooled LSTM" in line)
    assert "82.56" in row
    assert not re.search(r"\*\*|\| ?-{3}|^\||`|^- ", shown, re.MULTILINE)


def test_interrupted_command_continues_with_the_same_result(
    data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uninterrupted = run("ucf11", data["ucf11"], tmp_path / "whole")
    calls: list[int] = []
    fit = train_run.fit

    def interrupted(*arguments: Any, **named: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        fit(*arguments, **named)

    monkeypatch.setattr(train_run, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("ucf11", data["ucf11"], tmp_path / "cut")
    continued = run("ucf11", data["ucf11"], tmp_path / "cut")
    models = len({row.key for row in (*TABLE1, *PENALTIES, SLOW)})
    assert len(calls) == models + 1
    assert [t.to_json() for t in continued.tables] == [t.to_json() for t in uninterrupted.tables]
    run("ucf11", data["ucf11"], tmp_path / "cut")
    assert len(calls) == models + 1


def test_several_seeds_give_a_deviation(data: dict[str, Path], tmp_path: Path) -> None:
    result = run("ucf11", data["ucf11"], tmp_path / "out", quick=False, seeds=2)
    row = result.tables[0].rows[0]
    assert list(row.scores["paper"]) == [0, 1]
    assert row.to_json()["deviation"] is not None
    assert "mean of 2 seeds" in result.tables[0].markdown()


def test_dry_run_estimates_the_cost_and_writes_nothing(
    data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every timing gives 4 seconds: for a batch of 8 blocks, and for 16 frames.
    monkeypatch.setattr(cost, "_time", lambda *_: 4.0)
    # Strings are accepted as paths.
    options: Any = {"data": str(data["ucf11"]), "out": str(tmp_path / "out"), "dry_run": True}
    one = reproduce("ucf11", seeds=1, set=TINY, **options)
    two = reproduce("ucf11", seeds=2, set=TINY, **options)
    assert isinstance(one, CostEstimate)
    assert isinstance(two, CostEstimate)
    assert (one.models, two.models) == (7, 13)
    # Clips of 3 seconds; cubes of 2x2 places with one half-precision number; 10 fps, and 6 fps for
    # Figure 7.
    clips = len(list(data["ucf11"].rglob("*.mpg")))
    assert one.disk == pytest.approx(clips * 3 * (10 + 6) * 8, rel=0.05)
    assert one.extraction == pytest.approx(clips * 3 * (10 + 6) * 4 / 16 / 3600, rel=0.05)
    # 3 blocks of 10 frames in a clip, half a second each; each model also tests and validates.
    per_model = (two.training - one.training) / 6
    assert clips * 3 * 0.5 / 3 < per_model * 3600 < clips * 3 * 0.5
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"set": ("hiden_size=4",)}, "--set hiden_size=4"),
        ({"set": ("hidden_size=many",)}, "--set hidden_size=many"),
        (
            {"set": ("aggregate=foo",)},
            "--aggregate foo: unknown name; there are mean, logits, majority",
        ),
        ({"set": ("optimizer=SGD",)}, "--optimizer SGD"),
        ({"set": ("attention=foo",)}, "--attention foo"),
        ({"set": ("hidden_size=0",)}, "--hidden-size 0"),
        ({"set": ("fps=-3",)}, "--fps -3"),
        ({"set": ("learning_rate=nan",)}, "--learning-rate nan"),
        ({"set": ("attention_penalty=5",)}, "--set attention_penalty=5"),
        ({"split": ("4",)}, "there are 1, 2, 3"),
        ({"seeds": 0}, "--seeds 0"),
        ({"data": None, "quick": False}, "glimpses download hmdb51"),
        ({"data": "nowhere"}, "nowhere: no such folder"),
    ],
)
def test_invalid_arguments_are_named(
    changes: dict[str, Any], message: str, data: dict[str, Path], tmp_path: Path
) -> None:
    options = {"data": data["hmdb51"], "out": tmp_path / "out", "quick": True, **changes}
    with pytest.raises(GlimpsesError, match=re.escape(message)):
        reproduce("hmdb51", **options)
    assert not (tmp_path / "out" / "runs").exists()


def test_other_data_do_not_damage_finished_results(data: dict[str, Path], tmp_path: Path) -> None:
    first = run("ucf11", data["ucf11"], tmp_path / "out")
    fewer = tmp_path / "fewer"
    shutil.copytree(data["ucf11"], fewer)
    shutil.rmtree(next(path for path in sorted(fewer.rglob("*")) if path.name in ucf11.PREFIXES))
    with pytest.raises(GlimpsesError, match="other options"):
        run("ucf11", fewer, tmp_path / "out")
    again = run("ucf11", data["ucf11"], tmp_path / "out")
    assert [t.to_json() for t in again.tables] == [t.to_json() for t in first.tables]


def test_scores_are_measured_again_after_labels_change(
    data: dict[str, Path], tmp_path: Path
) -> None:
    root = tmp_path / "hollywood2"
    shutil.copytree(data["hollywood2"], root)
    before = run("hollywood2", root, tmp_path / "out", quick=False, seeds=1)
    lists = sorted((root / "Hollywood2" / "ClipSets").glob("*_test.txt"))
    texts = [file.read_text() for file in lists]
    for file, text in zip(lists, [*texts[1:], texts[0]], strict=True):
        file.write_text(text)
    after = run("hollywood2", root, tmp_path / "out", quick=False, seeds=1)
    assert [r.mean for r in after.tables[0].rows] != [r.mean for r in before.tables[0].rows]


def test_one_clip_per_class_and_subset_is_enough_for_a_miniature(tmp_path: Path) -> None:
    root = tmp_path / "ucf11"
    for label, prefix in list(ucf11.PREFIXES.items())[:2]:
        for group in (1, 5):
            name = f"{prefix}_{group:02}"
            frames = np.full((12, 32, 32, 3), 20 * group + len(label), np.uint8)
            video.write(root / label / name / f"{name}_01.mpg", frames, fps=30)
    result = run("ucf11", root, tmp_path / "out")
    assert "2 of the 11 classes" in result.page.read_text()


def test_a_reproduced_run_can_be_evaluated_reported_and_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    changes = (*TINY, "backbone=efficientnet_lite0:4:7")
    root = tmp_path / "ucf11"
    for label, prefix in list(ucf11.PREFIXES.items())[:2]:
        for group in (1, 5):
            name = f"{prefix}_{group:02}"
            frames = np.full((12, 32, 32, 3), 20 * group + len(label), np.uint8)
            video.write(root / label / name / f"{name}_01.mpg", frames, fps=30)
    out, store = tmp_path / "out", tmp_path / "store"
    made = reproduce("ucf11", data=root, out=out, quick=True, set=changes, feature_dir=store)
    assert isinstance(made, Reproduction)
    folder = out / "runs" / "paper" / "average-seed0"
    validation, record = read_scores(folder)
    assert (validation.subset, record.subset) == ("validation", "test")
    expected = next(row for row in made.tables[0].rows if row.row.key == "average").mean
    assert 100 * record.value == expected
    assert evaluate(folder, feature_dir=store).value == record.value
    report(folder, out=tmp_path / "report.html", feature_dir=store)
    assert read_scores(folder) == [validation, record]
    exported = export(folder).out
    assert f"| accuracy | {record.value:.1%} |" in (exported / "README.md").read_text()
    # After all that, reproducing again scores nothing again.
    monkeypatch.setattr("glimpses.reproduce.experiments.evaluate_clips", None)
    monkeypatch.setattr("glimpses.reproduce.experiments._draw_figures", lambda *_: [])
    again = reproduce("ucf11", data=root, out=out, quick=True, set=changes, feature_dir=store)
    assert isinstance(again, Reproduction)
    assert [t.to_json() for t in again.tables] == [t.to_json() for t in made.tables]


def test_missing_weights_are_reported_before_any_work(
    data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_weights(*_: object, **__: object) -> None:
        raise GlimpsesError("http://x/net: cannot be fetched")

    monkeypatch.setattr(backbones, "load", no_weights)
    with pytest.raises(GlimpsesError, match="cannot be fetched; or use a network"):
        run("ucf11", data["ucf11"], tmp_path / "out", quick=False)
    assert not (tmp_path / "out").exists()
