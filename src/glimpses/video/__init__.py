"""Video files, cameras and streams to RGB frames, and back."""

from glimpses.video.arrays import ArrayReader, ArrayResizer
from glimpses.video.convert import RESIZER, DecodedFrame, RGBConverter
from glimpses.video.display import DISPLAY_TOLERANCE, frames_displayed_at, is_displaying
from glimpses.video.prefetch import FrameSource, Prefetcher
from glimpses.video.probe import (
    SUFFIXES,
    VideoCheck,
    VideoHeader,
    VideoInfo,
    examine,
    frame_edges,
    is_picture_folder,
    is_video,
    probe,
    read_header,
)
from glimpses.video.sampling import ClipFrames, Frame, FrameRate, FrameReader, read
from glimpses.video.sources import LiveSource, camera, stream_at
from glimpses.video.writer import write

__all__ = [
    "DISPLAY_TOLERANCE", "RESIZER", "SUFFIXES", "ArrayReader", "ArrayResizer", "ClipFrames",
    "DecodedFrame", "Frame", "FrameRate", "FrameReader", "FrameSource", "LiveSource", "Prefetcher",
    "RGBConverter", "VideoCheck", "VideoHeader", "VideoInfo", "camera", "examine", "frame_edges",
    "frames_displayed_at", "is_displaying", "is_picture_folder", "is_video", "probe", "read",
    "read_header", "stream_at", "write",
]  # fmt: skip
