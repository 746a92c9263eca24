"""Runs on the Hugging Face Hub or a server with its API (the extra `glimpses[hub]`).

A repository holds what a run folder holds: a readable config, safetensors and the model card.
Nothing is ever unpickled. The CNN's weights come from their publisher. No path of this machine is
uploaded; the names of the clips, relative to their folder, are part of the config.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from glimpses import runs
from glimpses.models import ActionModel
from glimpses.runs import RunConfig, model_card
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import check_writable, quote_path

try:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError
except ImportError as _error:
    raise GlimpsesError(
        f"huggingface_hub: is not installed ({_error}); run: pip install 'glimpses[hub]'"
    ) from _error

_FILES = (runs.CONFIG, runs.WEIGHTS, runs.CARD)


@dataclass(frozen=True)
class PushedRun:
    """A run that was uploaded to the Hub.

    Attributes:
        repository: its name, USER/NAME.
        address: URL of the commit.
        public: whether the repository is public if it was created by this upload.
    """

    repository: str
    address: str
    public: bool

    def to_json(self) -> dict[str, Any]:
        """Return all fields as JSON types."""
        return dict(vars(self))

    def __str__(self) -> str:
        return f"{self.address}\ndownload it with: glimpses pull {self.repository} --out RUN"


@dataclass(frozen=True)
class PulledRun:
    """A run that was downloaded from the Hub.

    Attributes:
        run: its folder.
        classes: names of the classes.
    """

    run: Path
    classes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return all fields as JSON types."""
        return {"run": str(self.run), "classes": list(self.classes)}

    def __str__(self) -> str:
        return (
            f"{self.run}: {len(self.classes)} classes\n"
            f"next:\n  glimpses predict {quote_path(self.run)} VIDEO --overlay overlay.mp4"
        )


def push(run: str | Path, repository: str, /, *, public: bool = False) -> PushedRun:
    """Upload a run to the Hugging Face Hub: config, weights and model card.

    The card is the run's README.md; state the licence of the weights there. Log in first with
    `hf auth login` or set `$HF_TOKEN`.

    Args:
        run: folder of a trained run.
        repository: USER/NAME; created if it does not exist.
        public: whether a repository that is created is public; private by default.

    Raises:
        GlimpsesError: the run cannot be used, or the Hub refuses the upload.
    """
    run = Path(run)
    config, model = runs.load_model(run)
    message = f"Push {run.resolve().name}"
    card = model_card.read(run)
    return upload(repository, config, model, card, public=public, commit_message=message)


def pull(repository: str, /, *, out: str | Path, revision: str | None = None) -> PulledRun:
    """Download a run from the Hugging Face Hub into a folder that every command accepts.

    Args:
        repository: USER/NAME.
        out: folder to create.
        revision: branch, tag or commit; the newest of `main` by default.

    Raises:
        GlimpsesError: the run cannot be downloaded or is not valid, or `out` is not empty.
    """
    out = Path(out)
    check_writable(out)
    if out.is_dir() and any(out.iterdir()):
        raise GlimpsesError(f"{out}: is not empty; give --out a new folder")
    folder = download(repository, revision=revision)
    config, model = runs.load_model(folder)
    runs.write_run(out, _public(config), model, model_card.read(folder))
    return PulledRun(out, config.classes)


def download(repository: str, **options: Any) -> Path:
    """Download the files of a run, without validating them.

    Args:
        repository: USER/NAME.
        options: `revision`, `token`, `cache_dir`, `force_download`, `local_files_only`.

    Returns:
        Folder in the cache of huggingface_hub.

    Raises:
        GlimpsesError: there is no such repository, or the network fails.
    """
    with _hub_errors(repository):
        return Path(snapshot_download(repository, allow_patterns=list(_FILES), **options))


def upload(
    repository: str,
    config: RunConfig,
    model: ActionModel,
    card: str,
    *,
    public: bool,
    commit_message: str,
    token: str | None = None,
) -> PushedRun:
    """Upload a model; see `push`.

    Args:
        repository: USER/NAME; created if it does not exist.
        config: the settings of the run; paths are removed.
        model: the decoder.
        card: text of the model card.
        public: whether a repository that is created is public.
        commit_message: message of the commit.
        token: access token; the one of `hf auth login` or `$HF_TOKEN` by default.

    Raises:
        GlimpsesError: the Hub refuses the upload.
    """
    with TemporaryDirectory() as folder, _hub_errors(repository):
        runs.write_run(Path(folder), _public(config), model, card)
        api = HfApi(token=token)
        api.create_repo(repository, private=not public, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message=commit_message
        )
    return PushedRun(repository, commit.commit_url, public)


def _public(config: RunConfig) -> RunConfig:
    """Return the config without paths of this machine."""
    data = replace(config.data, feature_dir=None)
    return replace(config, data_dir=Path(config.data_dir).name, data=data)


@contextmanager
def _hub_errors(repository: str) -> Iterator[None]:
    """Turn errors of the Hub and of the network into a `GlimpsesError`."""
    try:
        yield
    except GlimpsesError:
        raise
    except RepositoryNotFoundError as error:
        raise GlimpsesError(
            f"{repository}: there is no such repository, or it is private and you are not logged "
            "in; check its name, or run `hf auth login`"
        ) from error
    # The errors of huggingface_hub and of the libraries it uses have no common base class.
    except Exception as error:
        if getattr(getattr(error, "response", None), "status_code", None) in (401, 403):
            raise GlimpsesError(
                f"{repository}: you are not logged in or have no write access; run `hf auth login` "
                "or set $HF_TOKEN"
            ) from error
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise GlimpsesError(
            f"{repository}: the request to the Hub failed ({reason}); check the name and the "
            "network, and try again"
        ) from error
