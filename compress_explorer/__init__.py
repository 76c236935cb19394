"""See what compressing a neural network does, and decide how to do it."""

from importlib.metadata import version

from compress_explorer.engine.compress import CompressedModel
from compress_explorer.engine.compress import compress as _compress
from compress_explorer.engine.cost import cost
from compress_explorer.engine.distillation.distill import distill, distilling
from compress_explorer.engine.distillation.distilling import Distilling
from compress_explorer.engine.distillation.grid import Surface
from compress_explorer.engine.distillation.result import Distillation
from compress_explorer.engine.distillation.student_file import load_student, save_student
from compress_explorer.engine.distillation.students import StudentDesign, student
from compress_explorer.engine.distillation.surface import Surfacing, surface, surfacing
from compress_explorer.engine.evaluate import evaluate
from compress_explorer.engine.file import load_into as load_compressed
from compress_explorer.engine.ready import ready_recipe as recipe
from compress_explorer.engine.sensitivity import sensitivity as _sensitivity
from compress_explorer.engine.sweep import sweep as _sweep
from compress_explorer.engine.task import Split, Task
from compress_explorer.engine.training.lottery import lottery_ticket as _lottery_ticket
from compress_explorer.engine.training.plan import Plan as TrainingPlan
from compress_explorer.engine.training.recover import recover as _recover
from compress_explorer.explore import distill_lab, explore
from compress_explorer.methods.catalogue import methods_table as methods
from compress_explorer.methods.distillation.catalogue import losses_table as distillation_losses
from compress_explorer.methods.distillation.softened import softened
from compress_explorer.methods.ready import ready_table as recipes
from compress_explorer.progress_line import with_progress_line
from compress_explorer.spec.cost import Cost, Latency
from compress_explorer.spec.errors import CompressExplorerError
from compress_explorer.spec.evaluation import Evaluation, Interval
from compress_explorer.spec.recipe import Recipe, Step
from compress_explorer.spec.recovery import Recovery
from compress_explorer.spec.sensitivity import Sensitivity
from compress_explorer.spec.size import SizeReport
from compress_explorer.spec.sweep import Sweep
from compress_explorer.zoo import load, load_initial
from compress_explorer.zoo import names as models

compress = with_progress_line(_compress)
lottery_ticket = with_progress_line(_lottery_ticket)
recover = with_progress_line(_recover)
sensitivity = with_progress_line(_sensitivity)
sweep = with_progress_line(_sweep)

__version__ = version("compress-explorer")

__all__ = [
    "CompressExplorerError",
    "CompressedModel",
    "Cost",
    "Distillation",
    "Distilling",
    "Evaluation",
    "Interval",
    "Latency",
    "Recipe",
    "Recovery",
    "Sensitivity",
    "SizeReport",
    "Split",
    "Step",
    "StudentDesign",
    "Surface",
    "Surfacing",
    "Sweep",
    "Task",
    "TrainingPlan",
    "compress",
    "cost",
    "distill",
    "distill_lab",
    "distillation_losses",
    "distilling",
    "evaluate",
    "explore",
    "load",
    "load_compressed",
    "load_initial",
    "load_student",
    "lottery_ticket",
    "methods",
    "models",
    "recipe",
    "recipes",
    "recover",
    "save_student",
    "sensitivity",
    "softened",
    "student",
    "surface",
    "surfacing",
    "sweep",
]
