"""What `glimpses explain` and `glimpses compare` write, of explanations whose numbers are known."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from glimpses import cli, models
from glimpses.evaluation.explain import explain_opened
from glimpses.evaluation.explanation import Explanation
from glimpses.report import compare, explain
from glimpses.report import explain_pages as explain_module
from glimpses.report.comparison import compare_models, sections_of
from glimpses.runs import RunConfig
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError
from tests.configs import model_config, run_config
from tests.evaluation.known import opened
from tests.evaluation.made import CLASSES, estimate, explanation, predictions, removal
from tests.report.test_report import HOSTILE, Page
from tests.viz.clips import grey_clip


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Takes explanations by name of the run, in place of running models."""

    def give(**known: Explanation) -> None:
        def explain_run(run: Path, **_: Any) -> Explanation:
            return replace(known[Path(run).name], run=str(run))

        def read_config(run: Path) -> RunConfig:
            classes = known[Path(run).name].classes
            shape = model_config(num_classes=len(classes), places=4, channels=1)
            return run_config(classes=classes, model=shape)

        monkeypatch.setattr(explain_module, "explain_run", explain_run)
        monkeypatch.setattr(explain_module.runs, "read_config", read_config)
        monkeypatch.setattr(explain_module, "require_means", lambda _: None)

    return give


def whole(folder: Path) -> Explanation:
    """Everything an explanation can hold, under the worst of names."""
    clip = grey_clip(folder / "[b] :smile: .avi", count=8)
    return explanation(
        name=HOSTILE,
        classes=(HOSTILE, *CLASSES[1:]),
        clips=tuple(f"{HOSTILE}/{number}" for number in range(6)),
        predictions=predictions(6, [clip] * 6),
        true_labels=((HOSTILE,),) * 6,
        pixel_deletion=removal(0.5, 0.8, 0.9, gain=-0.1),
        pixel_insertion=removal(0.5, 0.3, 0.2, gain=0.1),
    )


def shown(result: Any) -> str:
    console = Console(width=160, markup=False, emoji=False, highlight=False)
    with console.capture() as capture:
        console.print(result)
    return capture.get()


def test_the_page_has_all_and_asks_nothing_of_any_host(
    tmp_path: Path, given: Callable[..., None]
) -> None:
    given(run=whole(tmp_path))

    result = explain(tmp_path / "run")

    content = result.page.read_text(encoding="utf-8")
    page = Page(content)
    assert result.page == tmp_path / "run" / "explained" / "explanation.html"
    assert "script" not in page.tags
    assert page.tags.count("code") == 2  # the run's name, in the heading and below it
    assert page.words.count("<script>") >= 3
    assert "nan" not in page.words
    assert all(url.startswith("data:") for url in page.urls)
    assert not re.search(r"url\(|@import", content[: content.index("</style>")])
    assert any(value.startswith("default-src 'none'") for value in page.attributes)
    # Three aims, by class, by step, four removals, frozen, two moves, maps at both ends, and six
    # frames of each of six clips.
    assert page.tags.count("img") == 3 + 2 + 4 + 1 + 2 + 2 + 36
    alts = re.findall(r'<img[^>]* alt="([^"]*)"', content)
    assert len(alts) == page.tags.count("img")
    assert all(alts)
    assert "attention 91\u00a0% (88 to 94)" in alts[0]


def test_pictures_and_numbers_are_files_too(tmp_path: Path, given: Callable[..., None]) -> None:
    given(run=whole(tmp_path))

    result = explain(tmp_path / "run", out=tmp_path / "out")

    numbers = json.loads((tmp_path / "out" / "explanation.json").read_text())
    assert numbers["accuracy"] == {"value": 0.84, "low": 0.81, "high": 0.87, "clips": 60}
    assert "predictions" not in numbers
    names = {file.stem for file in result.files}
    assert {"deletion", "frozen", "where-pointing", "atlas-most-faithful"} <= names
    for file in result.files:
        if file.suffix == ".png":
            with Image.open(file) as picture:
                assert min(picture.size) > 100
    assert {*result.files, result.page} == set((tmp_path / "out").iterdir())


