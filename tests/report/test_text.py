"""Sentences follow from the numbers, including unfavourable ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from glimpses.evaluation.explanation import Estimate
from glimpses.report import text
from tests.report.example_explanation import (
    curve,
    deletion_curves,
    estimate,
    explanation,
    localisation,
    map_localisation,
)

NAN = np.nan


def plain(line: str) -> str:
    return line.replace("\u00a0", " ")


def test_summary_starts_with_the_accuracy() -> None:
    assert plain(text.summary(explanation())[0]) == (
        "`fine` (attention, content, 3 layers of 128) classified 84 % (81 to 87) of the 60 test "
        "clips correctly; there are 3 actions to choose from."
    )
    everything = plain(text.summary(explanation(subset="all"))[0])
    assert "of the 60 clips correctly" in everything


def test_pointing_is_compared_with_the_baselines() -> None:
    assert plain(text.pointing(explanation())) == (
        "The strongest place of its attention is on the actor in 91 % (88 to 94) of the steps; "
        "chance level 25 %, the centre of the frame 40 %, frame difference 60 % and Grad-CAM of a "
        "pooling model 70 %. It beats every baseline."
    )


def test_baselines_that_win_or_draw_are_named() -> None:
    example = explanation(
        localisation=localisation(
            attention=map_localisation(0.2, 0.5, 0.6),
            uniform=map_localisation(0.1, 0.2, 0.5),
            motion_energy=map_localisation(0.4, 0.8, 0.9),
            centre_prior=map_localisation(0.2, 0.52, 0.6),
        )
    )

    line = plain(text.pointing(example))

    assert "Frame difference does better." in line
    assert "It does not differ significantly from the centre of the frame (49 to 55)." in line
    assert "beats" not in line


def test_baselines_are_compared_paired_by_clip() -> None:
    """Overlapping intervals do not matter if the difference by clip is significant."""
    maps = localisation(
        attention=map_localisation(0.2, 0.5, 0.6), motion_energy=map_localisation(0.2, 0.52, 0.6)
    )
    baseline = maps["motion energy"]
    margin = baseline.margin | {"pointing": estimate(-0.02, 0.01)}
    example = explanation(localisation=maps | {"motion energy": replace(baseline, margin=margin)})

    assert "Frame difference does better." in text.pointing(example)


def test_a_model_that_pools_is_not_said_to_attend() -> None:
    example = explanation(
        map_name="Grad-CAM",
        attention_ablation={},
        accuracy_drop={},
        attention_stats={},
        attention_stats_by_step={},
    )

    lines = " ".join(text.summary(example))

    assert "The strongest place of its Grad-CAM map" in lines
    lines = lines.replace(example.model, "").replace("there is no attention", "")
    assert "attend" not in lines
    assert "attention" not in lines


def test_an_actor_that_is_never_visible() -> None:
    missing = Estimate(NAN, NAN, NAN, 0)
    own = replace(map_localisation(0, 0, 0), pointing=missing, energy=missing, auc=missing)
    example = explanation(localisation={"attention": own})

    for describe in (text.pointing, text.energy, text.auc):
        assert describe(example) == "No actor is visible in these clips."


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [
        (0.2, "its attention ranks the places that the decision depends on better than chance"),
        (0.01, "its attention does not show what the decision depends on"),
        (-0.2, "random order does better"),
    ],
)
def test_deletion_has_a_verdict(gain: float, verdict: str) -> None:
    line = text.deletion("deletion", deletion_curves(0.41, 0.92, 0.93, gain=gain), "attention")

    assert line.startswith(
        "Removing the tenth of places it attends to most changes the class probability from 0.93 "
        "to 0.41; removing a random tenth changes it to 0.92."
    )
    assert verdict in line


def test_insertion_is_described() -> None:
    line = text.deletion("insertion", deletion_curves(0.8, 0.35, 0.2, gain=0.3), "Grad-CAM")

    assert line.startswith(
        "With only the tenth of strongest places of its Grad-CAM shown, the class probability is "
        "0.80; with a random tenth shown it is 0.35."
    )


def test_only_tested_fractions_are_described() -> None:
    curves = deletion_curves(0, 0, 0, gain=0.1)
    coarse = {name: curve([1.0, 0.6, 0.2], [0.0, 0.25, 1.0]) for name in curves.curves}

    line = text.deletion("pixel deletion", replace(curves, curves=coarse), "attention")

    assert "Removing the quarter of places it attends to most" in line
    assert "from 1.00 to 0.60; removing a random quarter changes it to 0.60" in line
    assert "on 60 clips)" in line


def test_few_groups_allow_no_verdict_on_deletion() -> None:
    curves = replace(deletion_curves(0, 0, 0, gain=0.1), gain=Estimate(0.3, NAN, NAN, 4))

    line = text.deletion("deletion", curves, "attention")

    assert "too few groups" in line
    assert "nan" not in line


@pytest.mark.parametrize(
    ("drop", "verdict"),
    [
        (
            estimate(0.49, 0.05),
            "its accuracy falls from 84 % to 35 %, by 49 points (44 to 54): where it looks matters",
        ),
        (
            estimate(0.0, 0.02),
            "is no lower (35 % versus 84 %): where it looks does not matter",
        ),
        (Estimate(0, 0, 0, 20), "too few to show whether where it looks matters"),
        (estimate(0.05, 0.1), "too few to show whether where it looks matters"),
        (estimate(-0.2, 0.1), "by 20 points (10 to 30): its own attention hurts"),
    ],
)
def test_uniform_attention_matters_or_does_not(drop: Estimate, verdict: str) -> None:
    example = explanation(accuracy_drop={"uniform": drop})

    assert verdict in plain(text.ablation("uniform", example))


def test_steps_and_classes() -> None:
    own = explanation().localisation["attention"]

    assert "it finds the actor over time" in text.by_step(own)
    assert plain(text.by_class(own)) == (
        "Highest for clap, 91 % (88 to 94); lowest for wave, 79 % (76 to 82)."
    )
    level = replace(own, by_step={"pointing": curve([0.5, 0.51])})
    assert "no clear change" in text.by_step(level)


def test_few_groups_have_no_interval_and_allow_no_verdict() -> None:
    alone = Estimate(0.84, NAN, NAN, 6)
    maps = localisation(
        attention=map_localisation(0, 0, 0), uniform=map_localisation(0.1, 0.2, 0.5)
    )
    margin = dict.fromkeys(("energy", "pointing", "auc"), Estimate(-0.2, NAN, NAN, 6))
    maps["uniform"] = replace(maps["uniform"], margin=margin)
    deletion = replace(deletion_curves(0.41, 0.92, 0.93, gain=0.2), gain=alone)
    example = explanation(
        accuracy=alone, accuracy_drop={"uniform": alone}, localisation=maps, deletion=deletion
    )

    accuracy, pointing, depends, guide = text.summary(example)

    verdicts = [pointing, depends, text.energy(example), text.auc(example)]
    assert all("too few groups" in line for line in verdicts)
    for line in (accuracy, guide, *verdicts):
        assert not any(word in line for word in ("nan", "better", "beats", "significant"))
    assert "There are no confidence intervals: 3 groups of clips are too few." in guide


def test_the_reading_guide_explains_maps_and_intervals() -> None:
    one = explanation(12)
    pooled = replace(one, name="mean", map_name="Grad-CAM")

    guide = plain(text.reading_guide({"fine": one, "mean": pooled}))

    assert guide == (
        "The map shows attention: the weight that the model gives to each place; for `mean`, which "
        "has none, Grad-CAM: how strongly each place supports the predicted action. Brackets show "
        "95 % confidence intervals from resampling whole groups of clips; there are 6 groups, and "
        "fewer groups give wider intervals."
    )
    assert "Grad-CAM" not in text.reading_guide({"fine": one})
    assert text.reading_guide({"mean": pooled}).startswith("The map shows Grad-CAM")
    assert text.summary(one)[-1] == text.reading_guide({"fine": one})


def test_missing_annotations_are_reported_in_the_summary() -> None:
    lines = text.summary(explanation(localisation={}))

    assert lines[1].startswith("Does it look at the actor? These clips have no actor annotations")
    assert lines[1].endswith("provide them with --annotations.")


def test_what_was_not_measured_is_left_out() -> None:
    """A clip of the only group has no partner whose attention it could use."""
    missing = Estimate(NAN, NAN, NAN, 0)

    assert text.ablation("uniform", explanation(accuracy_drop={"uniform": missing})) == ""
    line = text.summary(explanation(accuracy=missing))[0]
    assert line.endswith("was run on 6 test clips, none of which shows an action.")


def test_negative_zero_is_written_as_zero() -> None:
    assert plain(text.percent_interval(Estimate(-0.001, -0.02, 0.001, 6))) == "0 % (-2 to 0)"
    assert text.points(Estimate(-0.001, -0.02, 0.001, 6)) == "0 points (-2 to 0)"
