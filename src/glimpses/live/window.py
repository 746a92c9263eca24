"""Window for pictures, drawn with Tk."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from glimpses.utils.errors import GlimpsesError


class Window:
    """Window that shows one picture at a time; q, Escape or the close button closes it.

    Attributes:
        closed: whether the window has been closed.

    Raises:
        GlimpsesError: there is no display, or this Python has no Tk.
    """

    def __init__(self, title: str) -> None:
        try:
            import tkinter

            from PIL import ImageTk
        except ImportError as error:
            raise GlimpsesError(
                f"no window: this Python has no Tk ({error}); install it (on Debian python3-tk), "
                "or use --out or --jsonl"
            ) from error
        try:
            self._root: Any = tkinter.Tk(className="Glimpses")
        except tkinter.TclError as error:
            raise GlimpsesError(
                f"no window: there is no display ({error}); use --out or --jsonl"
            ) from error
        self._to_photo, self._tk_error = ImageTk.PhotoImage, tkinter.TclError
        self.closed = False
        self._root.title(title)
        self._root.resizable(False, False)
        self._label = tkinter.Label(self._root, borderwidth=0, background="black")
        self._label.pack()
        self._root.protocol("WM_DELETE_WINDOW", self.close)
        for key in ("q", "Q", "<Escape>"):
            self._root.bind(key, lambda _: self.close())

    def show(self, picture: UInt8[np.ndarray, "H W 3"]) -> None:
        """Show a picture in place of the previous one."""
        if self.closed:
            return
        # Tk holds no reference to the photo.
        self._photo = self._to_photo(Image.fromarray(picture), master=self._root)
        self._label.configure(image=self._photo)
        self.process_events()

    def process_events(self) -> None:
        """Process the events of the window since the last call."""
        if not self.closed:
            try:
                self._root.update()
            # The display may vanish at any time.
            except self._tk_error:
                self.closed = True

    def close(self) -> None:
        """Close the window."""
        if not self.closed:
            self.closed = True
            self._root.destroy()
