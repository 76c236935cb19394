"""The losses beside torch's own, torchdistill's, identities of their papers, and cases computed by hand."""

import math

import pytest
import torch
from scipy import special, stats
from torch.nn import functional
from torchdistill.losses.mid_level import ATLoss, CRDLoss, KDLoss

from compress_explorer.methods.distillation import attention_transfer, crd, data_free, dkd, fitnets, kd, literal
from compress_explorer.methods.distillation.batch import Batch
from compress_explorer.methods.distillation.catalogue import LOSSES, distillation_loss
from compress_explorer.methods.distillation.softened import softened
from compress_explorer.spec.errors import DataError, ParameterError, UnknownNameError
from tests.case import case


def logits(seed, count=7, classes=5, scale=3.0):
    return scale * torch.randn(count, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LABELS = torch.tensor([0, 4, 2, 2, 1, 3, 0])


def batch(**more):
    return Batch(student=logits(1).requires_grad_(), teacher=logits(2), labels=LABELS, **more)


def gradient(loss, of):
    return torch.autograd.grad(loss, of)[0]


def outputs(tensor):
    return {"module": {"output": tensor}}


def test_kd_is_torchdistills_and_torchs_own():
    for temperature in (1.0, 2.5, 4.0, 20.0):
        for alpha in (0.0, 0.3, 0.9, 1.0):
            with case(temperature, alpha):
                given = batch()
                found = kd.apply(given, temperature=temperature, alpha=alpha)
                divergence = functional.kl_div(
                    functional.log_softmax(given.student / temperature, 1),
                    functional.softmax(given.teacher / temperature, 1),
                    reduction="batchmean",
                )
                hard = functional.cross_entropy(given.student, LABELS)
                torch.testing.assert_close(found, alpha * temperature**2 * divergence + (1 - alpha) * hard)
                if alpha < 1:  # its alpha weights the hard term; at 0 it drops T²
                    oracle = KDLoss(
                        *("module", "output", "module", "output"), temperature=temperature, alpha=1 - alpha, beta=alpha
                    )
                    torch.testing.assert_close(found, oracle(outputs(given.student), outputs(given.teacher), LABELS))


def test_its_gradient_is_that_of_hinton():
    given = batch()
    for temperature in (1.0, 4.0, 20.0):
        found = gradient(kd.soft_loss(given.student, given.teacher, temperature).sum(), given.student)
        q, p = (torch.softmax(entry.detach() / temperature, 1) for entry in (given.student, given.teacher))
        torch.testing.assert_close(found, temperature * (q - p))  # Eq. 2, times T²
    student, teacher = (
        entry.detach() - entry.detach().mean(1, keepdim=True) for entry in (given.student, given.teacher)
    )
    student.requires_grad_()
    found = gradient(kd.soft_loss(student, teacher, 1e4).sum(), student)
    torch.testing.assert_close(found, (student - teacher).detach() / 5, rtol=0, atol=1e-2)  # Eq. 4, times T²
    for name in ("kd", "dkd", "self", "data-free", "temperature-literal"):
        with case(name):
            declared = distillation_loss(name)

            def value(student, declared=declared):
                return declared.apply(Batch(student, logits(2), LABELS), **declared.complete({}))

            assert torch.autograd.gradcheck(value, logits(1).requires_grad_())


def test_dkd_decouples_kd():
    given, temperature = batch(), 4.0
    target, other, right = dkd.parts(given.student, given.teacher, LABELS, temperature)
    divergence = kd.soft_loss(given.student, given.teacher, temperature) / temperature**2
    torch.testing.assert_close(target + (1 - right) * other, divergence)
    p, q = (torch.softmax(entry.detach() / temperature, 1)[0] for entry in (given.teacher, given.student))
    by_hand = p[0] * (p[0] / q[0]).log() + (1 - p[0]) * ((1 - p[0]) / (1 - q[0])).log()
    torch.testing.assert_close(target[0].detach(), by_hand)
    others_p, others_q = p[1:] / (1 - p[0]), q[1:] / (1 - q[0])
    torch.testing.assert_close(other[0].detach(), (others_p * (others_p / others_q).log()).sum())
    torch.testing.assert_close(right[0], p[0])
    found = dkd.apply(given, temperature=temperature, alpha=1.5, beta=6.0)
    torch.testing.assert_close(
        found, functional.cross_entropy(given.student, LABELS) + 16 * (1.5 * target + 6 * other).mean()
    )
    sure = torch.tensor([[200.0, 0.0, -200.0]])
    assert bool(torch.isfinite(dkd.apply(Batch(sure, sure, torch.tensor([0]))))), "a teacher that is sure"


def test_a_teacher_that_answers_like_the_student_teaches_nothing():
    student = logits(1).requires_grad_()
    same = Batch(student, student.detach(), LABELS)
    for found in (kd.apply(same, alpha=1.0), data_free.apply(same)):
        assert float(found.detach()) == pytest.approx(0, abs=1e-12)
        torch.testing.assert_close(gradient(found, student), torch.zeros_like(student))


def test_the_formulas_as_written_do_what_is_said_of_them():
    given = batch()
    assert math.isnan(float(literal.kd(given).detach())), "negative logits of the student as targets"
    positive = logits(1).abs().requires_grad_()
    found = literal.kd(Batch(positive, given.teacher, LABELS), alpha=0.9)
    by_hand = 0.1 * (-given.teacher).mean() + 0.9 * (positive * (positive.log() - given.teacher)).mean()
    torch.testing.assert_close(found, by_hand)
    constant = literal.kd(Batch(positive, given.teacher, LABELS), alpha=0.0)
    torch.testing.assert_close(gradient(constant, positive), torch.zeros_like(positive))

    norms = {}
    for temperature in (10.0, 20.0, 40.0):
        found = literal.temperature(given, temperature=temperature, reference=2.0)
        divergence = kd.soft_loss(given.student, given.teacher, temperature).mean() / temperature**2
        torch.testing.assert_close(found, (-given.teacher).mean() + temperature / 2 * divergence)
        relabelled = literal.temperature(
            Batch(given.student, given.teacher, (LABELS + 1) % 5), temperature=temperature, reference=2.0
        )
        assert found == relabelled, "labels have no part"
        norms[temperature] = (
            float(gradient(found, given.student).norm()),
            float(gradient(kd.apply(given, temperature=temperature, alpha=1.0), given.student).norm()),
        )
    for low, high in ((10.0, 20.0), (20.0, 40.0)):
        assert norms[low][0] / norms[high][0] == pytest.approx(2, rel=0.15)  # ∝ 1/T
        assert norms[low][1] / norms[high][1] == pytest.approx(1, rel=0.15)  # flat with T²
    for loss in LOSSES:
        assert bool(loss.goes_wrong) == ("As written" in loss.family), loss.name


def test_fitnets_is_half_the_mean_squared_error_behind_its_regressor():
    torch.manual_seed(0)
    for student, teacher, pooled in (((6,), (9,), None), ((3, 4, 4), (5, 4, 4), None), ((3, 8, 8), (5, 4, 4), 4)):
        with case(student, teacher):
            regressor = fitnets.prepare(student, teacher, 7)
            ours, theirs = torch.randn(7, *student), torch.randn(7, *teacher)
            given = Batch(logits(1).float(), logits(2).float(), LABELS, ours, theirs, beside=regressor)
            pool = functional.adaptive_avg_pool2d(ours, pooled) if pooled else ours
            expected = functional.cross_entropy(given.student, LABELS)
            expected = expected + 30 * 0.5 * functional.mse_loss(regressor(pool), theirs)
            torch.testing.assert_close(fitnets.apply(given, weight=30.0), expected)
    with pytest.raises(ParameterError, match=r"\(6,\).*\(5, 4, 4\)"):
        fitnets.prepare((6,), (5, 4, 4), 7)


def test_attention_transfer_is_torchdistills_in_both_variants():
    torch.manual_seed(0)
    student, teacher = torch.randn(7, 3, 4, 5), torch.randn(7, 8, 4, 5)
    for variant in ("code", "paper"):
        side = {"path": "module", "io": "output"}
        oracle = ATLoss({"pair": {"student": side, "teacher": side}}, mode=variant)
        expected = oracle(outputs(student), outputs(teacher))
        torch.testing.assert_close(attention_transfer.attention_loss(student, teacher, variant), expected)
        given = Batch(logits(1).float(), logits(2).float(), LABELS, student, teacher)
        hard = functional.cross_entropy(given.student, LABELS)
        torch.testing.assert_close(attention_transfer.apply(given, variant=variant, weight=7.0), hard + 7 * expected)
    # One sample by hand: attention (1, 0) beside (3, 4)/5.
    ours, theirs = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[math.sqrt(3), 2.0]]]])
    assert float(attention_transfer.attention_loss(ours, theirs)) == pytest.approx((0.4**2 + 0.8**2) / 2)
    with pytest.raises(ParameterError, match=r"needs maps.*\(6,\)"):
        attention_transfer.prepare((6,), (5, 4, 4), 7)


