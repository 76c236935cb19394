"""The state of a distillation lab: frozen, JSON-serialisable; every user action is a function from one to the next."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from compress_explorer.methods.distillation.catalogue import distillation_loss
from compress_explorer.methods.distillation.kd import TEMPERATURE
from compress_explorer.spec.errors import FileFormatError, ParameterError
from compress_explorer.spec.parameter import Parameter, Value, find

FORMAT_VERSION = 1

TEMPERATURES = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0)
ALPHAS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
"""The surface's cells. Both are positions of their sliders."""

SURFACE_LOSS = "kd"
"""The loss whose temperature and alpha the surface varies."""

STUDENT: tuple[Parameter, ...] = (
    Parameter(
        name="width",
        label="Student's width",
        kind="integer",
        default=16,
        minimum=1,
        maximum=4096,
        soft_minimum=2,
        soft_maximum=256,
        step=1,
        scale="log2",
        help="Units of each hidden layer; of a convolutional student, channels of its first layer.",
    ),
    Parameter(
        name="depth",
        label="Student's depth",
        kind="integer",
        default=1,
        minimum=1,
        maximum=8,
        soft_maximum=4,
        help="The number of hidden layers.",
    ),
)

TRAINING: tuple[Parameter, ...] = (
    Parameter(
        name="epochs",
        label="Epochs",
        kind="integer",
        default=20,
        minimum=1,
        maximum=1000,
        soft_maximum=60,
        help="Passes over the train split; of every student, on both losses.",
    ),
    Parameter(
        name="seeds",
        label="Seeds",
        kind="integer",
        default=3,
        minimum=1,
        maximum=50,
        soft_maximum=10,
        help="How many pairs of students are trained: each draws its own initial weights and order of batches, the same "
        "for both losses. Differences smaller than the seeds' spread are noise.",
    ),
)


