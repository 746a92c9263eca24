"""One model's explanation as sections: where it looks, whether that matters, how it moves."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

from glimpses.evaluation.explanation import Curve, Estimate, Explanation
from glimpses.report import text
from glimpses.report.interval_figures import (
    MAPS,
    ORDERS,
    SeriesStyle,
    dots_figure,
    heat_figure,
    lines_figure,
)
from glimpses.report.measures import called, cells_of, removals_of
from glimpses.report.sections import Picture, Section
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.progress import bar
from glimpses.viz import Filmstrip

log = logging.getLogger(__name__)

# Clips at either end of the atlas, and rows that a figure by class has at most.
_ATLAS, _CLASSES = 4, 24
_SAY = {"pointing": text.pointing, "energy": text.energy, "auc": text.auc}
_OWN = SeriesStyle("#0072b2")

#: Heading and scale of the figure of each measure of where it looks.
AIMS = {
    "pointing": ("Strongest place on the actor", "share of steps"),
    "energy": ("Map on the actor", "share of the map"),
    "auc": ("Actor's places told from others", "area under the ROC curve"),
}


def sections_of(explanation: Explanation) -> list[Section]:
    """Everything that is to be said and shown of one model; what is not known is left out."""
    return [
        where(explanation),
        whether(explanation),
        movement(explanation),
        *atlas(explanation),
        Section(
            "All numbers",
            table=[
                ["measure", "value"],
                *([label, *cells] for label, cells in cells_of({"": explanation})),
            ],
        ),
    ]


def where(explanation: Explanation) -> Section:
    """Whether it looks at the actor, beside simple rivals: in all, by class, along the steps."""
    known = explanation.where
    own = known.get(explanation.maps)
    if own is None or np.isnan(own.pointing.value):
        return Section("Does it look at the actor?", [text.pointing(explanation)])
    pictures = []
    for measure, (title, quantity) in AIMS.items():
        rows = {
            called(name): {called(name): getattr(aiming, measure)} for name, aiming in known.items()
        }
        pictures.append(
            Picture(
                f"where-{measure}",
                dots_figure(rows, MAPS, title=title, quantity=quantity),
                alt_of_dots(title, rows),
                _SAY[measure](explanation),
            )
        )
    # The ones to look at first are those where it fails; of a hundred classes both ends.
    pointing = {name: each["pointing"].value for name, each in own.by_class.items()}
    seen = [name for name, value in pointing.items() if not np.isnan(value)]
    order = sorted(seen, key=pointing.__getitem__)
    shown = order if len(order) <= _CLASSES else [*order[:12], *order[-12:]]
    title = "Strongest place on the actor, by class"
    classes = {
        name: {
            called(rival): aiming.by_class[name]["pointing"]
            for rival, aiming in known.items()
            if name in aiming.by_class and rival in (explanation.maps, "motion energy", "uniform")
        }
        for name in shown
    }
    said = text.by_class(own)
    if shown != order:
        said += f" Shown are the 12 best and the 12 worst of {len(order)} classes."
    if classes:
        figure = dots_figure(classes, MAPS, title=title, quantity="share of steps")
        pictures.append(Picture("where-by-class", figure, alt_of_dots(title, classes), said))
    title = "Strongest place on the actor, step by step"
    steps = {
        called(name): aiming.by_step["pointing"]
        for name, aiming in known.items()
        if text.known_part(aiming.by_step.get("pointing")) is not None
    }
    if steps:
        figure = lines_figure(steps, MAPS, title=title, across="step of a block")
        pictures.append(
            Picture("where-by-step", figure, alt_of_lines(title, steps), text.by_step(own))
        )
    return Section("Does it look at the actor?", pictures=pictures)


def whether(explanation: Explanation) -> Section:
    """Whether the decision hangs on where it looks: removal, and attention held fast."""
    pictures = []
    for name, removal in removals_of(explanation).items():
        title, across = removal_titles(name)
        curves = {_order(order, explanation.maps): each for order, each in removal.curves.items()}
        looks = {_order(order, explanation.maps): look for order, look in ORDERS.items()}
        pictures.append(
            Picture(
                name.replace(" ", "-"),
                lines_figure(curves, looks, title=title, across=across, shares=True),
                alt_of_lines(title, curves),
                text.removal(name, removal, explanation.maps),
            )
        )
    if explanation.frozen:
        title = "Accuracy with its attention replaced"
        rows = {name: {name: estimate} for name, estimate in explanation.frozen.items()}
        said = filter(None, (text.frozen_as(name, explanation) for name in explanation.lost))
        pictures.append(
            Picture(
                "frozen",
                dots_figure(rows, dict.fromkeys(rows, _OWN), title=title, quantity="accuracy"),
                alt_of_dots(title, rows),
                " ".join(said),
            )
        )
    return Section("Does its decision hang on where it looks?", pictures=pictures)


def _order(order: str, maps: str) -> str:
    """What to call an order; a model that pools attends to nothing."""
    if maps == "attention":
        return order
    return order.replace("most attended", "strongest").replace("least attended", "weakest")


def removal_titles(name: str) -> tuple[str, str]:
    """Heading and axis of a figure of removal."""
    done = "shown" if name.endswith("insertion") else "removed"
    on = "frames" if name.startswith("pixel") else "feature cube"
    return f"{name.split()[-1].capitalize()} on the {on}: certainty", f"share of places {done}"


def movement(explanation: Explanation) -> Section:
    """How the attention moves, in words and along the steps."""
    said = text.moves(explanation)
    pictures = []
    for name, curve in explanation.moves_by_step.items():
        if text.known_part(curve) is None:
            continue
        title = f"{name.capitalize()} of the attention by step"
        figure = lines_figure(
            {name: curve}, {name: _OWN}, title=title, across="step of a block",
            whole=name == "entropy",
        )  # fmt: skip
        pictures.append(
            Picture(f"moves-{name}", figure, alt_of_lines(title, {name: curve}), text.change(curve))
        )
    return Section(
        "How does its attention move?", [" ".join(said.values())] if said else (), pictures
    )


def atlas(explanation: Explanation) -> list[Section]:
    """The most and the least faithful clips, as frames where there are videos and as maps."""
    if not explanation.predictions:
        return []
    known = np.flatnonzero(~np.isnan(explanation.faithfulness))
    order = known[np.argsort(-explanation.faithfulness[known], kind="stable")].tolist()
    count = min(_ATLAS, len(order) // 2) or len(order)
    ends = {"most": order[:count], "least": order[::-1][:count] if len(order) > 1 else []}
    sections = []
    seen = (
        "where the model looks"
        if explanation.maps == "attention"
        else f"where its {explanation.maps} map is strong"
    )
    with bar("drawing the atlas", sum(map(len, ends.values())), transient=True) as progress:
        for end, indices in ends.items():
            strips = []
            for index in indices:
                if (strip := _strip(explanation, index)) is not None:
                    strips.append((strip, note_of(explanation, index)))
                progress.advance()
            maps = [explanation.predictions[index].attention for index in indices]
            drawn = [
                (index, each) for index, each in zip(indices, maps, strict=True) if each is not None
            ]
            pictures = []
            if drawn:
                names = [
                    f"{explanation.predictions[index].name}: {note_of(explanation, index)}"
                    for index, _ in drawn
                ]
                title = f"{explanation.maps[0].upper()}{explanation.maps[1:]}, place by place"
                pictures.append(
                    Picture(
                        f"maps-{end}-faithful",
                        heat_figure([each for _, each in drawn], names, title=title),
                        f"Heat maps of {explanation.maps} in the {end} faithful clips, place by "
                        "place, from the first step to the last",
                    )
                )
            if strips or pictures:
                sections.append(
                    Section(
                        f"The {end} faithful clips",
                        [_ABOUT[end]],
                        pictures,
                        strips=strips,
                        strips_file=f"atlas-{end}-faithful",
                        seen=seen,
                    )
                )
    return sections


_ABOUT = {
    "most": "Here the certainty falls soonest when the strongest places are removed first: the "
    "decision hangs on what is bright.",
    "least": "Here removing the strongest places first does least, compared with random ones; "
    "below 0 it does less than they do: the decision hangs on something else than what is bright.",
}


def note_of(explanation: Explanation, index: int) -> str:
    """Faithfulness and pointing of a clip in a few words."""
    said = f"faithfulness {explanation.faithfulness[index]:z.2f}"
    pointing = explanation.pointing[index]
    return said if np.isnan(pointing) else f"{said}, on the actor in {text.percent(pointing)}"


def _strip(explanation: Explanation, index: int) -> Filmstrip | None:
    prediction = explanation.predictions[index]
    if not prediction.has_video:
        return None
    try:
        return prediction.strip(
            truth=explanation.true_labels[index] if explanation.true_labels else None
        )
    except GlimpsesError as error:
        log.warning("left out of the atlas: %s", error)
        return None


def alt_of_dots(title: str, rows: Mapping[str, Mapping[str, Estimate]]) -> str:
    """What a figure of estimates shows, in words."""
    said = [
        f"{label}: " * (len(row) > 1)
        + ", ".join(f"{name} {_in_words(estimate)}" for name, estimate in row.items())
        for label, row in rows.items()
    ]
    return f"{title}. {'; '.join(said)}"


def alt_of_lines(title: str, curves: Mapping[str, Curve]) -> str:
    """What a figure of curves shows, in words."""
    said = [
        f"{name} from {known[0]:.2f} over {known[len(known) // 2]:.2f} to {known[-1]:.2f}"
        for name, curve in curves.items()
        if len(known := curve.value[np.isfinite(curve.value)])
    ]
    return f"{title}. {'; '.join(said)}"


def _in_words(estimate: Estimate) -> str:
    return "not known" if np.isnan(estimate.value) else text.spread(estimate)
