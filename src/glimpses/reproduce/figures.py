"""The paper's figures 2 to 7 with clips and models of one's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from glimpses.evaluation import Evaluation
from glimpses.report import choose_clips, prediction_of, true_labels_of
from glimpses.utils.files import atomic_write
from glimpses.utils.progress import bar
from glimpses.viz import Filmstrip, encode, filmstrip_figure

# Rows of figures 2 to 5, and steps in a row of them and of figures 6 and 7, as in the paper.
_RIGHT, _WRONG, _MORE = 6, 3, 6
_STEPS, _FEW_STEPS = 6, 4
# Clips that figures 6 and 7 show.
_CLIPS = 2


def right_and_wrong(test: Evaluation, folder: Path) -> list[Path]:
    """Figures 2 to 5: attention over time in clips that were recognised and in those that weren't.

    Figures 4 and 5 go on where 2 and 3 end. A figure for which there is no clip is left out.

    Args:
        test: of the soft attention model.
        folder: where the pictures go.
    """
    right, wrong = choose_clips(test)
    chosen = {
        "figure2": right[:_RIGHT],
        "figure3": wrong[:_WRONG],
        "figure4": right[_RIGHT : _RIGHT + _MORE],
        "figure5": wrong[_WRONG : _WRONG + _MORE],
    }
    files = []
    with bar("drawing figures 2 to 5", sum(map(len, chosen.values())), transient=True) as progress:
        for name, indices in chosen.items():
            strips = []
            for index in indices:
                strips.append(_strip(test, index, _STEPS))
                progress.advance()
            if strips:
                files.append(_written(folder / f"{name}.png", strips))
    return files


def penalty(tests: Sequence[tuple[str, Evaluation]], folder: Path) -> list[Path]:
    """Figure 6: the same clips with different attention penalties.

    Args:
        tests: name and test of each model; they have their clips in common.
        folder: where the picture goes.
    """
    rows = list(_same_clips(tests, _STEPS))
    return [_written(folder / "figure6.png", *zip(*rows, strict=True))] if rows else []


def frame_rate(tests: Sequence[tuple[str, Evaluation]], folder: Path) -> list[Path]:
    """Figure 7: the same clip at two frame rates, four equally spaced steps each.

    Args:
        tests: name and test of each model; they have their clips in common.
        folder: where the picture goes.
    """
    rows = list(_same_clips(tests, _FEW_STEPS))[: len(tests)]
    return [_written(folder / "figure7.png", *zip(*rows, strict=True))] if rows else []


def _same_clips(
    tests: Sequence[tuple[str, Evaluation]], steps: int
) -> Iterator[tuple[Filmstrip, str]]:
    """Strips of clips that all tests have, clip by clip, the first test's best ones first."""
    right, wrong = choose_clips(tests[0][1])
    places = [{clip.id: n for n, clip in enumerate(test.clips)} for _, test in tests]
    shown = 0
    for index in (*right, *wrong):
        id = tests[0][1].clips[index].id
        if shown < _CLIPS and all(id in place for place in places):
            shown += 1
            for (name, test), place in zip(tests, places, strict=True):
                yield _strip(test, place[id], steps), name


def _strip(test: Evaluation, index: int, steps: int) -> Filmstrip:
    return prediction_of(test, index).strip(truth=true_labels_of(test)[index], count=steps)


def _written(file: Path, strips: Sequence[Filmstrip], names: Sequence[str] | None = None) -> Path:
    with atomic_write(file) as part:
        part.write_bytes(encode(filmstrip_figure(strips, names=names)))
    return file
