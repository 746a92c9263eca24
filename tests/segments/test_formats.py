"""Round trips of every format, the same files in other libraries, and files that are wrong."""

import json

import pytest

from glimpses.segments import FORMATS, Segment, read_segments, write_segments
from glimpses.utils.errors import GlimpsesError

LABELS = ["run", 'say "hi", twice', "跳ぶ & <b>", "two\nlines", "=1;2\tx"]
# Whole milliseconds, and whole frames at 25 fps.
TIMES = [(0.0, 1.2), (0.4, 2.0), (2.0, 3.6), (3604.0, 3605.0), (3604.4, 3606.0)]
MANY = ["csv", "activitynet", "label-studio", "via"]
ENDINGS = {"elan": "eaf", "vtt": "vtt", "srt": "srt", "csv": "csv", "activitynet": "json"}


def some(file="a.mp4", scores=True, labels=LABELS):
    return [
        Segment(file=file, start=start, end=end, label=label, score=0.1 * index if scores else None)
        for index, ((start, end), label) in enumerate(zip(TIMES, labels, strict=True))
    ]


def key(one):
    return one.file, one.start, one.end, one.label


@pytest.mark.parametrize("form", MANY)
@pytest.mark.parametrize("scores", [True, False])
def test_formats_of_several_files_keep_everything(tmp_path, form, scores):
    segments = some("a, b.mp4", scores) + some("ü/c.mp4", scores)
    write_segments(tmp_path / "x.txt", segments, format=form, fps=25)
    back = read_segments(tmp_path / "x.txt", format=form, fps=25)
    assert [(*key(one), one.score) for one in back] == [(*key(one), one.score) for one in segments]


@pytest.mark.parametrize("form", ["elan", "vtt", "srt", "audacity"])
def test_formats_of_one_file_keep_times_and_labels(tmp_path, form):
    labels = [one.replace("\n", " ") for one in LABELS] if form == "audacity" else LABELS
    segments = some("a.mp4", labels=labels)
    write_segments(tmp_path / "x.txt", segments, format=form)
    back = read_segments(tmp_path / "x.txt", format=form, video="a.mp4")
    assert [key(one) for one in back] == [key(one) for one in segments]
    with pytest.raises(GlimpsesError, match=r"x\.txt: .* one video"):
        write_segments(tmp_path / "x.txt", segments + some("b.mp4", labels=labels), format=form)


@pytest.mark.parametrize("form", FORMATS)
def test_an_empty_table_stays_empty(tmp_path, form):
    write_segments(tmp_path / "x", [], format=form)
    assert read_segments(tmp_path / "x", format=form) == []


@pytest.mark.parametrize(("form", "ending"), ENDINGS.items())
def test_the_ending_chooses_the_format(tmp_path, form, ending):
    write_segments(tmp_path / f"a.{ending}", some())
    write_segments(tmp_path / "named", some(), format=form)
    assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / "named").read_bytes()
    assert len(read_segments(tmp_path / f"a.{ending}")) == 5


def test_csv_keeps_optional_columns(tmp_path):
    segment = Segment(
        file="a.mp4", start=1 / 3, end=2 / 3, label="run", score=0.1 + 0.2, peak=0.5,
        box=(0.1, 0.2, 0.3, 1.0), frames=(10, 20),
    )  # fmt: skip
    write_segments(tmp_path / "a.csv", [segment])
    assert read_segments(tmp_path / "a.csv") == [segment]


DETAILED = [
    Segment(
        file="a.mp4", start=0.04, end=2.0, label="run", score=0.1 + 0.2, peak=0.98,
        box=(1 / 7, 0.25, 3 / 7, 1.0), frames=(1, 50),
    ),
    # It overlaps the first one, which ELAN puts on another tier.
    Segment(file="a.mp4", start=1.0, end=2.6, label="sit", score=0.5, frames=(25, 65)),
    Segment(
        file="a.mp4", start=2.0, end=3.0, label="run", score=1.0, peak=2.0,
        box=(0.0, 0.0, 1.0, 1.0), frames=(50, 75),
    ),
]  # fmt: skip


