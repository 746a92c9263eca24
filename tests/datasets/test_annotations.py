"""Tests of annotations: exact occupancy of cells, correct frames, one-line errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glimpses import datasets, video
from glimpses.datasets import Clip
from glimpses.datasets.annotations import ActorAnnotation, annotation_for, annotations_for
from glimpses.datasets.annotations.grid_overlap import box_occupancy, mask_occupancy
from glimpses.datasets.annotations.masks import FigureMasks, mask_boxes, save_masks
from glimpses.utils.errors import GlimpsesError

WIDTH, HEIGHT, FRAMES, FPS = 96, 64, 12, 25


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of 12 frames of 40 ms, 96 x 64."""
    path = tmp_path_factory.mktemp("filmed") / "clip.mp4"
    frames = [np.full((HEIGHT, WIDTH, 3), 16 * k, np.uint8) for k in range(FRAMES)]
    video.write(path, frames, fps=FPS)
    return path


@pytest.fixture
def clip(filmed: Path) -> Clip:
    return Clip("run/clip.mp4", filmed, (0,), "a")


def painted(*boxes: tuple[int, int, int, int], grid: int = 4) -> np.ndarray:
    """Return the occupancy of each cell by counting pixels; the grid must divide the picture."""
    pixels = np.zeros((HEIGHT, WIDTH))
    for left, top, right, bottom in boxes:
        top, bottom, left, right = (max(0, edge) for edge in (top, bottom, left, right))
        pixels[top:bottom, left:right] = 1
    return pixels.reshape(grid, HEIGHT // grid, grid, WIDTH // grid).mean((1, 3))


# --- areas


def test_boxes_count_pixels_and_overlaps_once() -> None:
    drawn = np.random.default_rng(0)
    for _ in range(200):
        corner = drawn.integers(-30, 90, (drawn.integers(0, 5), 2))
        boxes = np.concatenate([corner, corner + drawn.integers(1, 70, corner.shape)], axis=1)
        share = box_occupancy(boxes.astype(float), (WIDTH, HEIGHT), 8)
        np.testing.assert_allclose(share, painted(*boxes.tolist(), grid=8), atol=1e-12)


@pytest.mark.parametrize(
    "box",
    [(50, 50, 50, 90), (90, 50, 60, 70), (-40, 0, -10, 30), (np.nan, 0, 60, 60)],
    ids=["empty", "inside out", "outside", "unknown"],
)
def test_boxes_that_cover_nothing(box: tuple[float, ...]) -> None:
    assert not box_occupancy(np.array([box]), (100, 100), 5).any()


def test_a_cell_next_to_a_box_is_empty() -> None:
    """Rounding must not matter for an edge on a line of the grid."""
    for grid in (3, 5, 6, 7, 11, 14, 49):
        for cells in range(1, grid):
            edge = cells * 224 / grid
            share = box_occupancy(np.array([[0, 0, edge, edge]]), (224, 224), grid)
            assert (share > 0).sum() == cells**2


def test_a_mask_and_the_box_of_its_pixels_agree_where_cells_cut_pixels() -> None:
    mask = np.zeros((10, 15), bool)
    mask[3:8, 4:14] = True
    box = np.array([[4.0, 3.0, 14.0, 8.0]])
    for grid in (1, 3, 4, 7):
        share = mask_occupancy(mask, grid)
        np.testing.assert_allclose(share, box_occupancy(box, (15, 10), grid), atol=1e-12)
        assert share.mean() == pytest.approx(mask.mean())


# --- masks


def test_masks_of_synthetic_clips(tmp_path: Path) -> None:
    figures = np.random.default_rng(1).random((2, 3, 8, 12)) < 0.3
    figures[:, 2] = False
    times = np.arange(3) / 10
    file = tmp_path / "a.npz"
    save_masks(file, FigureMasks(times, figures, mask_boxes(figures), {}))

    annotation = annotation_for(Clip("a", tmp_path / "a.avi", (0,), "a", file))

    assert annotation is not None
    asked = np.array([0.1, 0.0, 0.0995, 0.19, 0.25, -0.1, 0.31])
    cells = figures[0].reshape(3, 4, 2, 4, 3).mean((2, 4))
    expected = np.concatenate([cells[[1, 0, 1, 1, 2]], np.zeros((2, 4, 4))])
    np.testing.assert_allclose(annotation.occupancy(asked, 4), expected, atol=1e-12)
    # The last frame is annotated as empty.
    assert annotation.annotated(asked).tolist() == [True] * 5 + [False] * 2


# --- VIPER


def viper(body: str, *, frames: int = FRAMES, size: tuple[int, int] = (WIDTH, HEIGHT)) -> str:
    """Return a file as VIPER's own tools write it."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<viper xmlns="http://lamp.cfar.umd.edu/viper#" xmlns:data="http://lamp.cfar.umd.edu/viperdata#">
  <config>
    <descriptor name="Information" type="FILE">
      <attribute dynamic="false" name="NUMFRAMES" type="viperdata#dvalue"/>
    </descriptor>
    <descriptor name="PERSON" type="OBJECT">
      <attribute dynamic="true" name="Location" type="viperdata#bbox"/>
    </descriptor>
  </config>
  <data>
    <sourcefile filename="file:/home/me/clip.mpg">
      <file id="0" name="Information">
        <attribute name="SOURCETYPE"/>
        <attribute name="NUMFRAMES"><data:dvalue value="{frames}"/></attribute>
        <attribute name="FRAMERATE"><data:fvalue value="1.0"/></attribute>
        <attribute name="H-FRAME-SIZE"><data:dvalue value="{size[0]}"/></attribute>
        <attribute name="V-FRAME-SIZE"><data:dvalue value="{size[1]}"/></attribute>
      </file>
      {body}
    </sourcefile>
  </data>
</viper>
"""


def person(framespan: str, *shapes: str, name: str = "Location") -> str:
    return (
        f'<object framespan="{framespan}" id="0" name="PERSON">'
        f'<attribute name="{name}">{"".join(shapes)}</attribute></object>'
    )


def bbox(framespan: str, left: int, top: int, right: int, bottom: int) -> str:
    return (
        f'<data:bbox framespan="{framespan}" height="{bottom - top}" width="{right - left}" '
        f'x="{left}" y="{top}"/>'
    )


ONE, TWO, THREE = (10, 5, 40, 60), (30, 0, 50, 30), (60, 20, 96, 64)
TWO_PEOPLE = person("1:8", bbox("1:3", *ONE), bbox("4:8", *TWO)) + person(
    "3:4 10:10", '<data:point framespan="1:9" x="3" y="4"/>', bbox("3:4 10:10", *THREE), name="Box"
)


def read(clip: Clip, file: Path, text: str) -> ActorAnnotation:
    file.write_text(text, encoding="utf-8")
    annotation = annotation_for(Clip(clip.id, clip.path, clip.labels, clip.group, file))
    assert annotation is not None
    return annotation


@pytest.mark.parametrize("fps", ["native", 10.0, 50.0])
def test_viper_frames_match_sampled_frames(
    clip: Clip, tmp_path: Path, fps: video.FrameRate
) -> None:
    annotation = read(clip, tmp_path / "a.xgtf", viper(TWO_PEOPLE))
    sampled = video.read(clip.path, fps=fps, size=None)
    # The grey level of a frame encodes its number.
    numbers = [round(float(frame.mean()) / 16) + 1 for frame in sampled.frames]

    def there(number: int) -> list[tuple[int, int, int, int]]:
        return [
            *([ONE] if number <= 3 else []),
            *([TWO] if 4 <= number <= 8 else []),
            *([THREE] if number in (3, 4, 10) else []),
        ]

    expected = [painted(*there(number)) for number in numbers]
    np.testing.assert_allclose(annotation.occupancy(sampled.times, 4), expected, atol=1e-12)
    assert annotation.annotated(sampled.times).all()
    assert annotation.annotated(np.array([-0.1, FRAMES / FPS])).tolist() == [False, False]


def test_viper_without_a_header_uses_annotated_frames_and_video_size(
    clip: Clip, tmp_path: Path
) -> None:
    body = person("3:6", bbox("3:3", *ONE), bbox("6:6", *TWO))
    annotation = read(clip, tmp_path / "a.xgtf", viper(body, frames=0, size=(0, 0)))
    times = np.arange(FRAMES) / FPS
    assert annotation.annotated(times).tolist() == [2 <= k < 6 for k in range(FRAMES)]
    share = annotation.occupancy(times, 4)
    np.testing.assert_allclose(share[2], painted(ONE), atol=1e-12)
    np.testing.assert_allclose(share[5], painted(TWO), atol=1e-12)
    assert not share[[0, 1, 3, 4, 6]].any()


def test_viper_boxes_refer_to_the_size_in_the_file(clip: Clip, tmp_path: Path) -> None:
    doubled = tuple(2 * edge for edge in ONE)
    body = person("1:12", bbox("1:12", *doubled))
    annotation = read(clip, tmp_path / "a.xgtf", viper(body, size=(2 * WIDTH, 2 * HEIGHT)))
    np.testing.assert_allclose(annotation.occupancy(np.zeros(1), 4)[0], painted(ONE), atol=1e-12)


def test_viper_file_of_several_videos(clip: Clip, tmp_path: Path) -> None:
    whole = viper(person("1:2", bbox("1:2", *ONE)))
    start, end = whole.index("<sourcefile"), whole.index("</data>")
    other = whole[start:end].replace("clip.mpg", "other.mpg").replace('x="10"', 'x="50"')
    annotation = read(clip, tmp_path / "a.xgtf", whole[:end] + other + whole[end:])
    np.testing.assert_allclose(annotation.occupancy(np.zeros(1), 4)[0], painted(ONE), atol=1e-12)


def test_viper_ends_where_the_video_ends(clip: Clip, tmp_path: Path) -> None:
    body = person("0:2147483647", bbox("0:2147483647", *ONE))
    annotation = read(clip, tmp_path / "a.xgtf", viper(body, frames=2147483647))
    np.testing.assert_allclose(
        annotation.occupancy(np.array([0, 0.44, 0.48]), 4),
        [painted(ONE)] * 2 + [painted()],
        atol=1e-12,
    )


LAUGHS = "".join(
    f'<!ENTITY l{level} "{f"&l{level - 1};" * 10}">' if level else '<!ENTITY l0 "ha">'
    for level in range(12)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as XML"),
        ("{}", "cannot be read as XML"),
        (viper(TWO_PEOPLE)[:900], "cannot be read as XML"),
        ('<?xml version="1.0" encoding="klingon"?><viper/>', "cannot be read as XML"),
        ("<html><body/></html>", "is not a VIPER annotation"),
        ("<viper><data/></viper>", "is not a VIPER annotation"),
        (viper(person("1:2")), "none of its objects has a box"),
        (viper(person("1:2", bbox("1-2", *ONE))), "framespan '1-2' should be like 1:25"),
        (viper(person("1:2", bbox("1:2", *ONE).replace('"10"', '"nan"'))), "has x='nan', which is"),
        (viper(person("1:2", '<data:bbox framespan="1:2" x="1"/>')), "has y='', which is not"),
        (f"<!DOCTYPE viper [{LAUGHS}]>\n<viper>&l11;</viper>", "has a document type"),
        ('<!DOCTYPE viper SYSTEM "file:///etc/passwd"><viper/>', "has a document type"),
    ],
)
def test_unusable_viper_file_is_a_one_line_error(
    clip: Clip, tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(GlimpsesError) as caught:
        read(clip, tmp_path / "a.xgtf", text)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'a.xgtf'}: ")
    assert str(caught.value).endswith("restore the file, or remove it to go without")
    assert "\n" not in str(caught.value)