@dataclass(frozen=True)
class LabState:
    """Everything that decides what a lab shows.

    Attributes:
        teacher: its name in the teacher menu.
        width: of the student's hidden layers.
        depth: the number of its hidden layers.
        loss: by which the student learns from the teacher.
        values: the loss's parameters with their values, every one, in the order of its declaration.
        temperature: at which the softened answers are shown; also the loss's, where it has one.
        example: the place of the example that is shown, among those of the lab.
        epochs: of one student.
        seeds: how many pairs of students are trained, by the seeds 0, 1, 2 ...
    """

    teacher: str
    width: int = int(STUDENT[0].default)
    depth: int = int(STUDENT[1].default)
    loss: str = SURFACE_LOSS
    values: tuple[tuple[str, Value], ...] = ()
    temperature: float = float(TEMPERATURE.default)
    example: int = 0
    epochs: int = int(TRAINING[0].default)
    seeds: int = int(TRAINING[1].default)

    @property
    def setting(self) -> "LabState":
        """The part that decides what a training finds: the state without what is only looked at."""
        return replace(self, temperature=float(TEMPERATURE.default), example=0)

    @property
    def own_temperature(self) -> bool:
        """Whether the temperature shown is the loss's, too."""
        return "temperature" in dict(self.values)

    @property
    def temperature_declaration(self) -> Parameter:
        """The declaration of the temperature's slider."""
        declared = {parameter.name: parameter for parameter in distillation_loss(self.loss).parameters}
        return declared.get("temperature", TEMPERATURE)

    def with_loss(self, name: str) -> "LabState":
        """Another loss; values of the same name are carried over where it allows them."""
        loss = distillation_loss(name)
        old = {**dict(self.values), "temperature": self.temperature}
        kept = {entry.name: old[entry.name] for entry in loss.parameters if _allows(entry, old)}
        return replace(self, loss=name, values=tuple(loss.complete(kept).items()))._in_step()

    def with_value(self, name: str, value: Value) -> "LabState":
        """Another value of a parameter of the loss, of the student or of the training, or of the temperature shown.

        Raises:
            CompressExplorerError: when there is no such parameter, or the value is not allowed.
        """
        for parameter in (*STUDENT, *TRAINING):
            if parameter.name == name:
                return replace(self, **{name: parameter.validate(value)})
        if name == "temperature" and not self.own_temperature:
            return replace(self, temperature=float(TEMPERATURE.validate(value)))
        parameter = find(distillation_loss(self.loss).parameters, name, self.loss)
        values = {**dict(self.values), name: parameter.validate(value)}
        return replace(self, values=tuple(values.items()))._in_step()

    def with_cell(self, temperature: int, alpha: int) -> "LabState":
        """Temperature and alpha of a cell of the surface, by its indices; the loss becomes the surface's."""
        state = self if self.loss == SURFACE_LOSS else self.with_loss(SURFACE_LOSS)
        return state.with_value("temperature", TEMPERATURES[temperature]).with_value("alpha", ALPHAS[alpha])

    def checked(self) -> "LabState":
        """The same with every value filled in, when all of it is valid.

        Raises:
            CompressExplorerError: when something is not.
        """
        state = replace(self, values=tuple(distillation_loss(self.loss).complete(dict(self.values)).items()))
        for parameter in (*STUDENT, *TRAINING):
            state = replace(state, **{parameter.name: parameter.validate(getattr(self, parameter.name))})
        if isinstance(self.example, bool) or not isinstance(self.example, int) or self.example < 0:
            raise ParameterError(f"example={self.example!r} must be a whole number of 0 or more.")
        return replace(state, temperature=float(TEMPERATURE.validate(self.temperature)))._in_step()

    def _in_step(self) -> "LabState":
        """The temperature shown is the loss's, where it has one."""
        values = dict(self.values)
        return replace(self, temperature=float(values["temperature"])) if "temperature" in values else self

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "values": dict(self.values), "version": FORMAT_VERSION}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "LabState":
        """The state that `to_dict` wrote.

        Raises:
            FileFormatError: when it is none, or is of a newer version.
            CompressExplorerError: when a value of it is not allowed.
        """
        if not isinstance(data, Mapping) or data.get("version") != FORMAT_VERSION:
            version = data.get("version") if isinstance(data, Mapping) else None
            raise FileFormatError(f"This is no lab's state of version {FORMAT_VERSION}; its version is {version!r}.")
        fields = {key: value for key, value in data.items() if key != "version"}
        try:
            state = cls(**{**fields, "values": tuple(fields["values"].items())})
        except (KeyError, TypeError, AttributeError) as error:
            raise FileFormatError(f"This is no lab's state: {error}. Expected what LabState.to_dict() gives.") from error
        if not isinstance(state.teacher, str) or not isinstance(state.loss, str):
            raise FileFormatError(f"This is no lab's state: teacher={state.teacher!r}, loss={state.loss!r}.")
        return state.checked()


def code_for(state: LabState, setup: str = "") -> str:
    """Code that gives the numbers of `state` without a lab.

    Args:
        state: what is shown.
        setup: the lines that make `teacher` and `task`; "" for a bundled teacher.
    """
    opening = setup or f"teacher, task = ce.load({state.teacher!r})"
    values = "".join(f", {name}={value!r}" for name, value in state.values)
    return (
        "import compress_explorer as ce\n\n"
        f"{opening}\n"
        f"student = ce.student(task, width={state.width}, depth={state.depth})\n"
        "distillation = ce.distill(\n"
        f"    teacher, student, task, loss={state.loss!r}, plan=ce.TrainingPlan(epochs={state.epochs}),\n"
        f"    seeds={tuple(range(state.seeds))!r}{values},\n"
        ")\n"
        "print(distillation.student.file_bytes)\n"
        "print(distillation.verdict)\n"
    )


def _allows(parameter: Parameter, values: Mapping[str, Value]) -> bool:
    try:
        parameter.validate(values[parameter.name])
    except (KeyError, ParameterError):
        return False
    return True
