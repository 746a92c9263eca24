"""What is said of numbers: it follows from them, also where attention loses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from glimpses.evaluation.explanation import Estimate
from glimpses.report import text
from tests.evaluation.made import aiming, curve, estimate, explanation, removal, where


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


def test_pointing_beside_its_rivals() -> None:
    assert plain(text.pointing(explanation())) == (
        "The strongest place of its attention is on the actor in 91 % (88 to 94) of the steps; "
        "chance 25 %, the middle of the picture 40 %, frame difference 60 % and Grad-CAM of a "
        "pooling model 70 %. It does better than every rival."
    )


def test_rivals_that_win_or_draw_are_named() -> None:
    shown = explanation(
        where=where(
            attention=aiming(0.2, 0.5, 0.6),
            uniform=aiming(0.1, 0.2, 0.5),
            motion_energy=aiming(0.4, 0.8, 0.9),
            centre_prior=aiming(0.2, 0.52, 0.6),
        )
    )

    said = plain(text.pointing(shown))

    assert "Frame difference does better." in said
    assert "From the middle of the picture (49 to 55) it cannot be told apart." in said
    assert "better than every" not in said


def test_rivals_are_told_apart_by_clip() -> None:
    """Where each clip is told apart, intervals that overlap say nothing."""
    maps = where(attention=aiming(0.2, 0.5, 0.6), motion_energy=aiming(0.2, 0.52, 0.6))
    rival = maps["motion energy"]
    surely = rival.behind | {"pointing": estimate(-0.02, 0.01)}
    shown = explanation(where=maps | {"motion energy": replace(rival, behind=surely)})

    assert "Frame difference does better." in text.pointing(shown)


def test_a_model_that_pools_is_not_said_to_attend() -> None:
    shown = explanation(maps="Grad-CAM", frozen={}, lost={}, moves={}, moves_by_step={})

    said = " ".join(text.lead(shown))

    assert "The strongest place of its Grad-CAM map" in said
    assert "attend" not in said.replace(shown.shape, "")


def test_an_actor_that_is_never_seen() -> None:
    nothing = Estimate(np.nan, np.nan, np.nan, 0)
    unseen = replace(aiming(0, 0, 0), pointing=nothing, energy=nothing, auc=nothing)

    said = [say(explanation(where={"attention": unseen})) for say in
            (text.pointing, text.energy, text.auc)]  # fmt: skip

    assert all("no actor" in one and "nan" not in one for one in said)


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [
        (0.2, "its attention finds what the decision hangs on sooner than chance"),
        (0.01, "its attention does not show what the decision hangs on"),
        (-0.2, "random order does better"),
    ],
)
def test_removal_says_who_wins(gain: float, verdict: str) -> None:
    said = text.removal("deletion", removal(0.41, 0.92, 0.93, gain=gain), "attention")

    assert said.startswith(
        "Removing the tenth of places that it attends most takes its certainty from 0.93 to 0.41; "
        "a random tenth takes it to 0.92."
    )
    assert verdict in said


def test_only_what_was_tried_is_told() -> None:
    done = removal(0, 0, 0, gain=0.1)
    coarse = {name: curve([1.0, 0.6, 0.2], [0.0, 0.25, 1.0]) for name in done.curves}

    said = text.removal("pixel deletion", replace(done, curves=coarse), "attention")

    assert "Removing the quarter of places that it attends most" in said
    assert "from 1.00 to 0.60; a random quarter takes it to 0.60" in said
    assert "on 60 clips)" in said


def test_clips_of_few_sources_allow_no_verdict() -> None:
    done = replace(removal(0, 0, 0, gain=0.1), gain=Estimate(0.3, np.nan, np.nan, 4))

    said = text.removal("deletion", done, "attention")

    assert "too few sources" in said
    assert "nan" not in said


@pytest.mark.parametrize(
    ("lost", "verdict"),
    [
        (estimate(0.49, 0.05), "49 points (44 to 54) fewer: where it looks matters"),
        (estimate(0.0, 0.02), "decides no worse (35 % against 84 %): where it looks does not"),
        (Estimate(0, 0, 0, 20), "too few to say whether where it looks matters"),
        (estimate(0.05, 0.1), "too few to say whether where it looks matters"),
        (estimate(-0.2, 0.1), "decides better, by 20 points (10 to 30): its own attention harms"),
    ],
)
def test_uniform_attention_matters_or_does_not(lost: Estimate, verdict: str) -> None:
    shown = explanation(lost={"uniform": lost})

    assert verdict in plain(text.frozen_as("uniform", shown))


def test_steps_and_classes() -> None:
    own = explanation().where["attention"]

    assert "it finds the actor as it goes" in text.by_step(own)
    assert plain(text.by_class(own)) == (
        "Best on clap, 91 % (88 to 94); worst on wave, 79 % (76 to 82)."
    )
    level = replace(own, by_step={"pointing": curve([0.5, 0.51])})
    assert "no clear change" in text.by_step(level)


def test_few_groups_have_no_interval_and_allows_no_verdict() -> None:
    alone = Estimate(0.84, np.nan, np.nan, 6)
    maps = where(attention=aiming(0, 0, 0), uniform=aiming(0.1, 0.2, 0.5))
    behind = dict.fromkeys(("energy", "pointing", "auc"), Estimate(-0.2, np.nan, np.nan, 6))
    maps["uniform"] = replace(maps["uniform"], behind=behind)

    shown = explanation(accuracy=alone, lost={"uniform": alone}, where=maps)
    said = [*text.lead(shown), text.energy(shown), text.auc(shown)]

    assert not any("nan" in one or "better" in one or "told" in one for one in said)
    assert all("too few sources" in one for one in said if one not in (said[0], said[3]))
    assert "There are no intervals: 3 groups of clips are too few." in said[3]


def test_it_is_said_how_to_read_the_numbers() -> None:
    one = explanation(12)
    pooled = replace(one, name="mean", maps="Grad-CAM")

    said = plain(text.key({"fine": one, "mean": pooled}))

    assert said == (
        "The map is attention: how much a model looks at each place; of `mean`, which has none, "
        "Grad-CAM: how much each place speaks for the action that is named. In brackets: 95 % "
        "intervals, from drawing whole groups of clips anew; there are 6 groups, and the fewer, "
        "the wider."
    )
    assert "Grad-CAM" not in text.key({"fine": one})
    assert text.key({"mean": pooled}).startswith("The map is Grad-CAM")
    assert text.lead(one)[-1] == text.key({"fine": one})


def test_an_actor_of_whom_nothing_is_known_is_told_first() -> None:
    said = text.lead(explanation(where={}))

    assert said[1].startswith("Does it look at the actor? Nothing tells where the actor is")


def test_what_was_not_done_is_not_told() -> None:
    """A clip of the only source has none to be given the attention of."""
    none = Estimate(np.nan, np.nan, np.nan, 0)

    assert text.frozen_as("uniform", explanation(lost={"uniform": none})) == ""
    said = text.lead(explanation(accuracy=none))[0]
    assert said.endswith("was tried on 6 clips, none of which shows an action.")


def test_nothing_is_less_than_nothing() -> None:
    assert plain(text.spread(Estimate(-0.001, -0.02, 0.001, 6))) == "0 % (-2 to 0)"
    assert text.points(Estimate(-0.001, -0.02, 0.001, 6)) == "0 points (-2 to 0)"
