"""The Python code of a distillation lab's state."""

from compress_explorer.widgets.lab_state import LabState, cell_of


def code_for(state: LabState, setup: str = "", *, of_surface: bool = False) -> str:
    """Code that gives the numbers of `state` without a lab.

    Args:
        state: what is shown.
        setup: the lines that make `teacher` and `task`; "" for a bundled teacher.
        of_surface: whether the students shown are those of a surface's cell.
    """
    opening = setup or f"teacher, task = ce.load({state.teacher!r})"
    return (
        "import compress_explorer as ce\n\n"
        f"{opening}\n"
        f"student = ce.student(task, width={state.width}, depth={state.depth}, kind={state.kind!r})\n"
        f"plan = ce.TrainingPlan(epochs={state.epochs}, batch_size={state.batch_size}, "
        f"learning_rate={state.learning_rate!r})\n"
        f"{_surface_code(state) if of_surface else _training_code(state)}"
        "print(student.file_bytes)\n"
        "print(distillation.verdict)\n"
    )


def _training_code(state: LabState) -> str:
    values = "".join(f", {name}={value!r}" for name, value in state.values)
    return (
        "distillation = ce.distill(\n"
        f"    teacher, student, task, loss={state.loss!r}, seeds={tuple(range(state.seeds))!r}, plan=plan{values}\n"
        ")\n"
    )


def _surface_code(state: LabState) -> str:
    temperature, alpha = cell_of(state)
    return (
        f"surface = ce.surface(teacher, student, task, seeds={tuple(range(state.seeds))!r}, plan=plan)\n"
        f"distillation = surface.distillation(temperature={temperature!r}, alpha={alpha!r})\n"
    )
