"""Runs on the Hugging Face Hub, or any server that speaks as it does (the extra `glimpses[hub]`).

A repository holds what a run's folder does: readable config, safetensors, model card. Nothing is
ever unpickled, the CNN's weights come from where they are published, and paths of the machine that
trained stay there; the names of the clips, relative to their folder, go with the config.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from glimpses import runs
from glimpses.inference.recogniser import Recogniser
from glimpses.runs import RunConfig, model_card
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write, check_writable

try:
    from huggingface_hub import ModelHubMixin, snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError
except ImportError as _error:
    raise GlimpsesError(
        f"huggingface_hub: is not installed ({_error}); run: pip install 'glimpses[hub]'"
    ) from _error

_FILES = (runs.CONFIG, runs.WEIGHTS, runs.CARD)


class HubRecogniser(Recogniser, ModelHubMixin):
    """A recogniser that comes from the Hub and goes there, by huggingface_hub's mixin.

    ```python
    recogniser = HubRecogniser.from_pretrained("user/name")  # or a folder
    recogniser.predict("video.mp4").label
    HubRecogniser.load("runs/mine").push_to_hub("user/mine")
    ```

    Attributes:
        card: text of its model card; None to have one written when it is saved.
    """

    card: str | None = None

    @classmethod
    def load(cls, run: Path | str, *, device: str = "cpu") -> Self:
        """Load a run's folder with its card; see `Recogniser.load`."""
        recogniser = super().load(run, device=device)
        assert isinstance(recogniser, cls)
        recogniser.card = model_card.read(Path(run))
        return recogniser

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, *, device: str = "cpu", **options: Any
    ) -> Self:
        """Load a recogniser from the Hub.

        Args:
            pretrained_model_name_or_path: `user/name`, or a run's folder.
            device: where it is to run, "cpu" or "cuda".
            options: `revision`, `token`, `cache_dir`, `force_download`, `local_files_only`, as
                elsewhere in huggingface_hub.

        Raises:
            GlimpsesError: it cannot be had, or is no run that this version of Glimpses can use.
        """
        folder = Path(pretrained_model_name_or_path)
        if not folder.is_dir():
            folder = _fetched(str(pretrained_model_name_or_path), **options)
        return cls.load(folder, device=device)

    def _save_pretrained(self, save_directory: Path) -> None:
        """What `save_pretrained` and `push_to_hub` write."""
        card = self.card or model_card.fresh_card(self.config, save_directory.name)
        _save(save_directory, self.config, self.model, card)


@dataclass(frozen=True)
class PushedRun:
    """A run on the Hub.

    Attributes:
        repository: its name there.
        address: of the commit.
        public: whether anybody can see it, if it was made now.
    """

    repository: str
    address: str
    public: bool

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {"repository": self.repository, "address": self.address, "public": self.public}

    def __str__(self) -> str:
        return f"{self.address}\nget it back with: glimpses pull {self.repository} --out RUN"


@dataclass(frozen=True)
class PulledRun:
    """A run from the Hub.

    Attributes:
        run: its folder.
        classes: names of the actions.
    """

    run: Path
    classes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {"run": str(self.run), "classes": list(self.classes)}

    def __str__(self) -> str:
        return (
            f"{self.run}: {len(self.classes)} classes\n"
            f"next:\n  glimpses predict {self.run} VIDEO --overlay overlay.mp4"
        )


def push(run: Path, repository: str, /, *, public: bool = False) -> PushedRun:
    """Put a run on the Hugging Face Hub: its config, weights and model card.

    The card is the run's README.md; say there on which terms the weights are. Log in first with
    `hf auth login` or `$HF_TOKEN`.

    Args:
        run: folder of a trained run.
        repository: where to put it, USER/NAME; made if it is not there.
        public: whether a repository that is made can be seen by anybody; private if not given.

    Returns:
        Where it is.

    Raises:
        GlimpsesError: the run cannot be used, or the Hub does not take it.
    """
    recogniser = HubRecogniser.load(run)
    with _in_one_line(repository):
        address = recogniser.push_to_hub(
            repository, private=not public, commit_message=f"Push {Path(run).resolve().name}"
        )
    return PushedRun(repository, str(address), public)


def pull(repository: str, /, *, out: Path, revision: str | None = None) -> PulledRun:
    """Get a run from the Hugging Face Hub, as a folder that every command takes.

    Args:
        repository: USER/NAME.
        out: folder to make.
        revision: branch, tag or commit; the newest of `main` if not given.

    Returns:
        The run.

    Raises:
        GlimpsesError: it cannot be had, is no run that this version of Glimpses can use, or `out`
            is taken.
    """
    out = Path(out)
    check_writable(out)
    if out.is_dir() and any(out.iterdir()):
        raise GlimpsesError(f"{out}: is not empty; give --out a new folder")
    folder = _fetched(repository, revision=revision)
    config, model = runs.load_model(folder)
    _save(out, config, model, model_card.read(folder))
    return PulledRun(out, config.classes)


def _fetched(repository: str, **options: Any) -> Path:
    """A repository's files in the cache of huggingface_hub; nobody has looked into them yet."""
    with _in_one_line(repository):
        return Path(snapshot_download(repository, allow_patterns=list(_FILES), **options))


def _save(folder: Path, config: RunConfig, model: Any, card: str) -> None:
    """Write what goes into the open: no path of this machine is in it."""
    public = replace(
        config,
        data_dir=Path(config.data_dir).name,
        data=replace(config.data, feature_dir=None),
    )
    runs.write_config(folder, public)
    runs.save_model(folder, model)
    with atomic_write(folder / runs.CARD) as part:
        part.write_text(card, encoding="utf-8")


@contextmanager
def _in_one_line(repository: str) -> Iterator[None]:
    try:
        yield
    except GlimpsesError:
        raise
    except RepositoryNotFoundError as error:
        raise GlimpsesError(
            f"{repository}: there is no such repository, or it is private and you are not logged "
            "in; check its name, or run `hf auth login`"
        ) from error
    # Its errors and those of the libraries below it have no common ancestor.
    except Exception as error:
        if getattr(getattr(error, "response", None), "status_code", None) in (401, 403):
            raise GlimpsesError(
                f"{repository}: you are not logged in, or may not write there; run `hf auth login` "
                "or set $HF_TOKEN"
            ) from error
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise GlimpsesError(
            f"{repository}: the Hub did not do it ({reason}); check the name and the network, and "
            "try again"
        ) from error
