"""Video files to frames and back: sampled by presentation time, upright, resized, RGB."""

from glimpses.video.containers import (
    SUFFIXES,
    Examination,
    VideoInfo,
    declared_length,
    examine,
    frame_times,
    probe,
)
from glimpses.video.sampling import Frame, FrameRate, FrameReader, Video, read
from glimpses.video.upright import RESIZER
from glimpses.video.writing import write

__all__ = [
    "RESIZER",
    "SUFFIXES",
    "Examination",
    "Frame",
    "FrameRate",
    "FrameReader",
    "Video",
    "VideoInfo",
    "declared_length",
    "examine",
    "frame_times",
    "probe",
    "read",
    "write",
]
