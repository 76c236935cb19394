"""The Python code of a distillation lab's state."""

from compress_explorer.engine.device import Device
from compress_explorer.widgets.lab_state import LabState, cell_of


def code_for(state: LabState, setup: str = "", *, of_surface: bool = False, device: Device = "auto") -> str:
    """Code that gives the numbers of `state` without a lab.

    Args:
        state: what is shown.
        setup: the lines that make `teacher` and `task`; "" for a bundled teacher.
        of_surface: whether the students shown are those of a surface's cell.
        device: where they are trained and measured.
    """
    given = f"seeds={tuple(range(state.seeds))!r}, plan=plan"
    given += "" if device == "auto" else f", device={str(device)!r}"
    opening = setup or f"teacher, task = ce.load({state.teacher!r})"
    return (
        "import compress_explorer as ce\n\n"
        f"{opening}\n"
        f"student = ce.student(task, width={state.width}, depth={state.depth}, kind={state.kind!r})\n"
        f"plan = ce.TrainingPlan(epochs={state.epochs}, batch_size={state.batch_size}, "
        f"learning_rate={state.learning_rate!r})\n"
        f"{_surface_code(state, given) if of_surface else _training_code(state, given)}"
        "print(student.file_bytes)\n"
        "print(distillation.verdict)\n"
    )


def _training_code(state: LabState, given: str) -> str:
    values = "".join(f", {name}={value!r}" for name, value in state.values)
    return f"distillation = ce.distill(\n    teacher, student, task, loss={state.loss!r}, {given}{values}\n)\n"


def _surface_code(state: LabState, given: str) -> str:
    temperature, alpha = cell_of(state)
    return (
        f"surface = ce.surface(teacher, student, task, {given})\n"
        f"distillation = surface.distillation(temperature={temperature!r}, alpha={alpha!r})\n"
    )
