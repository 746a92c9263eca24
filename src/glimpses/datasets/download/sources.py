"""Table of the data sets: addresses, sizes, digests, terms and official numbers.

The values are from copies of the distributors' pages and from other projects' download code; the
addresses could not be tested when this was written.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from glimpses.datasets.layouts.jhmdb import LISTS, MASK_FILE, MASKS, VIDEOS


@dataclass(frozen=True)
class Archive:
    """One file to download.

    Attributes:
        file: its name.
        addresses: where it is published, tried in turn.
        size: approximate size in bytes, used if the server does not state it.
        folder: folder it is unpacked to.
        disk_factor: maximum disk space for unpacking, in multiples of the archive's size; nested
            archives need it twice.
        digest: hexadecimal MD5 or SHA-256 of the file; None if unknown.
    """

    file: str
    addresses: tuple[str, ...]
    size: int
    folder: str
    disk_factor: float = 1.1
    digest: str | None = None


@dataclass(frozen=True)
class FileCount:
    """Official number of files or folders of one kind.

    Attributes:
        name: plural noun for messages.
        pattern: glob below the set's folder.
        number: the official number.
        clips: whether they are the clips.
    """

    name: str
    pattern: str
    number: int
    clips: bool = False

    def count(self, root: Path) -> int:
        """Return how many of them are below `root`."""
        return sum(1 for _ in root.glob(self.pattern))


@dataclass(frozen=True)
class PublishedSet:
    """Data set as its distributor publishes it.

    Attributes:
        title: its name.
        home: the distributor's page, for when an address fails.
        terms: licence, or permitted use.
        citation: paper to cite.
        archives: files to download.
        expected: official numbers of files after unpacking.
    """

    title: str
    home: str
    terms: str
    citation: str
    archives: tuple[Archive, ...]
    expected: tuple[FileCount, ...]

    def count_clips(self, root: Path) -> int:
        """Return the number of clips below `root`."""
        return sum(files.count(root) for files in self.expected if files.clips)

    def describe_missing(self, root: Path) -> tuple[str, ...]:
        """Return the numbers that are too small below `root`, such as "109 of 110 clips"."""
        return tuple(
            f"{count} of {files.number} {files.name}"
            for files in self.expected
            if (count := files.count(root)) < files.number
        )


# The laboratory's page links to Google Drive; this form of the address skips the confirmation.
_DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="

# The laboratory's former server, reported to be gone since 2025.
_BROWN = "http://serre-lab.clps.brown.edu/wp-content/uploads/2013/10"

_CLIPS = "Hollywood2/AVIClips/actionclip"

_JHMDB = "files.is.tue.mpg.de/jhmdb"


def _jhmdb(file: str, folder: str, size: int, digest: str, disk_factor: float = 1.1) -> Archive:
    addresses = (f"https://{_JHMDB}/{file}", f"http://{_JHMDB}/{file}")
    return Archive(file, addresses, size, folder, disk_factor, digest)


#: Data sets by their names on the command line.
SETS = {
    "ucf11": PublishedSet(
        title="UCF-11",
        home="https://www.crcv.ucf.edu/data/UCF_YouTube_Action.php",
        # The page states no licence. The clips are from YouTube.
        terms="no stated licence; for research",
        citation=(
            "J. Liu, J. Luo, M. Shah: Recognizing Realistic Actions from Videos "
            '"in the Wild", CVPR 2009'
        ),
        archives=(
            Archive(
                file="UCF11_updated_mpg.rar",
                addresses=(
                    "https://www.crcv.ucf.edu/data/UCF11_updated_mpg.rar",
                    "http://crcv.ucf.edu/data/UCF11_updated_mpg.rar",
                ),
                size=1_050_000_000,
                folder="UCF11_updated_mpg",
            ),
        ),
        expected=(
            FileCount("classes", "UCF11_updated_mpg/*/", 11),
            FileCount("clips", "UCF11_updated_mpg/*/*/*.mpg", 1600, clips=True),
        ),
    ),
    "hmdb51": PublishedSet(
        title="HMDB-51",
        home="https://serre.lab.brown.edu/hmdb51.html",
        terms="CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)",
        citation=(
            "H. Kuehne, H. Jhuang, E. Garrote, T. Poggio, T. Serre: HMDB: A Large Video "
            "Database for Human Motion Recognition, ICCV 2011"
        ),
        # The digests are those that torchvision's HMDB51 expects (pytorch/vision,
        # torchvision/prototype/datasets/_builtin/hmdb51.py).
        archives=(
            Archive(
                file="hmdb51_org.rar",
                addresses=(
                    f"{_DRIVE}17anw5Oxp7lmp9cMwXPOyOpL5olDLmPpj",
                    f"{_BROWN}/hmdb51_org.rar",
                ),
                size=2_120_000_000,
                folder="hmdb51_org",
                disk_factor=2.2,
                digest="9e714a0d8b76104d76e932764a7ca636f929fff66279cda3f2e326fa912a328e",
            ),
            Archive(
                file="test_train_splits.rar",
                addresses=(
                    f"{_DRIVE}1NQxJWJSYWefyNS-LFYCenFih4gRDUPCX",
                    f"{_BROWN}/test_train_splits.rar",
                ),
                size=200_000,
                folder="testTrainMulti_7030_splits",
                disk_factor=20,
                digest="229c94f845720d01eb3946d39f39292ea962d50a18136484aa47c1eba251d2b7",
            ),
        ),
        expected=(
            FileCount("classes", "hmdb51_org/*/", 51),
            FileCount("clips", "hmdb51_org/*/*.avi", 6766, clips=True),
            FileCount("lists", "testTrainMulti_7030_splits/*_test_split[123].txt", 153),
        ),
    ),
    "jhmdb": PublishedSet(
        title="J-HMDB",
        home="http://jhmdb.is.tue.mpg.de/",
        # The clips are HMDB-51's.
        terms="clips: CC BY 4.0, as HMDB-51 (https://creativecommons.org/licenses/by/4.0/); masks: "
        "see the distributor's page",
        citation=(
            "H. Jhuang, J. Gall, S. Zuffi, C. Schmid, M. J. Black: Towards Understanding Action "
            "Recognition, ICCV 2013; and HMDB-51, ICCV 2011"
        ),
        # Rename_Images.tar.gz has the same frames as pictures, which take more space.
        archives=(
            _jhmdb("JHMDB_video.zip", VIDEOS, 185_602_053, "0aca5af988892c8c2afe652a30544b8c"),
            _jhmdb("puppet_mask.zip", MASKS, 30_000_000, "eebf6c6c71faa16709b709b758710d17", 3),
            _jhmdb("splits.zip", LISTS, 43_785, "15b9f2f7a99d63c07f3be0c9ecde43b5", 20),
        ),
        expected=(
            FileCount("classes", f"{VIDEOS}/*/", 21),
            FileCount("clips", f"{VIDEOS}/*/*.avi", 928, clips=True),
            FileCount("masks", f"{MASKS}/*/*/{MASK_FILE}", 928),
            FileCount("lists", f"{LISTS}/*_test_split[123].txt", 63),
        ),
    ),
    "hollywood2": PublishedSet(
        title="Hollywood2",
        home="https://www.di.ens.fr/~laptev/actions/hollywood2/",
        # The page states no licence. The clips are cut from feature films.
        terms="no stated licence; for research",
        citation="M. Marszalek, I. Laptev, C. Schmid: Actions in Context, CVPR 2009",
        # Both addresses and the MD5 are in the distributor's README.
        archives=(
            Archive(
                file="Hollywood2-actions.tar.gz",
                addresses=(
                    "ftp://ftp.irisa.fr/local/vistas/actions/Hollywood2-actions.tar.gz",
                    "http://lear.inrialpes.fr/people/marszalek/data/hollywood2/"
                    "Hollywood2-actions.tar.gz",
                ),
                size=15_000_000_000,
                folder="Hollywood2",
                digest="55948d0ef45a569a2134ea44e6f8976c",
            ),
        ),
        expected=(
            FileCount("clean training clips", f"{_CLIPS}train*.avi", 823, True),
            FileCount("test clips", f"{_CLIPS}test*.avi", 884, True),
            FileCount("automatically labelled training clips", f"{_CLIPS}autoauto*.avi", 810, True),
            FileCount("clean training lists", "Hollywood2/ClipSets/*_train.txt", 12),
            FileCount("test lists", "Hollywood2/ClipSets/*_test.txt", 12),
            FileCount("automatic training lists", "Hollywood2/ClipSets/*_autotrain.txt", 12),
        ),
    ),
}