@pytest.mark.parametrize("form", [*MANY, "elan"])
def test_peak_box_and_frames_are_kept(tmp_path, form):
    write_segments(tmp_path / "x", DETAILED, format=form, fps=25)
    assert read_segments(tmp_path / "x", format=form, fps=25) == DETAILED


@pytest.mark.parametrize("form", [*MANY, "elan"])
def test_a_peak_stays_inside_rounded_times(tmp_path, form):
    one = Segment(file="a.mp4", start=1.0004, end=1.0404, label="x", score=0.5, peak=1.0404)
    write_segments(tmp_path / "x", [one], format=form, fps=25)
    (back,) = read_segments(tmp_path / "x", format=form, fps=25)
    assert back.peak == pytest.approx(1.0404, abs=1e-3)


@pytest.mark.parametrize(
    "values",
    [
        {"peak": "high", "box": [10, 20, 300, 400], "frames": "12-20"},
        {"peak": 0.1, "box": [0.5, 0, 0.1, 1], "frames": [20, 12]},
        {"peak": True, "box": {}, "frames": [1.5, 2]},
        {"peak": float("nan"), "box": [0, 0, 1], "frames": [True, 5]},
    ],
)
def test_keys_with_another_meaning_are_ignored(tmp_path, values):
    entry = {"segment": [3, 4], "label": "run", **values}
    (tmp_path / "a.json").write_text(json.dumps({"results": {"v": [entry]}}))
    (one,) = read_segments(tmp_path / "a.json")
    assert one == Segment(file="v", start=3, end=4, label="run")