def test_document_type_is_refused_in_utf16(clip: Clip, tmp_path: Path) -> None:
    file = tmp_path / "a.xgtf"
    file.write_bytes(f"<!DOCTYPE viper [{LAUGHS}]><viper>&l11;</viper>".encode("utf-16"))
    with pytest.raises(GlimpsesError, match="has a document type"):
        annotation_for(Clip(clip.id, clip.path, (0,), "a", file))


# --- JSON


@pytest.fixture
def annotate(clip: Clip, tmp_path: Path) -> Callable[..., ActorAnnotation]:
    """Annotate the clip by a JSON entry."""

    def annotation(*boxes: object, clip: Clip = clip, **rest: object) -> ActorAnnotation:
        file = tmp_path / "boxes.json"
        file.write_text(json.dumps({clip.id: {"boxes": boxes, **rest}}))
        return annotations_for([clip], file)[clip.id]

    return annotation


def at(when: float, box: tuple[float, ...] | None, **rest: Any) -> dict[str, Any]:
    return {"time": when, "box": box, **rest}


def test_boxes_are_interpolated_linearly(annotate: Callable[..., ActorAnnotation]) -> None:
    annotation = annotate(
        {"frame": 7, "box": (48, 16, 96, 48)}, {"frame": 3, "box": (0, 0, 48, 32)}
    )
    times = np.arange(FRAMES) / FPS
    expected = [
        painted((12 * k, 4 * k, 12 * k + 48, 4 * k + 32)) if 0 <= k <= 4 else painted()
        for k in np.arange(FRAMES) - 2
    ]
    np.testing.assert_allclose(annotation.occupancy(times, 4), expected, atol=1e-12)
    assert annotation.annotated(times).tolist() == [2 <= k <= 6 for k in range(FRAMES)]
    # Between two frames the first of them is on display.
    np.testing.assert_allclose(
        annotation.occupancy(times[3:4] + 0.035, 4)[0], expected[3], atol=1e-12
    )


