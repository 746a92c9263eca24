"""FastAPI application: the page and its HTTP API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi import Path as PathParam
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from glimpses.segments import FORMATS
from glimpses.serve.access import AccessGuard
from glimpses.serve.api_page import render_api_page
from glimpses.serve.examples import Example
from glimpses.serve.queue import Job, JobQueue, QueueFullError
from glimpses.serve.schemas import (
    ClipStatus,
    ErrorMessage,
    ExampleInfo,
    ModelInfo,
    Result,
    SegmentInfo,
    Status,
)
from glimpses.serve.segment_files import read_body, to_file
from glimpses.serve.uploads import UploadTooLargeError, clean_name, discard, receive
from glimpses.serve.worker import COPY, PREDICTION, picture_name
from glimpses.utils.errors import GlimpsesError

_PAGE = Path(__file__).parent / "page"
# Seconds between two removals of expired clips.
_EXPIRE_INTERVAL = 30
# The page is self-contained; the policy forbids browsers to load anything from elsewhere.
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_ClipId = Annotated[str, PathParam(description="id of the clip", max_length=40)]
_ModelIndex = Annotated[int, PathParam(description="index of the model", ge=0, le=999)]
_StepIndex = Annotated[int, PathParam(description="index in decisive_steps", ge=0, le=999)]
_ExampleId = Annotated[int, PathParam(description="id of the example", ge=0, le=999)]
_ModelIndices = Annotated[
    list[int] | None, Query(description="indices of the models to run; all by default")
]
_SegmentFormat = Annotated[
    Literal[FORMATS], Query(description="format of the file")  # type: ignore[valid-type]
]
_NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorMessage, "description": "not found, or deleted already"}
}
_NOT_DONE: dict[int | str, dict[str, Any]] = {
    **_NOT_FOUND,
    409: {"model": ErrorMessage, "description": "not done yet, or failed"},
}
_QUEUE_FULL: dict[int | str, dict[str, Any]] = {
    503: {"model": ErrorMessage, "description": "the queue is full; see Retry-After"}
}
_UPLOAD_FAILED: dict[int | str, dict[str, Any]] = {
    408: {"model": ErrorMessage, "description": "the upload took too long"},
    413: {"model": ErrorMessage, "description": "the file is too large"},
    **_QUEUE_FULL,
}
_UPLOAD_BODY = {
    "required": True, "description": "the video file, in any container and codec",
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}  # fmt: skip
_SEGMENTS_BODY = {
    "required": True, "description": "list of SegmentInfo",
    "content": {"application/json": {"schema": {
        "type": "array", "items": {"$ref": "#/components/schemas/SegmentInfo"},
    }}},
}  # fmt: skip


def create_app(
    queue: JobQueue,
    models: Sequence[ModelInfo],
    examples: Sequence[Example] = (),
    *,
    allowed_hosts: Sequence[str] = ("*",),
    token: str | None = None,
) -> FastAPI:
    """Create the application, for a started queue and models in the order of their indices.

    `allowed_hosts` are accepted names in the Host and Origin headers. Restricting them keeps other
    web pages from reaching the server by DNS rebinding. Requests must give the `token`, if any.
    """
    limits = queue.limits

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async def expire() -> None:
            while True:
                await asyncio.sleep(_EXPIRE_INTERVAL)
                await asyncio.to_thread(queue.expire)

        task = asyncio.create_task(expire())
        yield
        task.cancel()

    app = FastAPI(
        title="Glimpses",
        summary="Action recognition that shows where it looks.",
        description="Upload a clip, poll its state, and fetch the predictions and attention.",
        docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=lifespan,
    )  # fmt: skip
    access = AccessGuard(allowed_hosts, token)

    @app.middleware("http")
    async def guard(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        response = access.refuse(request) or await call_next(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        if request.url.path.startswith("/api/"):
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    def get_job(clip_id: str) -> Job:
        job = queue.get(clip_id)
        if job is None:
            raise _not_found()
        return job

    def get_finished(clip_id: str, model: int | None = None) -> Job:
        job = get_job(clip_id)
        if job.state == "failed":
            raise HTTPException(409, job.error)
        if job.state != "done":
            raise HTTPException(409, f"{job.name}: is not done yet; poll its state")
        if model is not None and model not in job.models:
            raise HTTPException(404, f"{job.name}: model {model} was not run on it")
        return job

    def read_result(job: Job) -> dict[str, Any]:
        try:
            result: dict[str, Any] = json.loads((job.folder / PREDICTION).read_text())
        except FileNotFoundError as error:
            raise _not_found() from error
        return result

    @contextmanager
    def http_errors(name: str) -> Iterator[None]:
        """Turn errors of uploads and of the queue into HTTP errors."""
        try:
            yield
        except QueueFullError as error:
            headers = {"Retry-After": str(error.retry_after)}
            raise HTTPException(503, str(error), headers=headers) from error
        except UploadTooLargeError as error:
            limit = f"{limits.max_upload_mb} MB; make it smaller or shorter"
            raise HTTPException(413, f"{name}: is larger than {limit}") from error
        # TimeoutError is an OSError: test it first.
        except TimeoutError as error:
            raise HTTPException(408, f"{name}: the upload took too long") from error
        except OSError as error:
            detail = f"{name}: cannot be stored: the server's disk is full; try again later"
            raise HTTPException(507, detail) from error

    def check_models(indices: Sequence[int] | None) -> list[int]:
        chosen = sorted(set(range(len(models)) if indices is None else indices))
        if not chosen or chosen[0] < 0 or chosen[-1] >= len(models):
            raise HTTPException(422, f"models: give indices from 0 to {len(models) - 1}")
        return chosen

    def clip_status(job: Job) -> ClipStatus:
        return ClipStatus(
            id=job.id, name=job.name, state=job.state, clips_ahead=queue.jobs_ahead(job),
            progress=round(job.progress, 3), stage=job.stage, error=job.error,
        )  # fmt: skip

    @app.get("/api/status")
    def get_status() -> Status:
        """Return the models, limits and load of the server."""
        queued, running = queue.load()
        return Status(
            models=list(models), max_upload_mb=limits.max_upload_mb,
            max_seconds=limits.max_seconds, max_queue=limits.max_queue,
            retention_minutes=limits.retention, segment_formats=list(FORMATS),
            queued=queued, running=running,
        )  # fmt: skip

    @app.post(
        "/api/clips", status_code=202, response_model=ClipStatus, responses=_UPLOAD_FAILED,
        openapi_extra={"requestBody": _UPLOAD_BODY},
    )  # fmt: skip
    async def upload_clip(
        request: Request,
        name: Annotated[str, Query(description="name of the file")] = "clip",
        models: _ModelIndices = None,
    ) -> Any:
        """Upload a clip and queue it. The request body is the file itself.

        Poll its state: a clip whose state is not requested for some minutes is dropped.
        """
        indices, name = check_models(models), clean_name(name)
        max_bytes = limits.max_upload_mb * 1_000_000
        client = request.client.host if request.client else ""
        try:
            with http_errors(name):
                job = queue.reserve(name, indices, client=client)
        except HTTPException:
            await discard(request, max_bytes)
            raise
        try:
            with http_errors(name):
                async with asyncio.timeout(limits.upload_timeout):
                    await receive(request, job.video, max_bytes)
        except BaseException as error:
            queue.remove(job)
            if isinstance(error, ClientDisconnect):
                # No one is left to read the response.
                return Response(status_code=499)
            raise
        queue.submit(job)
        return clip_status(job)

    @app.get("/api/clips/{clip_id}", responses=_NOT_FOUND)
    def get_clip(clip_id: _ClipId) -> ClipStatus:
        """Return the state of a clip."""
        return clip_status(get_job(clip_id))

    @app.delete("/api/clips/{clip_id}", status_code=204, responses=_NOT_FOUND)
    def delete_clip(clip_id: _ClipId) -> None:
        """Delete a clip and its results."""
        queue.remove(get_job(clip_id))

    @app.get("/api/clips/{clip_id}/result", response_model=Result, responses=_NOT_DONE)
    def get_result(clip_id: _ClipId) -> Response:
        """Return the predictions, step probabilities and attention of a clip."""
        job = get_finished(clip_id)
        result = read_result(job)
        # The worker knows the models by index only.
        for model_result in result["models"]:
            model = models[model_result["model"]]
            model_result |= {"name": model.name, "backbone": model.backbone}
        headers = _disposition("inline", f"{Path(job.name).stem}.json")
        return Response(json.dumps(result), media_type="application/json", headers=headers)

    def segments_response(job: Job, format: str, parts: list[SegmentInfo]) -> Response:
        fps = read_result(job)["fps"]
        name, media_type, content = to_file(parts, video=job.name, format=format, fps=fps)
        headers = _disposition("attachment", name)
        return Response(content, media_type=media_type, headers=headers)

    @app.get(
        "/api/clips/{clip_id}/models/{model}/segments",
        response_class=Response, responses=_NOT_DONE,
    )  # fmt: skip
    def get_segments(
        clip_id: _ClipId, model: _ModelIndex, format: _SegmentFormat = "csv"
    ) -> Response:
        """Return the segments that a model found in a clip, as a file in a format."""
        job = get_finished(clip_id, model)
        results = read_result(job)["models"]
        result = next(result for result in results if result["model"] == model)
        parts = [SegmentInfo.model_validate(segment) for segment in result["segments"]]
        return segments_response(job, format, parts)

    @app.post(
        "/api/clips/{clip_id}/segments", response_class=Response, responses=_NOT_DONE,
        openapi_extra={"requestBody": _SEGMENTS_BODY},
    )  # fmt: skip
    async def write_segments(
        request: Request, clip_id: _ClipId, format: _SegmentFormat = "csv"
    ) -> Response:
        """Return given segments of a clip as a file in a format, for example corrected ones.

        `glimpses train` reads the CSV.
        """
        job = get_finished(clip_id)
        parts = await read_body(request, job.name)
        return await asyncio.to_thread(segments_response, job, format, parts)

    @app.get("/api/clips/{clip_id}/video", response_class=FileResponse, responses=_NOT_DONE)
    def get_video(clip_id: _ClipId) -> FileResponse:
        """Return a copy of the clip that browsers can play (MP4)."""
        return _TemporaryFile(get_finished(clip_id).folder / COPY, media_type="video/mp4")

    @app.get(
        "/api/clips/{clip_id}/models/{model}/steps/{index}",
        response_class=FileResponse, responses=_NOT_DONE,
    )  # fmt: skip
    def get_step_picture(clip_id: _ClipId, model: _ModelIndex, index: _StepIndex) -> FileResponse:
        """Return a picture of a decisive step with the model's attention (JPEG)."""
        file = get_finished(clip_id, model).folder / picture_name(model, index)
        if not file.exists():
            raise HTTPException(404, "there is no such step")
        return _TemporaryFile(file, media_type="image/jpeg")

    @app.get(
        "/api/clips/{clip_id}/models/{model}/overlay",
        response_class=FileResponse, responses={**_NOT_DONE, **_QUEUE_FULL},
    )  # fmt: skip
    async def get_overlay(clip_id: _ClipId, model: _ModelIndex) -> FileResponse:
        """Return the clip with a model's attention and class probabilities drawn on it (MP4)."""
        job = get_finished(clip_id, model)
        with http_errors(job.name):
            overlay = asyncio.wrap_future(queue.request_overlay(job, model))
        try:
            # Shielded: a client that disconnects must not cancel the overlay for the others.
            file = await asyncio.shield(overlay)
        except GlimpsesError as error:
            get_job(clip_id)
            raise HTTPException(500, str(error)) from error
        except asyncio.CancelledError as error:
            if queue.get(clip_id) is None:
                raise _not_found() from error
            raise
        headers = _disposition("attachment", f"{Path(job.name).stem}-{models[model].name}.mp4")
        return _TemporaryFile(file, media_type="video/mp4", headers=headers)

    @app.get("/api/examples")
    def list_examples() -> list[ExampleInfo]:
        """Return the example clips."""
        return [
            ExampleInfo(id=index, name=example.name, labels=list(example.labels))
            for index, example in enumerate(examples)
        ]

    def get_example(example_id: int) -> Example:
        if example_id >= len(examples):
            raise HTTPException(404, "there is no such example")
        return examples[example_id]

    @app.get("/api/examples/{example_id}/picture", response_class=Response, responses=_NOT_FOUND)
    def get_example_picture(example_id: _ExampleId) -> Response:
        """Return a frame of an example (JPEG)."""
        return Response(get_example(example_id).picture, media_type="image/jpeg")

    @app.post(
        "/api/examples/{example_id}", status_code=202, responses={**_NOT_FOUND, **_QUEUE_FULL}
    )
    def submit_example(example_id: _ExampleId, models: _ModelIndices = None) -> ClipStatus:
        """Queue an example clip."""
        example, indices = get_example(example_id), check_models(models)
        name, labels = example.name, example.labels
        with http_errors(name):
            job = queue.reserve(name, indices, video=example.path, labels=labels)
        queue.submit(job)
        return clip_status(job)

    @app.get("/api", response_class=HTMLResponse, include_in_schema=False)
    def get_api_page() -> str:
        return render_api_page(app)

    app.mount("/", StaticFiles(directory=_PAGE, html=True))
    return app


class _TemporaryFile(FileResponse):
    """Response with a file that may be deleted at any moment."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def tracked_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await super().__call__(scope, receive, tracked_send)
        except (FileNotFoundError, RuntimeError) as error:
            # After the headers have been sent, all that is left is to close the connection.
            if not started:
                raise _not_found() from error


def _not_found() -> HTTPException:
    return HTTPException(404, "this clip does not exist, or has been deleted; upload it again")


def _disposition(kind: str, name: str) -> dict[str, str]:
    """Return the header that names a download (RFC 6266)."""
    return {"Content-Disposition": f"{kind}; filename*=UTF-8''{quote(name, safe='')}"}