@pytest.mark.parametrize(
    "text",
    [
        "file,start,end,label\na.mp4,1.5,2.5,run\n",
        "\ufefffile;start;end;label\r\na.mp4;1,5;2,5;run\r\n",
        "Video\tOnset\tOffset\tClass\na.mp4\t1.5\t2.5\trun\n",
        "label, begin , end,FileName,more\n\nrun,1.5,2.5,a.mp4,x\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_usual_variations_of_csv(tmp_path, text, encoding):
    text = text.removeprefix("\ufeff") if encoding == "utf-16" else text
    (tmp_path / "a.csv").write_text(text, encoding, newline="")
    assert read_segments(tmp_path / "a.csv") == [
        Segment(file="a.mp4", start=1.5, end=2.5, label="run")
    ]


@pytest.mark.parametrize("fps", [25, 30000 / 1001, 24000 / 1001, 10, 59.94])
def test_frames_return_exactly(tmp_path, fps):
    ranges = [(first, first + length) for first, length in [(0, 1), (17, 30), (107_890, 7)]]
    segments = [Segment.from_frames("a.mp4", *ends, "run", fps=fps) for ends in ranges]
    write_segments(tmp_path / "a.json", segments, format="label-studio", fps={"a.mp4": fps})
    result = json.loads((tmp_path / "a.json").read_text())[0]["annotations"][0]["result"]
    # From 1, and both ends included.
    assert [tuple(one["value"]["ranges"][0].values()) for one in result] == [
        (first + 1, stop) for first, stop in ranges
    ]
    assert read_segments(tmp_path / "a.json", fps=lambda _: fps) == segments


def test_label_studio_regions_in_seconds(tmp_path):
    value = {"start": 1.5, "end": 2.5, "labels": ["run"]}
    task = {
        "data": {"video": "a.mp4"},
        "annotations": [{"result": [{"type": "labels", "value": value}, {"type": "choices"}]}],
    }
    (tmp_path / "a.json").write_text(json.dumps([task]))
    assert read_segments(tmp_path / "a.json") == [
        Segment(file="a.mp4", start=1.5, end=2.5, label="run")
    ]


def test_elan_in_pympi(tmp_path):
    pympi = pytest.importorskip("pympi", reason="needs pympi-ling")
    write_segments(tmp_path / "a.eaf", some())
    elan = pympi.Elan.Eaf(str(tmp_path / "a.eaf"))
    tiers = [tier for tier in elan.get_tier_names() if "@" not in tier]
    assert len(tiers) == 2
    read = [one for tier in tiers for one in elan.get_annotation_data_for_tier(tier)]
    for tier in tiers:
        labels = {one.label: one.score for one in some()}
        values = elan.get_ref_annotation_data_for_tier(f"score@{tier}")
        assert {value[3]: float(value[2]) for value in values} == {
            one[2]: labels[one[2]] for one in elan.get_annotation_data_for_tier(tier)
        }
    assert sorted(one[:3] for one in read) == sorted(
        (round(1000 * one.start), round(1000 * one.end), one.label) for one in some()
    )
    elan.to_file(str(tmp_path / "b.eaf"))
    assert read_segments(tmp_path / "b.eaf") == some()


def test_subtitles_in_other_libraries(tmp_path):
    webvtt = pytest.importorskip("webvtt", reason="needs webvtt-py")
    write_segments(tmp_path / "a.vtt", some())
    write_segments(tmp_path / "a.srt", some())
    starts = [pytest.approx(one.start) for one in some()]
    assert [cue.start_in_seconds for cue in webvtt.read(tmp_path / "a.vtt")] == [
        0,
        0,
        2,
        3604,
        3604,
    ]
    pysubs2 = pytest.importorskip("pysubs2", reason="needs pysubs2")
    for ending in ("vtt", "srt"):
        loaded = pysubs2.load(str(tmp_path / f"a.{ending}"))
        assert [one.start / 1000 for one in loaded] == starts
    assert loaded[1].plaintext == LABELS[1]


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa">]><ANNOTATION_DOCUMENT>&a;</ANNOTATION_DOCUMENT>'


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "a.csv: is empty"),
        ("a.csv", "file,start,label\n", "a.csv:1: has no column end"),
        ("a.csv", "file,start,end,label\na,1,2,x\na,3,2,x\n", "a.csv:3: it ends at 2 s, before"),
        ("a.csv", 'file,start,end,label\na,1,2,"x\ny"\na,nan,2,x\n', "a.csv:4: times must be fin"),
        ("a.csv", "file,start,end,label\na,-1,2,x\n", "a.csv:2: it starts at -1 s"),
        ("a.csv", "file,start,end,label\na,soon,2,x\n", "a.csv:2: start must be a number"),
        ("a.csv", "file,start,end,label\na,1,2,\n", "a.csv:2: the label is empty"),
        ("a.csv", "file,start,end,label\na,1\n", "a.csv:2: end is missing"),
        ("a.csv", 'file,start,end,label\na,1,2,"x\n', "a.csv:2: is not a table"),
        ("a.json", "{", "a.json:1: is not JSON"),
        ("a.json", "[" * 100_000, "a.json: is not JSON"),
        ("a.json", "{}", "a.json: has neither"),
        ("a.json", '{"results": {"v": [{"segment": [1, 0], "label": "x"}]}}', "v, segment 1: it"),
        ("a.json", '{"results": {"v": [{"segment": [1, 2]}]}}', "v, segment 1: the label is mi"),
        ("a.json", '{"results": {"v": 5}}', "a.json: v: must contain a list"),
        ("a.json", "[1]", "a.json: task 1: `data` has no"),
        ("a.eaf", BOMB, "a.eaf: cannot be read as XML .*document type"),
        ("a.eaf", "<x/>", "a.eaf: is not an ELAN file"),
        ("a.vtt", "hello", "a.vtt:1: must begin with WEBVTT"),
        ("a.vtt", "WEBVTT\n\n00:02.000 --> 00:01.000\nx\n", "a.vtt:3: it ends at 1 s"),
        ("a.srt", "1\nnow --> then\nx\n", "a.srt:1: must be times"),
        ("a.csv", "# temporal_coordinates\n1,2\n", "a.csv:2: must have 6 columns"),
        ("a.doc", "", "a.doc: no format of segments"),
        ("a.csv", "\0", "a.csv: contains a null character"),
    ],
)
def test_wrong_files_get_one_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(GlimpsesError, match=message) as caught:
        read_segments(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_files_that_are_too_large_or_absent(tmp_path):
    with (tmp_path / "a.csv").open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(GlimpsesError, match="larger than"):
        read_segments(tmp_path / "a.csv")
    with pytest.raises(GlimpsesError, match="No such file"):
        read_segments(tmp_path / "b.csv")
    with pytest.raises(GlimpsesError, match=r"frame rate of a\.mp4"):
        write_segments(tmp_path / "c.json", some(), format="label-studio")
