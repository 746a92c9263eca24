"""The page and its HTTP API: what is asked for, and what the desk says to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi import Path as InPath
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from glimpses.serve.examples import Example
from glimpses.serve.queue import Job, JobQueue, QueueFullError
from glimpses.serve.worker import COPY, PREDICTION, picture_name
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.templates import render

_PAGE = Path(__file__).parent / "page"
_LONGEST_NAME = 120
# Seconds in which something must arrive of an upload.
_IDLE = 15
# Bytes a second that must arrive of it on average, after that long: who trickles takes a place.
_SLOWEST = 10_000
# The page brings everything itself; a browser is told to fetch nothing from elsewhere.
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class ExplanationSummary(BaseModel):
    """What `glimpses explain` found out about a model on clips it had not seen; shares of 1."""

    clips: int = Field(description="how many clips it was measured on")
    accuracy: float | None = Field(description="share of clips named rightly")
    pointing: float | None = Field(
        description="share of steps in which the strongest place is on the actor"
    )
    pointing_chance: float | None = Field(description="the same of a place at random")
    accuracy_uniform: float | None = Field(
        description="share of clips named rightly when attention is made uniform"
    )


class ModelInfo(BaseModel):
    """A model that can look at clips."""

    name: str
    kind: str = Field(description="what it is, as in 'attention, content, 3 layers of 128'")
    backbone: str
    frames_per_second: float | Literal["native"] = Field(description="that it looks at")
    classes: list[str]
    attends: bool = Field(description="whether it has attention to show")
    measures: ExplanationSummary | None


class Status(BaseModel):
    """What this server has and lets in, and how busy it is."""

    models: list[ModelInfo]
    most_megabytes: int
    most_seconds: float
    most_waiting: int
    keep_minutes: float
    waiting: int
    working: int


class ExampleClip(BaseModel):
    """A clip that is here already."""

    number: int
    name: str
    shows: list[str] = Field(description="what it shows")


class UploadedClip(BaseModel):
    """A clip that was handed in."""

    id: str
    name: str
    state: Literal["arriving", "waiting", "working", "done", "failed"]
    ahead: int = Field(description="clips that are worked on before it")
    progress: float = Field(description="share of the work done")
    doing: str
    problem: str | None = Field(description="why it failed")


class ModelResult(BaseModel):
    """What one model says of a clip. T steps, C classes, K x K places."""

    model: int = Field(description="its number in the server's list of models")
    name: str = Field(description="of the model")
    backbone: str = Field(description="that the model looks with")
    label: str
    probabilities: dict[str, float] = Field(description="of the whole clip, (C,)")
    times: list[float] = Field(description="of the steps, in seconds, (T,)")
    step_probabilities: list[list[float]] = Field(description="(T, C)")
    attention: list[list[list[float]]] | None = Field(
        description="location softmax, row by row from the top left, (T, K, K)"
    )
    light: float | None = Field(description="attention that is shown at full light")
    decisive_steps: list[int] = Field(description="that speak most for the label")


class Result(BaseModel):
    """What the models say of a clip."""

    clip: str
    truth: list[str] = Field(description="what it shows, where that is known")
    seconds: float
    width: int = Field(description="of its copy, in pixels")
    height: int
    problem: str | None = Field(description="what is wrong with the file")
    models: list[ModelResult]


class ErrorMessage(BaseModel):
    """Why something did not work; one line for people."""

    detail: str


@dataclass(frozen=True)
class PageInfo:
    """What the page is about.

    Attributes:
        models: that can be asked, in the order of their numbers.
        examples: clips ready to be clicked.
    """

    models: Sequence[ModelInfo]
    examples: Sequence[Example] = ()


_Key = Annotated[str, InPath(description="id of a clip", max_length=40)]
_Number = Annotated[int, InPath(description="number of a model", ge=0, le=999)]
_Step = Annotated[int, InPath(description="number of a decisive step", ge=0, le=999)]
_Place = Annotated[int, InPath(description="number of an example", ge=0, le=999)]
_Chosen = Annotated[
    list[int] | None, Query(description="numbers of the models that are to look; all if not given")
]
_MISSING: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorMessage, "description": "there is no such clip, or not any more"}
}
_FULL: dict[int | str, dict[str, Any]] = {
    503: {"model": ErrorMessage, "description": "too many clips wait; see Retry-After"}
}


def make_app(desk: JobQueue, shown: PageInfo, *, hosts: Sequence[str] = ("*",)) -> FastAPI:
    """The server's application.

    Args:
        desk: where clips are worked on; opened already.
        shown: what the page is about.
        hosts: names by which it may be called; others are refused, so that no foreign page can
            reach a server on loopback by a name of its own.
    """
    limits = desk.limits

    @asynccontextmanager
    async def tidying(_: FastAPI) -> AsyncIterator[None]:
        async def expire() -> None:
            while True:
                await asyncio.sleep(30)
                await asyncio.to_thread(desk.expire)

        task = asyncio.create_task(expire())
        yield
        task.cancel()

    app = FastAPI(
        title="Glimpses",
        summary="Action recognition that shows where it looks.",
        description="Hand in a clip, ask how far it is, fetch what the models say and saw.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=tidying,
    )
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))

    @app.middleware("http")
    async def guard(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        if _foreign(request):
            response = Response("this server answers its own page only\n", status_code=403)
        else:
            response = await answer(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        if request.url.path.startswith("/api/"):
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    def found(key: str) -> Job:
        job = desk.get(key)
        if job is None:
            raise _gone()
        return job

    def finished(key: str) -> Job:
        job = found(key)
        if job.state == "failed":
            raise HTTPException(409, job.problem)
        if job.state != "done":
            raise HTTPException(409, f"{job.name}: is not done yet; ask for its state")
        return job

    def looking(job: Job, model: int) -> Job:
        if model not in job.models:
            raise HTTPException(404, f"{job.name}: no model {model} looked at it")
        return job

    def chosen(models: Sequence[int] | None) -> list[int]:
        numbers = sorted(set(range(len(shown.models)) if models is None else models))
        if not numbers or numbers[0] < 0 or numbers[-1] >= len(shown.models):
            raise HTTPException(422, f"models: give numbers from 0 to {len(shown.models) - 1}")
        return numbers

    def told(job: Job) -> UploadedClip:
        return UploadedClip(
            id=job.id,
            name=job.name,
            state=job.state,
            ahead=desk.ahead(job),
            progress=round(job.progress, 3),
            doing=job.doing,
            problem=job.problem,
        )

    @app.get("/api/status")
    def status() -> Status:
        """What models there are, what is let in, and how busy the server is."""
        waiting, working = desk.waiting()
        return Status(
            models=list(shown.models),
            most_megabytes=limits.megabytes,
            most_seconds=limits.seconds,
            most_waiting=limits.waiting,
            keep_minutes=limits.keep,
            waiting=waiting,
            working=working,
        )

    @app.post(
        "/api/clips",
        status_code=202,
        response_model=UploadedClip,
        responses={
            408: {"model": ErrorMessage, "description": "the upload took too long"},
            413: {"model": ErrorMessage, "description": "the file is too large"},
            **_FULL,
        },
        openapi_extra={
            "requestBody": {
                "required": True,
                "description": "the video file itself, of any container and codec",
                "content": {
                    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
                },
            }
        },
    )
    async def hand_in(
        request: Request,
        name: Annotated[str, Query(description="what you call the file")] = "clip",
        models: _Chosen = None,
    ) -> Any:
        """Hand in a clip; the body is the file itself. It waits for its turn.

        Ask for its state now and then: one that nobody asks for is given up after some minutes.
        """
        numbers = chosen(models)
        most = limits.megabytes * 1_000_000
        large = HTTPException(
            413, f"{_base(name)}: is larger than {limits.megabytes} MB; make it smaller or shorter"
        )
        try:
            sender = request.client.host if request.client else ""
            job = _reserved(desk, _base(name), numbers, sender=sender)
        except HTTPException:
            # Browsers do not read an answer before all is sent.
            await _ignore(request, most)
            raise
        try:
            async with asyncio.timeout(limits.upload_patience):
                await _receive(request, job.video, most)
        except (_TooLargeError, TimeoutError, ClientDisconnect, OSError) as error:
            desk.remove(job)
            if isinstance(error, _TooLargeError):
                raise large from error
            if isinstance(error, TimeoutError):
                raise HTTPException(408, f"{job.name}: took too long to arrive") from error
            if isinstance(error, OSError):
                raise _full(job.name) from error
            # Whoever sent it has gone and reads no answer.
            return Response(status_code=499)
        except BaseException:
            desk.remove(job)
            raise
        desk.submit(job)
        return told(job)

    @app.get("/api/clips/{key}", responses=_MISSING)
    def state(key: _Key) -> UploadedClip:
        """How far a clip is."""
        return told(found(key))

    @app.delete("/api/clips/{key}", status_code=204, responses=_MISSING)
    def remove(key: _Key) -> None:
        """Forget a clip and delete its files."""
        desk.remove(found(key))

    @app.get("/api/clips/{key}/result", response_model=Result, responses=_MISSING)
    def result(key: _Key) -> Response:
        """What the models say of a clip, where they looked and when they were sure."""
        job = finished(key)
        try:
            said = json.loads((job.folder / PREDICTION).read_text())
        except FileNotFoundError as error:
            raise _gone() from error
        # What the worker knows by number.
        for each in said["models"]:
            model = shown.models[each["model"]]
            each |= {"name": model.name, "backbone": model.backbone}
        headers = _named(f"{Path(job.name).stem}.json", "inline")
        return Response(json.dumps(said), media_type="application/json", headers=headers)

    @app.get("/api/clips/{key}/video", response_class=FileResponse, responses=_MISSING)
    def video(key: _Key) -> FileResponse:
        """A copy of the clip that browsers play (MP4)."""
        return _File(finished(key).folder / COPY, media_type="video/mp4")

    @app.get(
        "/api/clips/{key}/models/{model}/steps/{place}",
        response_class=FileResponse,
        responses=_MISSING,
    )
    def picture(
        key: _Key, model: _Number, place: Annotated[int, InPath(ge=0, le=999)]
    ) -> FileResponse:
        """A picture of one of a model's decisive steps, with its attention (JPEG)."""
        file = looking(finished(key), model).folder / picture_name(model, place)
        if not file.exists():
            raise HTTPException(404, "there is no such step")
        return _File(file, media_type="image/jpeg")

    @app.get(
        "/api/clips/{key}/models/{model}/overlay",
        response_class=FileResponse,
        responses={**_MISSING, **_FULL},
    )
    async def overlay(key: _Key, model: _Number) -> FileResponse:
        """The clip with a model's attention and its class probabilities drawn on it (MP4)."""
        job = looking(finished(key), model)
        try:
            # One who goes must not take it from the others who wait for it.
            file = await asyncio.shield(asyncio.wrap_future(desk.overlay(job, model)))
        except QueueFullError as error:
            raise _busy(error) from error
        except GlimpsesError as error:
            found(key)
            raise HTTPException(500, str(error)) from error
        except asyncio.CancelledError as error:
            if desk.get(key) is None:
                raise _gone() from error
            raise
        name = f"{Path(job.name).stem}-{shown.models[model].name}.mp4"
        return _File(file, media_type="video/mp4", headers=_named(name, "attachment"))

    @app.get("/api/examples")
    def examples() -> list[ExampleClip]:
        """Clips that are here already."""
        return [
            ExampleClip(number=number, name=example.name, shows=list(example.shows))
            for number, example in enumerate(shown.examples)
        ]

    def example_at(number: int) -> Example:
        if number >= len(shown.examples):
            raise HTTPException(404, "there is no such example")
        return shown.examples[number]

    @app.get("/api/examples/{number}/picture", response_class=Response, responses=_MISSING)
    def example_picture(number: _Place) -> Response:
        """A frame of an example (JPEG)."""
        return Response(example_at(number).picture, media_type="image/jpeg")

    @app.post("/api/examples/{number}", status_code=202, responses={**_MISSING, **_FULL})
    def take_example(number: _Place, models: _Chosen = None) -> UploadedClip:
        """Hand in an example."""
        example = example_at(number)
        job = _reserved(desk, example.name, chosen(models), video=example.path, truth=example.shows)
        desk.submit(job)
        return told(job)

    @app.get("/api", response_class=HTMLResponse, include_in_schema=False)
    def api_page() -> str:
        return _api_page(app)

    app.mount("/", StaticFiles(directory=_PAGE, html=True))
    return app


