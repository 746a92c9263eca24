"""Pages of `glimpses explain` and `glimpses compare`, for explanations with provide numbers."""

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
from glimpses.evaluation.explain import explain_opened_run
from glimpses.evaluation.explanation import Explanation
from glimpses.report import compare, explain, explain_pages
from glimpses.report.comparison import compare_models, sections_of
from glimpses.runs import RunConfig
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError
from tests.configs import model_config, run_config
from tests.evaluation.fake_runs import fake_run
from tests.report.example_explanation import (
    CLASSES,
    deletion_curves,
    estimate,
    explanation,
    predictions,
)
from tests.report.test_scores_page import HOSTILE, Page
from tests.viz.clips import grey_clip


@pytest.fixture
def provide(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Provide explanations by run name instead of running models."""

    def set_explanations(**explanations: Explanation) -> None:
        def explain_run(run: Path, **_: Any) -> Explanation:
            return replace(explanations[Path(run).name], run=str(run))

        def read_config(run: Path) -> RunConfig:
            classes = explanations[Path(run).name].classes
            model = model_config(num_classes=len(classes), places=4, channels=1)
            return run_config(classes=classes, model=model)

        monkeypatch.setattr(explain_pages, "explain_run", explain_run)
        monkeypatch.setattr(explain_pages.runs, "read_config", read_config)
        monkeypatch.setattr(explain_pages, "require_dependencies", lambda _: None)

    return set_explanations


def full_explanation(folder: Path) -> Explanation:
    """Return an explanation with all parts, and hostile names."""
    clip = grey_clip(folder / "[b] :smile: .avi", count=8)
    return explanation(
        name=HOSTILE,
        classes=(HOSTILE, *CLASSES[1:]),
        clips=tuple(f"{HOSTILE}/{number}" for number in range(6)),
        predictions=predictions(6, [clip] * 6),
        true_labels=((HOSTILE,),) * 6,
        pixel_deletion=deletion_curves(0.5, 0.8, 0.9, gain=-0.1),
        pixel_insertion=deletion_curves(0.5, 0.3, 0.2, gain=0.1),
    )


def print_text(result: Any) -> str:
    console = Console(width=160, markup=False, emoji=False, highlight=False)
    with console.capture() as capture:
        console.print(result)
    return capture.get()


def test_the_page_is_complete_and_self_contained(
    tmp_path: Path, provide: Callable[..., None]
) -> None:
    provide(run=full_explanation(tmp_path))

    result = explain(tmp_path / "run")

    content = result.page.read_text(encoding="utf-8")
    page = Page(content)
    assert result.page == tmp_path / "run" / "explained" / "explanation.html"
    assert "script" not in page.tags
    assert page.tags.count("code") == 2  # the run's name, in the heading and below it
    assert page.text.count("<script>") >= 3
    assert "nan" not in page.text
    assert all(url.startswith("data:") for url in page.urls)
    assert not re.search(r"url\(|@import", content[: content.index("</style>")])
    assert any(value.startswith("default-src 'none'") for value in page.attributes)
    # Three localisation measures, by class, by step, four deletion curves, ablation, two attention
    # statistics, maps at both ends, and six frames of each of six clips.
    assert page.tags.count("img") == 3 + 2 + 4 + 1 + 2 + 2 + 36
    alts = re.findall(r'<img[^>]* alt="([^"]*)"', content)
    assert len(alts) == page.tags.count("img")
    assert all(alts)
    assert "attention 91\u00a0% (88 to 94)" in alts[0]


def test_figures_and_numbers_are_written_as_files(
    tmp_path: Path, provide: Callable[..., None]
) -> None:
    provide(run=full_explanation(tmp_path))

    result = explain(tmp_path / "run", out=tmp_path / "out")

    numbers = json.loads((tmp_path / "out" / "explanation.json").read_text())
    assert numbers["accuracy"] == {"value": 0.84, "low": 0.81, "high": 0.87, "clips": 60}
    assert "predictions" not in numbers
    names = {file.stem for file in result.files}
    assert {
        "deletion",
        "attention-ablation",
        "localisation-pointing",
        "atlas-most-faithful",
    } <= names
    for file in result.files:
        if file.suffix == ".png":
            with Image.open(file) as image:
                assert min(image.size) > 100
    assert {*result.files, result.page} == set((tmp_path / "out").iterdir())


def test_drawing_the_page_shows_progress(
    tmp_path: Path, provide: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    provide(run=full_explanation(tmp_path))
    screen = io.StringIO()
    monkeypatch.setattr(progress, "_console", Console(file=screen, force_terminal=True, width=120))

    explain(tmp_path / "run")

    assert "drawing the page" in screen.getvalue()


def test_the_atlas_shows_both_ends_of_faithfulness_once(
    tmp_path: Path, provide: Callable[..., None]
) -> None:
    faithfulness = np.array([0.3, np.nan, 0.1, -0.2, 0.5, 0.0])
    provide(run=replace(full_explanation(tmp_path), faithfulness=faithfulness))

    text = Page(explain(tmp_path / "run").page.read_text()).text

    most, least = text.split("The least faithful clips")
    most = most.split("The most faithful clips")[1]
    assert re.findall(r"faithfulness (\S+),", most) == ["0.50", "0.30"]
    assert re.findall(r"faithfulness (\S+),", least) == ["-0.20", "0.00"]


def test_without_videos_and_annotations_the_rest_is_shown(
    tmp_path: Path, provide: Callable[..., None]
) -> None:
    provide(
        run=explanation(localisation={}, predictions=predictions(6), pointing=np.full(6, np.nan))
    )

    result = explain(tmp_path / "run")

    text = Page(result.page.read_text()).text
    assert "These clips have no actor annotations" in text
    assert "maps-most-faithful" in {file.stem for file in result.files}
    assert not any(file.stem.startswith("atlas") for file in result.files)


def test_a_damaged_video_is_left_out_of_the_atlas(
    tmp_path: Path, provide: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken.avi"
    broken.write_bytes(b"nothing")
    provide(run=explanation(predictions=predictions(6, [broken] * 6)))

    result = explain(tmp_path / "run")

    assert not any(file.stem.startswith("atlas") for file in result.files)
    assert "left out of the atlas" in caplog.text


def test_the_terminal_prints_names_unchanged(tmp_path: Path, provide: Callable[..., None]) -> None:
    provide(run=explanation(name="[b] :smile:"))

    printed = print_text(explain(tmp_path / "run"))

    assert "[b] :smile:" in printed
    assert "91.0 (88.0 to 94.0)" in printed
    assert "explanation.html" in printed


@pytest.mark.parametrize("kind", ["attention", "average"])
def test_a_measured_explanation_is_shown(
    kind: Literal["attention", "average"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models.build_model(
        model_config(num_classes=3, places=4, channels=5, hidden_size=6, model=kind)
    )
    cubes = [torch.randn(frames, 4, 5) for frames in (4, 9, 3, 4)]
    result = explain_opened_run(fake_run(model, cubes, [0, 1, 2, 0], groups=list("aabb")))
    monkeypatch.setattr(explain_pages, "explain_run", lambda *_, **__: result)

    written = explain(tmp_path / "run")

    page = Page(written.page.read_text())
    assert "nan" not in page.text
    assert {"deletion", "insertion", "maps-most-faithful"} <= {file.stem for file in written.files}
    assert ("attention-entropy" in {file.stem for file in written.files}) == (kind == "attention")
    json.dumps(written.to_json(), allow_nan=False)
    assert "nan" not in print_text(written)
    twice = compare_models([result, replace(result, name="again")])
    assert all(each.value == 0 for each in twice.differences["again"].values())


def pair() -> tuple[Explanation, Explanation]:
    """Return models on the same clips in reverse order; the second has 0.1 lower pointing."""
    rng = np.random.default_rng(0)
    by_clip = {"accuracy": np.ones(12), "pointing": rng.uniform(0.5, 1, 12)}
    first = explanation(12, name="first", by_clip=by_clip)
    reverse = slice(None, None, -1)
    second = explanation(
        12,
        name="[b] :smile:",
        clips=first.clips[reverse],
        groups=first.groups[reverse],
        by_clip={
            "accuracy": np.repeat([1.0, 0.0], [2, 10])[reverse],
            "pointing": by_clip["pointing"][reverse] - 0.1,
        },
        accuracy=estimate(0.17),
    )
    return first, second


def test_differences_are_paired_by_clip_in_any_order() -> None:
    differences = compare_models(pair()).differences["[b] :smile:"]

    # The same difference in every clip has no variance, however much clips differ.
    assert (
        differences["pointing"].value,
        differences["pointing"].low,
        differences["pointing"].high,
    ) == (pytest.approx((-0.1, -0.1, -0.1)))
    assert differences["accuracy"].value == pytest.approx(-10 / 12)
    assert differences["accuracy"].low < -0.9 < -0.7 < differences["accuracy"].high < 0


def test_the_table_has_every_model_and_its_difference() -> None:
    head, *rows = compare_models(pair()).table()

    cells = {row[0]: row[1:] for row in rows}
    assert head == ["", "first", "[b] :smile:"]
    assert cells["accuracy, %"][0] == "84.0 (81.0 to 87.0)"
    assert cells["accuracy, %"][1].startswith("17.0 (14.0 to 20.0)\n-83.3 (")
    assert cells["strongest place on the actor, %"][1].endswith("\n-10.0 (-10.0 to -10.0)")


def test_the_summary_of_a_comparison() -> None:
    line, guide = compare_models(pair()).summary()

    assert line.startswith("`[b] :smile:` compared with `first`: accuracy 83 points lower (")
    assert "strongest place on the actor 10 points lower (10 to 10)" in line
    assert guide.startswith("The map shows attention")


def test_models_with_and_without_attention_are_compared() -> None:
    first, second = pair()
    pooled = replace(
        second,
        map_name="Grad-CAM",
        attention_ablation={},
        accuracy_drop={},
        attention_stats={},
        attention_stats_by_step={},
    )

    sections = sections_of(compare_models([first, pooled]))

    assert all(figure.alt for section in sections for figure in section.figures)


def test_compare_writes_page_figures_and_numbers(
    tmp_path: Path, provide: Callable[..., None]
) -> None:
    first, second = pair()
    provide(one=first, two=replace(second, name=HOSTILE))

    result = compare(tmp_path / "one", tmp_path / "two", out=tmp_path / "out")

    page = Page((tmp_path / "out" / "comparison.html").read_text())
    assert "script" not in page.tags
    assert all(url.startswith("data:") for url in page.urls)
    assert page.text.count("<script>") >= 2
    numbers = json.loads((tmp_path / "out" / "comparison.json").read_text())
    printed = json.loads(json.dumps(result.to_json()))
    assert {Path(file) for file in printed.pop("files")} == set(result.files)
    assert numbers == printed
    assert numbers["differences"][HOSTILE]["pointing"]["value"] == -0.1
    assert set(result.files) == set((tmp_path / "out").iterdir())


def test_models_of_the_same_name_are_named_by_their_folders(
    tmp_path: Path, provide: Callable[..., None]
) -> None:
    first, second = pair()
    provide(one=first, two=replace(second, name="first"))

    result = compare(tmp_path / "one", tmp_path / "two", out=tmp_path / "out")

    assert list(result.models) == [str(tmp_path / "one"), str(tmp_path / "two")]


def test_runs_that_cannot_be_compared_are_refused_in_one_line(
    tmp_path: Path,
    provide: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = pair()
    provide(
        first=first,
        classes=replace(second, classes=("clap", "run")),
        clips=replace(second, clips=(*second.clips[:-1], "elsewhere.avi")),
    )
    monkeypatch.chdir(tmp_path)

    for runs, message in (
        (["first"], "nothing to compare"),
        (["first", "first"], "nothing to compare"),
        (["first", "classes"], "classes: has other classes than first"),
        (["first", "clips"], "clips: was evaluated on other clips than first (11 of 12"),
    ):
        assert cli.run(["compare", *runs]) == 1
        captured = capsys.readouterr()
        (line,) = captured.err.splitlines()
        assert message in line
        assert captured.out == ""
    assert not list(tmp_path.iterdir())


def test_an_unusable_output_folder_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The runs do not exist, so any work would fail for another reason."""
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
    compare_models([first, second])  # features only: no digests to compare
    with pytest.raises(GlimpsesError, match="other videos than"):
        compare_models([first, replace(second, digests=digests)])


def test_compare_models_refuses_other_clips() -> None:
    first, second = pair()

    with pytest.raises(GlimpsesError, match="other clips"):
        compare_models([first, replace(second, clips=tuple("abcdefghijkl"))])
