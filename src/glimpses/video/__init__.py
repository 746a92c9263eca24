"""Video files to frames and back: sampled by presentation time, upright, resized, RGB."""

from glimpses.video.convert import RESIZER, Picture, ToRGB
from glimpses.video.prefetch import Ahead, Frames
from glimpses.video.probe import (
    SUFFIXES,
    Examination,
    VideoInfo,
    declared_length,
    examine,
    frame_times,
    probe,
)
from glimpses.video.sampling import Frame, FrameRate, FrameReader, Video, read
from glimpses.video.sources import LiveSource, camera, stream_at
from glimpses.video.writer import write

__all__ = [
    "RESIZER",
    "SUFFIXES",
    "Ahead",
    "Examination",
    "Frame",
    "FrameRate",
    "FrameReader",
    "Frames",
    "LiveSource",
    "Picture",
    "ToRGB",
    "Video",
    "VideoInfo",
    "camera",
    "declared_length",
    "examine",
    "frame_times",
    "probe",
    "read",
    "stream_at",
    "write",
]
