"""JSON schemas of the HTTP API. Shares and probabilities are between 0 and 1."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from glimpses.serve.queue import JobState


class ExplanationSummary(BaseModel):
    """Results of `glimpses explain` for a model, measured on its test clips."""

    clips: int = Field(description="number of clips")
    recordings: int = Field(description="number of recordings that they come from")
    accuracy: float | None = Field(description="share of clips classified correctly")
    accuracy_interval: tuple[float, float] | None = Field(
        description="its 95 % interval over recordings; null with fewer than five"
    )
    pointing_accuracy: float | None = Field(
        description="share of steps whose attention maximum is on the actor"
    )
    pointing_chance: float | None = Field(description="the same for a random location")
    accuracy_uniform_attention: float | None = Field(
        description="share of clips classified correctly with uniform attention"
    )
    accuracy_uniform_attention_interval: tuple[float, float] | None = Field(
        description="its 95 % interval"
    )


class ModelInfo(BaseModel):
    """A model of this server."""

    name: str = Field(description="name of the run's folder")
    description: str = Field(description="as in 'attention, content, 3 layers of 128'")
    backbone: str = Field(description="backbone and stage")
    fps: float | Literal["native"] = Field(description="frames per second that it processes")
    classes: list[str] = Field(description="actions that the model knows")
    has_attention: bool = Field(description="whether the model computes attention")
    score: str | None = Field(
        description="its score on unseen clips in words; null unless it has been evaluated"
    )
    explanation: ExplanationSummary | None = Field(
        description="null unless `glimpses explain` has been run"
    )


class Status(BaseModel):
    """Models, limits and load of this server."""

    models: list[ModelInfo] = Field(description="list of ModelInfo")
    max_upload_mb: int = Field(description="largest file in megabytes")
    max_seconds: float = Field(description="longest clip in seconds")
    max_queue: int = Field(description="most clips that can be queued")
    retention_minutes: float = Field(description="minutes to keep a result after its last access")
    segment_formats: list[str] = Field(description="formats of files with segments")
    queued: int = Field(description="clips that are queued")
    running: int = Field(description="clips that are being processed")


class ExampleInfo(BaseModel):
    """An example clip of this server."""

    id: int = Field(description="id for the URL")
    name: str = Field(description="file name")
    labels: list[str] = Field(description="its annotated actions")


class ClipStatus(BaseModel):
    """State of a submitted clip."""

    id: str = Field(description="random id; everybody who knows it can access the clip")
    name: str = Field(description="file name")
    state: JobState = Field(description="uploading, queued, running, done or failed")
    clips_ahead: int = Field(description="number of clips to be processed before this one")
    progress: float = Field(description="share of the work that is done")
    stage: str = Field(description="current stage of the work")
    error: str | None = Field(description="reason of the failure")


class SegmentInfo(BaseModel):
    """An action with start and end, in seconds since the first frame."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    start: float = Field(description="its first time")
    end: float = Field(description="the first time after it")
    label: str = Field(description="action", max_length=500)
    score: float | None = Field(default=None, description="confidence; null for a corrected one")
    peak: float | None = Field(default=None, description="time of the highest probability")
    box: tuple[float, float, float, float] | None = Field(
        default=None, description="attended part: left, top, right, bottom, as shares of the frame"
    )


class ModelResult(BaseModel):
    """Result of one model for a clip: T steps, C classes, a grid of K x K locations."""

    model: int = Field(description="index of the model in the list of /api/status")
    name: str = Field(description="name of the model")
    backbone: str = Field(description="backbone of the model")
    label: str = Field(description="most probable action")
    decision: str = Field(description='label, "no action" for background, or "unsure"')
    sure: bool = Field(description="whether the label's probability reaches the threshold")
    threshold: float | None = Field(description="of the model; null for none")
    probabilities: dict[str, float] = Field(description="of the clip, by class, (C,)")
    times: list[float] = Field(description="of the steps, in seconds, (T,)")
    step_probabilities: list[list[float]] = Field(description="of each step, (T, C)")
    attention: list[list[list[float]]] | None = Field(
        description="location softmax, row by row from the top left, (T, K, K)"
    )
    heatmap_scale: float | None = Field(description="attention drawn at full brightness")
    decisive_steps: list[int] = Field(description="steps that support the label most")
    segments: list[SegmentInfo] = Field(description="list of SegmentInfo, by start")


class Result(BaseModel):
    """Results of all chosen models for a clip."""

    clip: str = Field(description="file name")
    labels: list[str] = Field(description="annotated actions; empty if unknown")
    seconds: float = Field(description="length of the clip")
    width: int = Field(description="width of the MP4 copy in pixels")
    height: int = Field(description="height of the MP4 copy in pixels")
    fps: float = Field(description="frame rate of the uploaded file")
    warning: str | None = Field(description="defect of the file, if any")
    models: list[ModelResult] = Field(description="list of ModelResult")


class ErrorMessage(BaseModel):
    """Error message."""

    detail: str = Field(description="one line of plain text")
