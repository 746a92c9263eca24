"""Figures 2 to 7 of the paper, drawn with the clips and models of a reproduction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from glimpses.evaluation import Evaluation
from glimpses.report import choose_clips
from glimpses.utils.files import atomic_write
from glimpses.utils.progress import bar
from glimpses.viz import Filmstrip, encode_figure, filmstrip_figure

# Numbers of rows in figures 2 to 5, as in the paper.
_CORRECT_ROWS, _INCORRECT_ROWS, _FURTHER_ROWS = 6, 3, 6
# Steps shown in a row of figures 2 to 6, and of figure 7.
_STEPS, _STEPS_FIGURE7 = 6, 4
# Clips shown in figures 6 and 7.
_MAX_CLIPS = 2


def draw_classified_clips(test: Evaluation, folder: Path) -> list[Path]:
    """Draw figures 2 to 5: attention over time in correctly and incorrectly classified clips.

    Figures 4 and 5 continue figures 2 and 3. A figure without clips is not written.

    Args:
        test: evaluation of the soft attention model.
        folder: folder to write to.
    """
    correct, incorrect = choose_clips(test)
    indices_of_figure = {
        "figure2": correct[:_CORRECT_ROWS],
        "figure3": incorrect[:_INCORRECT_ROWS],
        "figure4": correct[_CORRECT_ROWS : _CORRECT_ROWS + _FURTHER_ROWS],
        "figure5": incorrect[_INCORRECT_ROWS : _INCORRECT_ROWS + _FURTHER_ROWS],
    }
    total = sum(map(len, indices_of_figure.values()))
    files = []
    with bar("drawing figures 2 to 5", total, transient=True) as progress:
        for name, indices in indices_of_figure.items():
            strips = []
            for index in indices:
                strips.append(_strip(test, index, _STEPS))
                progress.advance()
            if strips:
                files.append(_write(folder / f"{name}.png", strips))
    return files


def draw_penalties(tests: Sequence[tuple[str, Evaluation]], folder: Path) -> list[Path]:
    """Draw figure 6: the same clips with different attention penalties.

    Args:
        tests: caption and evaluation of each model; the clips of all must overlap.
        folder: folder to write to.

    Returns:
        The written file, or nothing if the models share no clip.
    """
    rows = list(_strips_of_shared_clips(tests, _STEPS))
    return [_write(folder / "figure6.png", *zip(*rows, strict=True))] if rows else []


def draw_frame_rates(tests: Sequence[tuple[str, Evaluation]], folder: Path) -> list[Path]:
    """Draw figure 7: one clip at two frame rates, four equally spaced steps each.

    Args:
        tests: caption and evaluation of each model; the clips of all must overlap.
        folder: folder to write to.

    Returns:
        The written file, or nothing if the models share no clip.
    """
    rows = list(_strips_of_shared_clips(tests, _STEPS_FIGURE7))[: len(tests)]
    return [_write(folder / "figure7.png", *zip(*rows, strict=True))] if rows else []


def _strips_of_shared_clips(
    tests: Sequence[tuple[str, Evaluation]], steps: int
) -> Iterator[tuple[Filmstrip, str]]:
    """Yield strip and caption for every test, clip by clip, the first test's best clips first."""
    first = tests[0][1]
    index_of_clip = [{clip.id: n for n, clip in enumerate(test.clips)} for _, test in tests]
    correct, incorrect = choose_clips(first)
    shown = 0
    for index in (*correct, *incorrect):
        id = first.clips[index].id
        if shown < _MAX_CLIPS and all(id in indices for indices in index_of_clip):
            shown += 1
            for (caption, test), indices in zip(tests, index_of_clip, strict=True):
                yield _strip(test, indices[id], steps), caption


def _strip(test: Evaluation, index: int, steps: int) -> Filmstrip:
    return test.prediction(index).strip(labels=test.labels[index], count=steps)


def _write(file: Path, strips: Sequence[Filmstrip], names: Sequence[str] | None = None) -> Path:
    with atomic_write(file) as part:
        part.write_bytes(encode_figure(filmstrip_figure(strips, names=names)))
    return file