def test_time_refers_to_the_frame_on_display(annotate: Callable[..., ActorAnnotation]) -> None:
    by_time = annotate(at(0.0, ONE), at(0.1, TWO), at(0.2, THREE))
    by_frame = annotate(
        {"frame": 1, "box": ONE}, {"frame": 3, "box": TWO}, {"frame": 6, "box": THREE}
    )
    times = np.arange(FRAMES) / FPS
    assert np.array_equal(by_time.occupancy(times, 7), by_frame.occupancy(times, 7))
    assert by_time.annotated(times).tolist() == [k < 6 for k in range(FRAMES)]


def test_null_means_not_visible_until_the_next_box(
    annotate: Callable[..., ActorAnnotation],
) -> None:
    annotation = annotate(at(0, ONE), at(0.08, None), at(0.2, TWO), at(0.44, None))
    times = np.arange(FRAMES) / FPS
    expected = [painted(ONE)] * 2 + [painted()] * 3 + [painted(TWO)] * 6 + [painted()]
    np.testing.assert_allclose(annotation.occupancy(times, 4), expected, atol=1e-12)
    assert annotation.annotated(times).all()


def test_named_actors_are_interpolated_separately(annotate: Callable[..., ActorAnnotation]) -> None:
    annotation = annotate(
        at(0, (0, 0, 24, 64), actor="a"),
        at(0, (0, 0, 96, 16), actor="b"),
        at(0.08, (24, 0, 48, 64), actor="a"),
        at(0.16, (0, 32, 96, 48), actor="b"),
    )
    share = annotation.occupancy(np.arange(5) / FPS, 4)
    for k in range(5):
        first = [(12 * k, 0, 12 * k + 24, 64)] if k <= 2 else []
        np.testing.assert_allclose(share[k], painted(*first, (0, 8 * k, 96, 8 * k + 16)))


