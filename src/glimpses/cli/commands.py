"""Commands: parse, call one function, print its result.

A command is one entry of `COMMANDS`: its name and a function, whose signature and docstring define
the options and their help. The module of the function is imported when the command is called.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import Group, Parameter
from cyclopts.help import DefaultFormatter, HelpPanel
from rich.text import Text

from glimpses.utils import process
from glimpses.utils.errors import GlimpsesError, escape_controls
from glimpses.utils.limits import DecodeOptions, set_decode_options

#: Commands by name: function, summary.
COMMANDS = {
    "demo": ("glimpses.cli.demo:demo", "Make clips, train on them, show where the model looks."),
    "synthetic": ("glimpses.datasets.synthetic.generation:generate",
                  "Generate a set of synthetic clips."),
    "check": ("glimpses.check:check", "Check clips and labels before training."),
    "download": ("glimpses.datasets.download.dataset:download",
                 "Download UCF-11, HMDB-51 or Hollywood2."),
    "extract": ("glimpses.features:extract", "Compute the feature cubes of a folder of clips."),
    "train": ("glimpses.training.train_run:train",
              "Train a recogniser on a folder of labelled clips."),
    "tune": ("glimpses.training.tuning:tune",
             "Compare models on a folder of clips, and print the command for the best."),
    "crossvalidate": ("glimpses.training.cross_validation:crossvalidate",
                      "Score a training by cross-validation; train a run on all clips."),
    "evaluate": ("glimpses.evaluation.evaluate_run:evaluate",
                 "Score a trained run on clips it has not seen."),
    "calibrate": ("glimpses.evaluation.calibrate_run:calibrate",
                  "Fit the probabilities of a run, and when it is unsure, on held-out clips."),
    "reproduce": ("glimpses.reproduce.experiments:reproduce",
                  "Run the paper's experiments on one of its data sets."),
    "report": ("glimpses.report.write_report:report",
               "Write a page with the scores and the attention of runs."),
    "explain": ("glimpses.report.explain_pages:explain",
                "Measure where a model looks and whether its predictions depend on it."),
    "compare": ("glimpses.report.explain_pages:compare",
                "Compare runs by score, by attention and by its effect on their predictions."),
    "predict": ("glimpses.inference.batch:predict",
                "Recognise the action in videos and show where the model looks."),
    "serve": ("glimpses.serve.server:serve",
              "Start a web page that recognises videos and shows where the model looks."),
    "export": ("glimpses.runs.onnx.export_run:export",
               "Write a run as ONNX graphs that other programs can use."),
    "push": ("glimpses.runs.hub:push", "Upload a run to the Hugging Face Hub."),
    "pull": ("glimpses.runs.hub:pull", "Download a run from the Hugging Face Hub."),
    "watch": ("glimpses.live.session:watch",
              "Recognise the action in a live video and show where the model looks."),
    "import-features": ("glimpses.reproduce.authors.feature_import:import_features",
                        "Make a data set from the feature files of the paper's authors."),
    "export-features": ("glimpses.reproduce.authors.feature_export:export_features",
                        "Write features of clips in the format of the paper's authors."),
    "import-model": ("glimpses.reproduce.authors.model_npz:import_model",
                     "Make a run from a trained model of the paper's authors."),
    "export-model": ("glimpses.reproduce.authors.model_npz:export_model",
                     "Write the weights of a run in the format of the paper's authors."),
}  # fmt: skip


class _HelpFormatter(DefaultFormatter):
    """Formatter that shows the type `str | Path` as PATH."""

    def __call__(self, console: Any, options: Any, panel: HelpPanel) -> None:
        panel.entries = [
            entry.copy(metavar=entry.metavar and entry.metavar.replace("STR|PATH", "PATH"))
            for entry in panel.entries
        ]
        super().__call__(console, options, panel)

    def render_usage(self, console: Any, options: Any, usage: Any) -> None:
        usage = Text(str(usage).replace("STR|PATH", "PATH"), style="cyclopts.usage")
        super().render_usage(console, options, usage)


# Commands whose first argument is a data set.
_READ_DATA = ("check", "crossvalidate", "extract", "train")

# Options of every command that reads videos.
_DECODING = Group("Limits on a clip", sort_key=90)
_DEFAULT_DECODING = DecodeOptions()

# Commands that run for days give memory back when they are idle.
_LONG_RUNNING = ("serve", "watch")

_app = cyclopts.App(
    name="glimpses",
    help="Action recognition that shows where it looks.",
    # A file may be called "[720p] a.mp4", which is not JSON.
    default_parameter=Parameter(
        negative_iterable="", negative_none="", json_list=False, json_dict=False
    ),
    help_formatter=_HelpFormatter(),
    version_flags=["--version"],
    exit_on_error=False,
    print_error=False,
    result_action="return_value",
)
# `run` handles the interrupt itself.
_app.meta.suppress_keyboard_interrupt = False
for _name, (_function, _help) in COMMANDS.items():
    _app.command(_function, name=_name, help=_help, sort_key=list(COMMANDS).index(_name))


def main() -> None:
    """Run the command line and exit with its code."""
    process.shorten_thread_spin()
    # The name of a file need not be valid text.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: the command line, without `glimpses`.

    Returns:
        0 on success; 1 if an option, a file or a folder cannot be used, with one line on standard
        error that gives the reason; 2 if the command line is malformed; 130 if interrupted.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(levelname)s: %(message)s"))
    handler.addFilter(_Once())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("glimpses").setLevel(logging.INFO)
    for level in (logging.INFO, logging.WARNING, logging.ERROR):
        logging.addLevelName(level, logging.getLevelName(level).lower())
    try:
        _require_data(arguments)
        return int(_app.meta(arguments, exit_on_error=False, print_error=False) or 0)
    except GlimpsesError as error:
        return _fail(str(error), 1)
    except cyclopts.CycloptsError as error:
        if isinstance(cause := error.__cause__, GlimpsesError):
            return _fail(str(cause), 1)
        names = [f"{word} " for word in arguments if word in COMMANDS]
        return _fail(f"{error}; see glimpses {''.join(names[:1])}--help", 2)
    except BrokenPipeError:
        # The reader of our output closed it early; keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _fail(f"{place}{error.strerror or error}", 1)
    except KeyboardInterrupt:
        line = "interrupted; finished work is kept, run the same command again to continue"
        return _fail(line, 130)


@_app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    json: Annotated[bool, Parameter(negative="", help="Print the result as JSON.")] = False,
    decoding: Annotated[DecodeOptions, Parameter(name="*", group=_DECODING)] = _DEFAULT_DECODING,
) -> int:
    set_decode_options(decoding)
    command, bound, _ = _app.parse_args(tokens, exit_on_error=False, print_error=False)
    if tokens[0] not in _LONG_RUNNING:
        process.keep_freed_memory()
    result = command(*bound.args, **bound.kwargs)
    _show(result, as_json=json)
    return 0 if getattr(result, "ok", True) else 1


def _require_data(arguments: Sequence[str]) -> None:
    """Refuse a missing data set before the modules of a command load, which takes seconds."""
    command, data = (*arguments, "", "")[:2]
    if command in _READ_DATA and not data.startswith("-") and not Path(data).exists():
        raise GlimpsesError(f"{data}: no such folder or file; check its name")


def _show(result: Any, *, as_json: bool) -> None:
    """Print the result of a command, as JSON on request."""
    if as_json and hasattr(result, "to_json"):
        print(json.dumps(result.to_json(), ensure_ascii=False))
    elif hasattr(result, "__rich__"):
        from rich.console import Console
        from rich.segment import Segments

        # A file or a pipe has no width. Markup is off: a class may be called [b] or :smile:.
        width = None if sys.stdout.isatty() else 160
        console = Console(width=width, markup=False, emoji=False, highlight=False)
        segments = [
            segment if segment.control else segment._replace(text=escape_controls(segment.text))
            for segment in console.render(result)
        ]
        console.print(Segments(segments), end="")
    elif result is not None:
        print(escape_controls(str(result)))
    for complaint in getattr(result, "complaints", ()):
        _fail(complaint, 1)


class _Once(logging.Filter):
    """Filter that drops repeated messages, as of a data set that is read for several trainings."""

    def __init__(self) -> None:
        super().__init__()
        self._logged: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        is_new = message not in self._logged
        self._logged.add(message)
        return is_new


class _OneLine(logging.Formatter):
    """Formatter that puts a message on one line; the name of a file may have line breaks."""

    def format(self, record: logging.LogRecord) -> str:
        return escape_controls(" ".join(super().format(record).splitlines()))


def _fail(line: str, code: int) -> int:
    print(escape_controls(f"error: {' '.join(line.split())}"), file=sys.stderr)
    return code