def test_drawing_the_page_is_seen(
    tmp_path: Path, given: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes seconds, after all else is done."""
    given(run=whole(tmp_path))
    screen = io.StringIO()
    monkeypatch.setattr(progress, "_console", Console(file=screen, force_terminal=True, width=120))

    explain(tmp_path / "run")

    assert "drawing the page" in screen.getvalue()


def test_the_atlas_shows_either_end_of_faithfulness_once(
    tmp_path: Path, given: Callable[..., None]
) -> None:
    faithfulness = np.array([0.3, np.nan, 0.1, -0.2, 0.5, 0.0])
    given(run=replace(whole(tmp_path), faithfulness=faithfulness))

    words = Page(explain(tmp_path / "run").page.read_text()).words

    most, least = words.split("The least faithful clips")
    most = most.split("The most faithful clips")[1]
    assert re.findall(r"faithfulness (\S+),", most) == ["0.50", "0.30"]
    assert re.findall(r"faithfulness (\S+),", least) == ["-0.20", "0.00"]


def test_without_videos_and_boxes_the_rest_is_shown(
    tmp_path: Path, given: Callable[..., None]
) -> None:
    given(run=explanation(where={}, predictions=predictions(6), pointing=np.full(6, np.nan)))

    result = explain(tmp_path / "run")

    words = Page(result.page.read_text()).words
    assert "Nothing tells where the actor is" in words
    assert "maps-most-faithful" in {file.stem for file in result.files}
    assert not any(file.stem.startswith("atlas") for file in result.files)


def test_a_video_that_is_broken_is_left_out_of_the_atlas(
    tmp_path: Path, given: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken.avi"
    broken.write_bytes(b"nothing")
    given(run=explanation(predictions=predictions(6, [broken] * 6)))

    result = explain(tmp_path / "run")

    assert not any(file.stem.startswith("atlas") for file in result.files)
    assert "left out of the atlas" in caplog.text


def test_the_terminal_shows_names_as_they_are(tmp_path: Path, given: Callable[..., None]) -> None:
    given(run=explanation(name="[b] :smile:"))

    said = shown(explain(tmp_path / "run"))

    assert "[b] :smile:" in said
    assert "91.0 (88.0 to 94.0)" in said
    assert "explanation.html" in said


@pytest.mark.parametrize("kind", ["attention", "average"])
def test_what_was_really_measured_is_shown(
    kind: Literal["attention", "average"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models.build_model(
        model_config(num_classes=3, places=4, channels=5, hidden_size=6, model=kind)
    )
    cubes = [torch.randn(frames, 4, 5) for frames in (4, 9, 3, 4)]
    found = explain_opened(opened(model, cubes, [0, 1, 2, 0], groups=list("aabb")))
    monkeypatch.setattr(explain_module, "explain_run", lambda *_, **__: found)

    result = explain(tmp_path / "run")

    page = Page(result.page.read_text())
    assert "nan" not in page.words
    assert {"deletion", "insertion", "maps-most-faithful"} <= {file.stem for file in result.files}
    assert ("moves-entropy" in {file.stem for file in result.files}) == (kind == "attention")
    json.dumps(result.to_json(), allow_nan=False)
    assert "nan" not in shown(result)
    twice = compare_models([found, replace(found, name="again")])
    assert all(each.value == 0 for each in twice.differences["again"].values())


def pair() -> tuple[Explanation, Explanation]:
    """Two models on the same clips, in another order, the second 0.1 less on the actor in each."""
    rng = np.random.default_rng(0)
    by_clip = {"accuracy": np.ones(12), "pointing": rng.uniform(0.5, 1, 12)}
    first = explanation(12, name="first", by_clip=by_clip)
    turned = slice(None, None, -1)
    second = explanation(
        12,
        name="[b] :smile:",
        clips=first.clips[turned],
        groups=first.groups[turned],
        by_clip={
            "accuracy": np.repeat([1.0, 0.0], [2, 10])[turned],
            "pointing": by_clip["pointing"][turned] - 0.1,
        },
        accuracy=estimate(0.17),
    )
    return first, second


def test_differences_are_paired_by_clip_whatever_their_order() -> None:
    found = compare_models(pair()).differences["[b] :smile:"]

    # The same difference in every clip has no spread, however much clips differ.
    assert (found["pointing"].value, found["pointing"].low, found["pointing"].high) == (
        pytest.approx((-0.1, -0.1, -0.1))
    )
    assert found["accuracy"].value == pytest.approx(-10 / 12)
    assert found["accuracy"].low < -0.9 < -0.7 < found["accuracy"].high < 0


def test_the_table_has_every_model_and_its_difference() -> None:
    head, *rows = compare_models(pair()).table()

    cells = {row[0]: row[1:] for row in rows}
    assert head == ["", "first", "[b] :smile:"]
    assert cells["accuracy, %"][0] == "84.0 (81.0 to 87.0)"
    assert cells["accuracy, %"][1].startswith("17.0 (14.0 to 20.0)\n-83.3 (")
    assert cells["strongest place on the actor, %"][1].endswith("\n-10.0 (-10.0 to -10.0)")


def test_a_comparison_in_words() -> None:
    said, key = compare_models(pair()).words()

    assert said.startswith("`[b] :smile:` beside `first`: accuracy 83 points lower (")
    assert "strongest place on the actor 10 points lower (10 to 10)" in said
    assert key.startswith("The map is attention")


def test_models_without_attention_stand_beside_others() -> None:
    first, second = pair()
    pooled = replace(second, maps="Grad-CAM", frozen={}, lost={}, moves={}, moves_by_step={})

    sections = sections_of(compare_models([first, pooled]))

    assert all(picture.alt for section in sections for picture in section.pictures)


def test_compare_writes_page_pictures_and_numbers(
    tmp_path: Path, given: Callable[..., None]
) -> None:
    first, second = pair()
    given(one=first, two=replace(second, name=HOSTILE))

    result = compare(tmp_path / "one", tmp_path / "two", out=tmp_path / "out")

    page = Page((tmp_path / "out" / "comparison.html").read_text())
    assert "script" not in page.tags
    assert all(url.startswith("data:") for url in page.urls)
    assert page.words.count("<script>") >= 2
    known = json.loads((tmp_path / "out" / "comparison.json").read_text())
    told = json.loads(json.dumps(result.to_json()))
    assert {Path(file) for file in told.pop("files")} == set(result.files)
    assert known == told
    assert known["differences"][HOSTILE]["pointing"]["value"] == -0.1
    assert set(result.files) == set((tmp_path / "out").iterdir())


def test_models_of_one_name_are_told_by_their_folders(
    tmp_path: Path, given: Callable[..., None]
) -> None:
    first, second = pair()
    given(one=first, two=replace(second, name="first"))

    result = compare(tmp_path / "one", tmp_path / "two", out=tmp_path / "out")

    assert list(result.models) == [str(tmp_path / "one"), str(tmp_path / "two")]


def test_what_cannot_be_compared_is_refused_in_one_line(
    tmp_path: Path,
    given: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = pair()
    given(
        first=first,
        classes=replace(second, classes=("clap", "run")),
        clips=replace(second, clips=(*second.clips[:-1], "elsewhere.avi")),
    )
    monkeypatch.chdir(tmp_path)

    for runs, message in (
        (["first"], "nothing to compare"),
        (["first", "first"], "nothing to compare"),
        (["first", "classes"], "classes: has other classes than first"),
        (["first", "clips"], "clips: was put to the test on other clips than first (11 of 12"),
    ):
        assert cli.run(["compare", *runs]) == 1
        captured = capsys.readouterr()
        (line,) = captured.err.splitlines()
        assert message in line
        assert captured.out == ""
    assert not list(tmp_path.iterdir())


def test_a_place_that_is_none_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Had it been measured first, there would be no run to read."""
    taken = tmp_path / "taken"
    taken.write_text("")

    for command in (["explain", "a"], ["compare", "a", "b"]):
        assert cli.run([*command, "--out", str(taken / "below")]) == 1
        assert f"{taken}: is a file; give --out a folder" in capsys.readouterr().err


def test_other_videos_of_the_same_names_are_refused() -> None:
    first, second = pair()
    digests = tuple(f"digest of {clip}" for clip in first.clips)
    first = replace(first, digests=digests)

    compare_models([first, replace(second, digests=digests[::-1])])
    compare_models([first, second])  # features only: nothing tells them from the videos
    with pytest.raises(GlimpsesError, match="other videos than"):
        compare_models([first, replace(second, digests=digests)])


def test_models_of_other_clips_are_refused_from_python_too() -> None:
    first, second = pair()

    with pytest.raises(GlimpsesError, match="other clips"):
        compare_models([first, replace(second, clips=tuple("abcdefghijkl"))])