def test_crd_is_torchdistills_with_the_same_memory_and_negatives():
    torch.manual_seed(0)
    samples, negatives, places = 20, 6, torch.tensor([3, 11, 0, 7, 19, 4, 12])
    memory = crd.prepare((6,), (3, 2, 2), samples)
    assert isinstance(memory, crd.Memory)
    oracle = crd_oracle(samples, negatives)
    with torch.no_grad():
        oracle.memory_v1.copy_(memory.student)
        oracle.memory_v2.copy_(memory.teacher)
    for step in range(3):  # the memory of a step is what those before left
        with case(step):
            given = Batch(
                logits(1).float(), logits(2).float(), LABELS, torch.randn(7, 6), torch.randn(7, 3, 2, 2), places, memory
            )
            torch.manual_seed(step)
            chosen = torch.cat([places[:, None], torch.randint(samples, (7, negatives))], 1)
            ours, theirs = (
                functional.normalize(project(features.flatten(1)), dim=1)
                for project, features in zip(
                    (memory.project_student, memory.project_teacher), given.features(), strict=True
                )
            )
            critics = oracle.contrast_memory(ours.detach(), theirs.detach(), places, chosen)
            expected = sum(oracle.compute_contrast_loss(critic) for critic in critics)
            torch.manual_seed(step)
            found = crd.apply(given, negatives=negatives, weight=0.5)
            hard = functional.cross_entropy(given.student, LABELS)
            torch.testing.assert_close((found - hard) / 0.5, expected.squeeze())
            torch.testing.assert_close(memory.student, oracle.memory_v1)
            torch.testing.assert_close(memory.teacher, oracle.memory_v2)
    found.backward()
    for project in (memory.project_student, memory.project_teacher):
        assert project.weight.grad is not None
        assert float(project.weight.grad.abs().sum()) > 0