def _foreign(request: Request) -> bool:
    """Whether a page of somebody else's asks."""
    origin = request.headers.get("origin")
    try:
        return origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    except ValueError:
        return True


class _File(FileResponse):
    """A file that may be deleted at any moment."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def sent(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await super().__call__(scope, receive, sent)
        except (FileNotFoundError, RuntimeError) as error:
            # With its head sent there is no other answer to give; the connection is closed.
            if not begun:
                raise _gone() from error


class _TooLargeError(Exception):
    pass


async def _receive(request: Request, file: Path, most: int) -> None:
    """Write a request's body to a file as it comes; only a little of it is ever in memory."""
    if int(request.headers.get("content-length", "0")) > most:
        await _ignore(request, most)
        raise _TooLargeError
    with file.open("wb") as out:
        async for chunk in _chunks(request, most):
            await asyncio.to_thread(out.write, chunk)


async def _ignore(request: Request, most: int) -> None:
    """Read a request's body to its end, if that is soon."""
    with suppress(_TooLargeError, TimeoutError, ClientDisconnect):
        async with asyncio.timeout(_IDLE):
            async for _ in _chunks(request, most):
                pass


async def _chunks(request: Request, most: int) -> AsyncIterator[bytes]:
    """A request's body as it comes, up to `most` bytes of it; who stops sending is given up."""
    stream, read = aiter(request.stream()), 0
    clock = asyncio.get_running_loop().time
    began = clock()
    while True:
        try:
            async with asyncio.timeout(_IDLE):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        read += len(chunk)
        if read > most:
            raise _TooLargeError
        if (seconds := clock() - began) > _IDLE and read < _SLOWEST * seconds:
            raise TimeoutError
        yield chunk


