"""Plotly's script, sent to a page once and shared by every Stage on it."""

from typing import ClassVar

import anywidget
import traitlets
from plotly.offline import get_plotlyjs


class PlotlySource(anywidget.AnyWidget):
    """Holds plotly.js (about 5 MB) as bytes; draws nothing itself. Use `shared()`."""

    _esm = "export default {};"
    script = traitlets.Bytes().tag(sync=True)

    _shared: ClassVar["PlotlySource | None"] = None

    @classmethod
    def shared(cls) -> "PlotlySource":
        """The one holder of this kernel; a new one when it has been closed."""
        if cls._shared is None or cls._shared.comm is None:
            cls._shared = cls(script=get_plotlyjs().encode())
        return cls._shared