def test_several_unnamed_boxes_stay_until_the_next_frame_with_boxes(
    annotate: Callable[..., ActorAnnotation],
) -> None:
    annotation = annotate(at(0, ONE), at(0, TWO), at(0.12, THREE))
    expected = [painted(ONE, TWO)] * 3 + [painted(THREE)]
    np.testing.assert_allclose(annotation.occupancy(np.arange(4) / FPS, 4), expected, atol=1e-12)


def test_size_and_fps_of_extracted_pictures(
    annotate: Callable[..., ActorAnnotation],
) -> None:
    """Boxes may refer to pictures of 224 x 224, extracted at 10 fps."""
    scale = np.array([224 / WIDTH, 224 / HEIGHT] * 2)
    boxes = [{"frame": 1 + k, "box": (np.array(box) * scale).tolist()}
             for k, box in enumerate((ONE, TWO, THREE))]  # fmt: skip
    annotation = annotate(*boxes, size=[224, 224], fps=10)
    share = annotation.occupancy(np.arange(3) / 10, 4)
    np.testing.assert_allclose(share, [painted(ONE), painted(TWO), painted(THREE)], atol=1e-12)


def test_size_and_fps_are_required_without_a_video(
    annotate: Callable[..., ActorAnnotation], tmp_path: Path
) -> None:
    gone = Clip("run/gone.mp4", tmp_path / "gone.mp4", (0,), "a")
    annotation = annotate(at(0, ONE), at(0.3, ONE), clip=gone, size=[WIDTH, HEIGHT], fps=10)
    times = np.arange(6) / 10
    assert annotation.annotated(times).tolist() == [True] * 4 + [False] * 2
    np.testing.assert_allclose(annotation.occupancy(times, 4)[:4], [painted(ONE)] * 4, atol=1e-12)
    with pytest.raises(GlimpsesError, match=r"run/gone\.mp4: there is no video .*; give size"):
        annotate(at(0, ONE), clip=gone, fps=10)
    with pytest.raises(GlimpsesError, match=r"run/gone\.mp4: there is no video .*; give fps"):
        annotate(at(0, ONE), clip=gone, size=[WIDTH, HEIGHT])
    with pytest.raises(GlimpsesError, match="is at 1000000000 s; give times in seconds"):
        annotate(at(1e9, ONE), clip=gone, size=[WIDTH, HEIGHT], fps=10)


