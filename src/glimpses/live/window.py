"""A window that shows pictures, by what comes with Python."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from glimpses.utils.errors import GlimpsesError


class Window:
    """One picture after the other; closed by q, Escape or its own button.

    Args:
        title: what stands above it.

    Attributes:
        closed: whether it was.

    Raises:
        GlimpsesError: there is no screen here, or no Tk in this Python.
    """

    def __init__(self, title: str) -> None:
        try:
            import tkinter

            from PIL import ImageTk
        except ImportError as error:
            raise GlimpsesError(
                f"no window: this Python has no Tk ({error}); install it (on Debian python3-tk), "
                "or use --out or --lines"
            ) from error
        try:
            self._root: Any = tkinter.Tk(className="Glimpses")
        except tkinter.TclError as error:
            raise GlimpsesError(
                f"no window: there is no screen here ({error}); use --out or --lines"
            ) from error
        self._photo = ImageTk.PhotoImage
        self._gone = tkinter.TclError
        self.closed = False
        self._root.title(title)
        self._root.resizable(False, False)
        self._place = tkinter.Label(self._root, borderwidth=0, background="black")
        self._place.pack()
        self._root.protocol("WM_DELETE_WINDOW", self.close)
        for key in ("q", "Q", "<Escape>"):
            self._root.bind(key, lambda _: self.close())

    def show(self, picture: UInt8[np.ndarray, "H W 3"]) -> None:
        """Show a picture in place of the one before."""
        if self.closed:
            return
        # Tk keeps no reference of its own.
        self._shown = self._photo(Image.fromarray(picture), master=self._root)
        self._place.configure(image=self._shown)
        self.respond()

    def respond(self) -> None:
        """Do what was asked of the window since the last time."""
        if not self.closed:
            try:
                self._root.update()
            # The screen may go at any time.
            except self._gone:
                self.closed = True

    def close(self) -> None:
        """Take the window off the screen."""
        if not self.closed:
            self.closed = True
            self._root.destroy()
