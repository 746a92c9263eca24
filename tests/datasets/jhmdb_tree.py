"""J-HMDB as its distributor ships it, made of the real clips in the shared folder."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import scipy.io


def rows_of(shared: Path) -> list[dict[str, str]]:
    """Return the rows of `groups.csv`, or skip the test if there are no clips."""
    file = shared / "data/jhmdb/groups.csv"
    if not file.is_file():
        pytest.skip("there is no part of J-HMDB")
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def write_jhmdb(
    root: Path, shared: Path, labels: tuple[str, ...] = ("clap", "golf", "wave"), *,
    pictures: bool = False, clips: int = 4,
) -> Path:  # fmt: skip
    """Write a few clips of different films for each class, with masks and three splits."""
    source = shared / "data/jhmdb"
    for label in labels:
        films = {row["group"]: row for row in rows_of(shared) if row["label"] == label}
        names = [Path(row["clip"]).name for row in list(films.values())[:clips]]
        for name in names:
            stem = Path(name).stem
            if pictures:
                folder = root / "Rename_Images" / label / stem
                folder.mkdir(parents=True)
                with av.open(str(source / label / name)) as container:
                    for number, frame in enumerate(container.decode(video=0), start=1):
                        frame.to_image().save(folder / f"{number:05}.png", compress_level=1)
            else:
                folder = root / "ReCompress_Videos" / label
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy(source / label / name, folder)
                (folder / f"._{name}").write_bytes(b"macOS")
            with np.load(source / "annotations" / label / f"{stem}.npz") as arrays:
                masks = np.unpackbits(arrays["masks"], axis=-1, count=int(arrays["shape"][-1]))[0]
            folder = root / "puppet_mask" / label / stem
            folder.mkdir(parents=True)
            parts = masks.transpose(1, 2, 0) * np.float64(3)
            scipy.io.savemat(folder / "puppet_mask.mat", {"part_mask": parts}, do_compression=True)
            (root / "joint_positions" / label / stem).mkdir(parents=True)
        for split in (1, 2, 3):
            lines = [f"{name} {2 if i == split - 1 else 1}\n" for i, name in enumerate(names)]
            list_file = root / "splits" / f"{label}_test_split{split}.txt"
            list_file.parent.mkdir(exist_ok=True)
            list_file.write_text("".join(lines))
            sub_list = root / "sub_splits" / f"{label}_test_split_{split}.txt"
            sub_list.parent.mkdir(exist_ok=True)
            sub_list.write_text(lines[0])
    return root