def test_json_file_as_annotation_of_a_clip(clip: Clip, tmp_path: Path) -> None:
    entry = {clip.id: {"boxes": [at(0, ONE)]}}
    annotation = read(clip, tmp_path / "a.json", json.dumps(entry))
    np.testing.assert_allclose(annotation.occupancy(np.zeros(1), 4)[0], painted(ONE), atol=1e-12)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ([], 'should be like {"boxes": [...]}'),
        ({"boxes": {}}, 'should be like {"boxes": [...]}'),
        ({"boxes": []}, "has no boxes"),
        ({"boxes": [at(0, ONE), 3]}, "box 2: is 3; give it a box, and a time or a frame"),
        ({"boxes": [{"box": ONE}]}, "give it a box, and a time or a frame"),
        ({"boxes": [at(0, ONE, frame=1)]}, "give it a box, and a time or a frame"),
        ({"boxes": [at(0, (10, 5, 4, 60))]}, "box 1: is [10, 5, 4, 60]; give [left, top, right"),
        ({"boxes": [at(0, (10, 5, 40))]}, "give [left, top, right, bottom]"),
        ({"boxes": [{"time": 0, "box": [1, 2, "3", 4]}]}, "give [left, top, right, bottom]"),
        ({"boxes": [at(0, (1, 2, 10**400, 4))]}, "give [left, top, right, bottom]"),
        ({"boxes": [at(-1, ONE)]}, "time is -1; give seconds"),
        ({"boxes": [at(True, ONE)]}, "time is true; give seconds"),
        ({"boxes": [{"frame": 0, "box": ONE}]}, "frame is 0; give its number, from 1"),
        ({"boxes": [{"frame": 1.5, "box": ONE}]}, "frame is 1.5; give its number"),
        ({"boxes": [at(0, ONE, actor=7)]}, "actor is 7; give a name"),
        ({"boxes": [at(4800, ONE)]}, "are after the end of the video at 0.48 s"),
        ({"boxes": [at(0, ONE)], "size": [0, 64]}, "size is [0, 64]; give [width, height]"),
        ({"boxes": [at(0, ONE)], "size": 224}, "size is 224; give [width, height]"),
        ({"boxes": [at(0, ONE)], "fps": -5}, "fps is -5; give frames per second"),
    ],
)
def test_unusable_entry_is_a_one_line_error(
    clip: Clip, tmp_path: Path, entry: object, message: str
) -> None:
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps({clip.id: entry}))
    with pytest.raises(GlimpsesError) as caught:
        annotations_for([clip], file)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{file}: {clip.id}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as JSON"),
        ("<viper/>", "cannot be read as JSON"),
        ("\ud800\udcff", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ('{"a": {"boxes": [{"time": NaN}]}}', "NaN is not a number"),
        ('{"a": {"boxes": []}, "a": {"boxes": []}}', "'a' occurs twice"),
        ("{}", "should be like"),
        ("[1]", "should be like"),
    ],
)
def test_unusable_boxes_file_is_a_one_line_error(
    clip: Clip, tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "boxes.json"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(GlimpsesError) as caught:
        annotations_for([clip], file)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


# --- matching of names


def clips_at(filmed: Path, *ids: str) -> list[Clip]:
    """Return clips with the same video under different names."""
    found = []
    for id in ids:
        path = filmed.parent / id
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.symlink_to(filmed)
        found.append(Clip(id, path, (0,), id))
    return found


def test_names_may_lack_suffix_and_folder(
    filmed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clips = clips_at(filmed, "run/a.mp4", "run/b.mp4", "jump/b.mp4", "jump/c.mp4", "jump/d.mp4")
    entry = {"boxes": [at(0, ONE)]}
    file = tmp_path / "boxes.json"
    names = ("run/a.mp4", "run/b", "c.avi", "b", "walk/x.mp4")
    file.write_text(json.dumps(dict.fromkeys(names, entry)))

    # `b` is ambiguous, so it matches no clip.
    assert list(annotations_for(clips, file)) == ["run/a.mp4", "run/b.mp4", "jump/c.mp4"]

    assert f"{file}: 2 of 5 names match no clip (b)" in caplog.text
    assert f"{file}: no annotation for 2 of 5 clips (jump/b.mp4)" in caplog.text


def test_a_folder_of_viper_files(filmed: Path, tmp_path: Path) -> None:
    clips = clips_at(filmed, "run/a.mp4", "jump/b.mp4")
    for place in ("jump/Annotation/b.xgtf", "run/a.xgtf"):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).write_text(viper(TWO_PEOPLE))
    assert set(annotations_for(clips, tmp_path)) == {"run/a.mp4", "jump/b.mp4"}
    (tmp_path / "a.xgtf").write_text(viper(TWO_PEOPLE))
    with pytest.raises(GlimpsesError, match=r"both a and run/a refer to run/a\.mp4; remove one"):
        annotations_for(clips, tmp_path)


@pytest.mark.parametrize("given", ["nowhere.json", "empty", "other.json"])
def test_annotations_of_no_clip_are_an_error(clip: Clip, tmp_path: Path, given: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.json").write_text(json.dumps({"x/y.avi": {"boxes": [at(0, ONE)]}}))
    with pytest.raises(GlimpsesError) as caught:
        annotations_for([clip], tmp_path / given)
    assert str(caught.value).startswith(f"{tmp_path / given}: ")


def test_unusable_annotation_skips_only_its_clip(
    filmed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, text in (("a", viper(TWO_PEOPLE)), ("b", ""), ("c", "")):
        (tmp_path / f"{name}.xgtf").write_text(text)
    clips = [
        Clip(name, filmed, (0,), name, tmp_path / f"{name}.xgtf" if name < "d" else None)
        for name in "abcd"
    ]
    assert list(annotations_for(clips)) == ["a"]
    assert caplog.text.count("WARNING") == 2
    assert "b.xgtf: cannot be read as XML" in caplog.text
    assert "skipped (1 more like this)" in caplog.text
    assert "annotations: no annotation for 3 of 4 clips (b)" in caplog.text


def test_no_warning_without_any_annotation(clip: Clip, caplog: pytest.LogCaptureFixture) -> None:
    assert annotations_for([clip]) == {}
    assert not caplog.text


def test_layouts_find_their_annotations(filmed: Path, tmp_path: Path) -> None:
    official = tmp_path / "official"
    plain = tmp_path / "plain"
    for place in (
        official / "walking/v_walk_dog_01/v_walk_dog_01_01.mpg",
        official / "walking/Annotation/v_walk_dog_01_01.xgtf",
        official / "walking/v_walk_dog_01/v_walk_dog_01_02.mpg",
        plain / "run/a.avi",
        plain / "annotations/run/a.xgtf",
        plain / "run/b.avi",
        plain / "annotations/run/b.npz",
    ):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"")
    found = datasets.load(official)
    assert found.layout == "ucf11"
    assert [clip.annotation for clip in found.clips] == [
        official / "walking/Annotation/v_walk_dog_01_01.xgtf",
        None,
    ]
    assert datasets.load(official, "folder").clips[0].annotation == found.clips[0].annotation
    assert [clip.annotation for clip in datasets.load(plain).clips] == [
        plain / "annotations/run/a.xgtf",
        plain / "annotations/run/b.npz",
    ]


def test_frame_edges_of_a_real_clip(shared: Path) -> None:
    file = next((shared / "data/ucf11-clips").rglob("v_shooting_01_01.mpg"))
    shown = video.frame_edges(file)
    np.testing.assert_allclose(shown, np.arange(109) * 1001 / 30000, atol=1e-6)