def _reserved(
    desk: JobQueue,
    name: str,
    models: Sequence[int],
    *,
    video: Path | None = None,
    truth: Sequence[str] = (),
    sender: str = "",
) -> Job:
    try:
        return desk.reserve(name, models, video=video, truth=truth, sender=sender)
    except QueueFullError as error:
        raise _busy(error) from error
    except OSError as error:
        raise _full(name) from error


def _gone() -> HTTPException:
    return HTTPException(404, "there is no such clip, or not any more; hand it in again")


def _busy(error: QueueFullError) -> HTTPException:
    return HTTPException(503, str(error), headers={"Retry-After": str(error.after)})


def _full(name: str) -> HTTPException:
    return HTTPException(507, f"{name}: cannot be kept, the server's disk is full; try again later")


def _base(name: str) -> str:
    """A file's name as its sender calls it, on one line and without folders."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    printable = "".join(letter for letter in last if letter.isprintable()).strip()
    return printable[:_LONGEST_NAME] or "clip"


def _named(name: str, how: str) -> dict[str, str]:
    """The header that names a download; RFC 6266."""
    return {"Content-Disposition": f"{how}; filename*=UTF-8''{quote(name, safe='')}"}


def _api_page(app: FastAPI) -> str:
    """The API for people, told from its OpenAPI description."""
    described = app.openapi()
    routes = [
        {
            "method": method.upper(),
            "path": path,
            "text": route["description"],
            "parameters": route.get("parameters", []),
            "body": route.get("requestBody"),
            "answers": [(code, *_answer(each)) for code, each in route["responses"].items()],
        }
        for path, methods in described["paths"].items()
        for method, route in methods.items()
    ]
    schemas = {
        name: schema
        for name, schema in described["components"]["schemas"].items()
        if "Validation" not in name
    }
    return render("api.html", routes=routes, schemas=schemas)


def _answer(response: dict[str, Any]) -> tuple[str, str, bool]:
    """What an answer means, the name of what it holds, if it has one, and whether it is a list."""
    for content in response.get("content", {}).values():
        schema = content.get("schema", {})
        reference = schema.get("$ref") or schema.get("items", {}).get("$ref", "")
        name = reference.rsplit("/", 1)[-1]
        name = "" if "Validation" in name else name
        return _meaning(response), name, "items" in schema
    return _meaning(response), "", False


def _meaning(response: dict[str, Any]) -> str:
    """FastAPI has the same words for all that is well; they say nothing."""
    meaning = str(response["description"])
    return "" if meaning == "Successful Response" else meaning