def crd_oracle(samples, negatives):
    """torchdistill's, without its constructor, whose sampler is broken: negatives are handed to it."""
    oracle = CRDLoss.__new__(CRDLoss)
    torch.nn.Module.__init__(oracle)
    oracle.eps, oracle.num_samples = 1e-7, samples
    oracle.register_buffer("params", torch.tensor([negatives, 0.07, -1, -1, 0.5]))
    oracle.register_buffer("memory_v1", torch.zeros(samples, crd.DIMENSION))
    oracle.register_buffer("memory_v2", torch.zeros(samples, crd.DIMENSION))
    return oracle


def test_declarations_fit_their_functions():
    assert len({loss.name for loss in LOSSES}) == len(LOSSES) == 9
    for loss in LOSSES:
        with case(loss.name):
            defaults = loss.complete({})
            assert defaults == loss.apply.__kwdefaults__
            assert all(parameter.positions() for parameter in loss.parameters)
    for name, values, words in (
        ("kd", {"temperature": 0}, "temperature=0"),
        ("kd", {"temperature": -1}, "temperature=-1"),
        ("kd", {"alpha": 1.5}, "alpha=1.5"),
        ("kd", {"alpha": -0.1}, "alpha=-0.1"),
        ("crd", {"negatives": 2.5}, "whole number"),
        ("attention-transfer", {"variant": "papers"}, "Did you mean 'paper'"),
    ):
        with pytest.raises(ParameterError, match=words):
            distillation_loss(name).complete(values)
    with pytest.raises(UnknownNameError, match="parameter of kd 'beta'"):
        distillation_loss("kd").complete({"beta": 1})
    with pytest.raises(UnknownNameError, match="Did you mean 'fitnets'"):
        distillation_loss("fitnet")


def test_softened_probabilities_beside_scipy():
    answer = [9.0, 4.0, -2.0, 3.5]
    temperatures = [0.01, 1.0, 4.0, 20.0, 1e6]
    found = softened(answer, temperatures)
    for place, temperature in enumerate(temperatures):
        expected = special.softmax([value / temperature for value in answer])
        assert found.probabilities[place] == pytest.approx(expected)
        assert found.entropy[place] == pytest.approx(stats.entropy(expected, base=2), abs=1e-12)
        assert found.dark[place] == pytest.approx(expected[1:].sum())
    assert found.entropy[-1] == pytest.approx(2)  # four equal classes
    assert found.dark[-1] == pytest.approx(0.75, rel=1e-5)
    for bad in ([1.0], [1.0, math.nan], [[1.0, 2.0]]):
        with pytest.raises(DataError, match="one example's finite logits"):
            softened(torch.tensor(bad), [1.0])
    for temperatures in ([], [0.0], [-1.0], [math.inf]):
        with pytest.raises(ParameterError, match="above 0"):
            softened(answer, temperatures)
