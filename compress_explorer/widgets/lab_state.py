"""The state of a distillation lab: frozen, JSON-serialisable; every user action is a function from one to the next."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

from compress_explorer.engine.distillation.surface import ALPHAS, TEMPERATURES
from compress_explorer.engine.training.plan import Plan
from compress_explorer.methods.distillation.catalogue import distillation_loss
from compress_explorer.methods.distillation.kd import ALPHA, TEMPERATURE
from compress_explorer.spec.errors import FileFormatError, ParameterError
from compress_explorer.spec.parameter import Parameter, Value, find

FORMAT_VERSION = 1

SURFACE_LOSS = "kd"
"""The loss whose temperature and alpha the surface varies."""

SOFTENING = replace(
    TEMPERATURE,
    name="softening",
    label="Temperature shown",
    help="This loss softens no answers; the slider shows what a temperature does to them.",
)
"""The slider of the temperature where the loss has none that divides logits."""

STUDENT: tuple[Parameter, ...] = (
    Parameter(
        name="kind",
        label="Student",
        kind="choice",
        default="mlp",
        choices=("mlp", "conv"),
        help="mlp: hidden layers with ReLU. conv: 3 x 3 convolutions with ReLU, for images.",
    ),
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
        minimum=0,
        maximum=16,
        soft_maximum=4,
        help="The number of hidden layers; 0 makes a linear classifier.",
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
        name="learning_rate",
        label="Learning rate",
        kind="float",
        default=0.01,
        minimum=1e-6,
        maximum=10.0,
        soft_minimum=1e-4,
        soft_maximum=0.1,
        step=0.25,
        scale="log10",
        help="The peak of the learning rate, of every student; it falls in a cosine.",
    ),
    Parameter(
        name="batch_size",
        label="Batch size",
        kind="integer",
        default=64,
        minimum=1,
        maximum=65536,
        soft_minimum=4,
        soft_maximum=512,
        scale="log2",
        help="Samples of each step.",
    ),
    Parameter(
        name="seeds",
        label="Seeds",
        kind="integer",
        default=3,
        minimum=1,
        maximum=50,
        soft_maximum=10,
        help="How many pairs of students are trained. Each pair draws its own initial weights and order of batches; "
        "differences smaller than the seeds' spread are noise.",
    ),
)


@dataclass(frozen=True)
class LabState:
    """Everything that decides what a lab shows.

    Attributes:
        teacher: its name in the teacher menu.
        kind: of student, "mlp" or "conv".
        width: of the student's hidden layers.
        depth: the number of its hidden layers.
        loss: by which the student learns from the teacher.
        values: the loss's parameters with their values, every one, in the order of its declaration.
        temperature: at which the softened answers are shown; also the loss's, where it has one.
        example: the place of the example that is shown, among those of the lab.
        epochs: of one student.
        learning_rate: its peak.
        batch_size: samples of each step.
        seeds: how many pairs of students are trained, by the seeds 0, 1, 2 ...
    """

    teacher: str
    kind: str = str(STUDENT[0].default)
    width: int = int(STUDENT[1].default)
    depth: int = int(STUDENT[2].default)
    loss: str = SURFACE_LOSS
    values: tuple[tuple[str, Value], ...] = ()
    temperature: float = float(TEMPERATURE.default)
    example: int = 0
    epochs: int = int(TRAINING[0].default)
    learning_rate: float = float(TRAINING[1].default)
    batch_size: int = int(TRAINING[2].default)
    seeds: int = int(TRAINING[3].default)

    @property
    def setting(self) -> "LabState":
        """The part that decides what a training finds: the state without what is only looked at."""
        return replace(self, temperature=float(TEMPERATURE.default), example=0)

    @property
    def plan(self) -> Plan:
        """How long and how fast its students are trained."""
        return Plan(epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate)

    @property
    def student_words(self) -> str:
        """Which student is meant, e.g. "mlp, width 16, depth 1, 20 epochs"."""
        return f"{self.kind}, width {self.width}, depth {self.depth}, {self.epochs} epochs"

    @property
    def loss_words(self) -> str:
        """Which loss is meant, e.g. "kd, temperature 4, alpha 0.9"."""
        return self.loss + "".join(f", {name} {plain_number(value)}" for name, value in self.values)

    @property
    def own_temperature(self) -> bool:
        """Whether the temperature shown is the loss's, too; CRD's, e.g., divides no logits."""
        return TEMPERATURE in distillation_loss(self.loss).parameters

    @property
    def alpha(self) -> float | None:
        """The weight of the teacher's softened answers; None where the loss has none."""
        return float(dict(self.values)["alpha"]) if ALPHA in distillation_loss(self.loss).parameters else None

    @property
    def temperature_declaration(self) -> Parameter:
        """The declaration of the temperature's slider."""
        return TEMPERATURE if self.own_temperature else SOFTENING

    def with_loss(self, name: str) -> "LabState":
        """Another loss; what both mean by one parameter is carried over, as is the temperature shown."""
        loss, old = distillation_loss(name), distillation_loss(self.loss)
        kept = {entry.name: dict(self.values)[entry.name] for entry in loss.parameters if entry in old.parameters}
        if TEMPERATURE in loss.parameters:
            kept["temperature"] = self.temperature
        return replace(self, loss=name, values=tuple(loss.complete(kept).items()))._in_step()

    def with_value(self, name: str, value: Value) -> "LabState":
        """Another value of a parameter of the loss, of the student or of the training, or of the temperature shown.

        Raises:
            CompressExplorerError: when there is no such parameter, or the value is not allowed.
        """
        for parameter in (*STUDENT, *TRAINING):
            if parameter.name == name:
                return replace(self, **cast(dict[str, Any], {name: parameter.validate(value)}))
        if name == SOFTENING.name and not self.own_temperature:
            return replace(self, temperature=float(TEMPERATURE.validate(value)))
        parameter = find(distillation_loss(self.loss).parameters, name, self.loss)
        values = {**dict(self.values), name: parameter.validate(value)}
        return replace(self, values=tuple(values.items()))._in_step()

    def with_cell(self, temperature: int, alpha: int) -> "LabState":
        """Temperature and alpha of a cell of the surface, by its indices; the loss becomes the surface's."""
        return self.with_mixture(TEMPERATURES[temperature], ALPHAS[alpha])

    def with_mixture(self, temperature: float, alpha: float) -> "LabState":
        """The surface's loss with this temperature and alpha.

        Raises:
            CompressExplorerError: when a value is not allowed.
        """
        state = self if self.loss == SURFACE_LOSS else self.with_loss(SURFACE_LOSS)
        return state.with_value("temperature", temperature).with_value("alpha", alpha)

    def checked(self) -> "LabState":
        """The same with every value filled in, when all of it is valid.

        Raises:
            CompressExplorerError: when something is not.
        """
        state = replace(self, values=tuple(distillation_loss(self.loss).complete(dict(self.values)).items()))
        for parameter in (*STUDENT, *TRAINING):
            value: Any = parameter.validate(getattr(self, parameter.name))
            state = replace(state, **{parameter.name: value})
        if isinstance(self.example, bool) or not isinstance(self.example, int) or self.example < 0:
            raise ParameterError(f"example={self.example!r} must be a whole number of 0 or more.")
        return replace(state, temperature=float(TEMPERATURE.validate(self.temperature)))._in_step()

    def _in_step(self) -> "LabState":
        """The temperature shown is the loss's, where it has one."""
        return replace(self, temperature=float(dict(self.values)["temperature"])) if self.own_temperature else self

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
            raise FileFormatError(
                f"This is no lab's state: {error}. Expected what LabState.to_dict() gives."
            ) from error
        if not isinstance(state.teacher, str) or not isinstance(state.loss, str):
            raise FileFormatError(f"This is no lab's state: teacher={state.teacher!r}, loss={state.loss!r}.")
        return state.checked()


def surface_setting(state: LabState) -> LabState:
    """The part of a state that decides what its surface is: all but the loss and its values."""
    return replace(state, loss=SURFACE_LOSS, values=(), temperature=float(TEMPERATURE.default), example=0)


def cell_of(setting: LabState) -> tuple[float, float]:
    """Temperature and alpha of a setting with the surface's loss."""
    values = dict(setting.values)
    return float(values["temperature"]), float(values["alpha"])


def plain_number(value: Value) -> str:
    """A value as short as it can be told."""
    return f"{value:g}" if isinstance(value, float) else str(value)
