"""News from the live engine's worker."""

from dataclasses import dataclass
from typing import Literal

from compress_explorer.engine.setting import Setting
from compress_explorer.spec.report import StepReport
from compress_explorer.spec.sweep import Sweep

State = Literal["estimating", "exact", "error", "cancelled"]


@dataclass(frozen=True)
class Update:
    """News from the worker.

    Attributes:
        request: the number of the request that is being answered.
        state: of the accuracy of the request's own setting.
        kind: "point": the point `index` of the sweep changed; "reports": what the steps did became known; "status":
            only the state or the words changed.
        setting: the setting of the request.
        sweep: everything known of the sweep in hand; None where there is none yet, or because of an error.
        index: the point that changed, or the request's own.
        own: the point of the request's setting.
        text: progress in words; empty when nothing is going on.
        error: what went wrong, when the state is "error".
        reports: what each step did to the one before; only in the news that follows the setting's own frame.
    """

    request: int
    state: State
    kind: Literal["point", "reports", "status"]
    setting: Setting
    sweep: Sweep | None = None
    index: int = 0
    own: int = 0
    text: str = ""
    error: BaseException | None = None
    reports: tuple[StepReport, ...] = ()
