"""What users read does what it says: the code blocks of README and docs/ are run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from written import PAGES, ROOT, RUN, SHOWN, Block, blocks_of, lines_of, run

from glimpses import backbones, datasets

TUTORIAL = ROOT / "docs" / "tutorial.md"
BLOCKS = [block for page in PAGES for block in blocks_of(page)]
NOT_RUN = [block for block in BLOCKS if block.reason is not None]
# The tutorial has tests of its own.
WITH_CODE = [
    page
    for page in PAGES
    if page != TUTORIAL
    and any(
        block.page == page and block.language in RUN and block.reason is None for block in BLOCKS
    )
]


@pytest.fixture(scope="session")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a reader of the tutorial ends, at the tests' size."""
    folder = tmp_path_factory.mktemp("tutorial")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLIMPSES_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.chdir(folder)
        run(TUTORIAL, folder)
    return folder


@pytest.fixture
def as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what a page adds to the tables of backbones and layouts."""
    monkeypatch.setattr(backbones, "BACKBONES", dict(backbones.BACKBONES))
    monkeypatch.setattr(datasets, "LAYOUTS", dict(datasets.LAYOUTS))


def test_the_tutorial_leads_where_it_says(tutorial: Path) -> None:
    written = {file.relative_to(tutorial).as_posix() for file in tutorial.rglob("*")}
    assert written >= {
        "runs/mine/model.safetensors",
        "runs/mine/explained/explanation.html",
        "report.html",
        "seen.mp4",
    }


@pytest.mark.slow
def test_the_tutorial_leads_there_at_full_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(TUTORIAL, tmp_path, quick=False)
    assert (tmp_path / "report.html").exists()


@pytest.mark.usefixtures("as_before")
@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.name)
def test_code_runs(
    page: Path, tutorial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page is read by someone who has done the tutorial, and has a video."""
    folder = tmp_path / "reader"
    shutil.copytree(tutorial, folder)
    shutil.copy(next(folder.glob("my-clips/*/*/*.avi")), folder / "video.mp4")
    monkeypatch.chdir(folder)
    run(page, folder)


@pytest.mark.parametrize("block", NOT_RUN, ids=str)
def test_code_is_left_out_for_a_reason(block: Block) -> None:
    pytest.skip(f"{block}: {block.reason}")


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_no_block_escapes(block: Block) -> None:
    assert block.language in (*RUN, *SHOWN), f"{block}: say what language it is in"
    if block.language == "sh":
        assert list(lines_of(block.text))
    elif block.language == "text":
        assert not re.match(r"\$|(glimpses|python3?|pip) ", block.text), f"{block}: is for sh"


@pytest.mark.parametrize("page", [*PAGES, ROOT / "ARCHITECTURE.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target
