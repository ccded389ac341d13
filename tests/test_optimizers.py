"""Optimizers and schedules: step by step against Keras and PyTorch, the flat buffers, and by-hand use."""

from __future__ import annotations

import numpy as np
import pytest

from dlcore import Tensor, Variable, optimizers
from dlcore import functional as F
from dlcore.optimizers import schedules

SHAPES = [(3, 5), (5,), (2, 3, 1), ()]
CASES = [
    ("SGD", {"learning_rate": 0.05}),
    ("SGD", {"learning_rate": 0.05, "momentum": 0.9}),
    ("SGD", {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True}),
    ("Adagrad", {"learning_rate": 0.05}),
    ("Adagrad", {"learning_rate": 0.05, "initial_accumulator_value": 0.0, "epsilon": 1e-5}),
    ("RMSprop", {"learning_rate": 0.01}),
    ("RMSprop", {"learning_rate": 0.01, "momentum": 0.5, "centered": True}),
    ("Adam", {"learning_rate": 0.01}),
    ("Adam", {"learning_rate": 0.01, "amsgrad": True}),
    ("AdamW", {"learning_rate": 0.01, "weight_decay": 0.1}),
    ("Adamax", {"learning_rate": 0.01}),
    ("Nadam", {"learning_rate": 0.01}),
    ("Adadelta", {"learning_rate": 1.0}),
    ("Ftrl", {"learning_rate": 0.05}),
    (
        "Ftrl",
        {
            "learning_rate": 0.05,
            "l1_regularization_strength": 0.01,
            "l2_regularization_strength": 0.02,
            "l2_shrinkage_regularization_strength": 0.03,
            "beta": 0.1,
        },
    ),
    ("SGD", {"learning_rate": 0.05, "weight_decay": 0.1}),
    ("RMSprop", {"learning_rate": 0.01, "weight_decay": 0.1}),
    ("Adam", {"learning_rate": 0.01, "clipnorm": 0.5}),
    ("SGD", {"learning_rate": 0.05, "clipnorm": 0.5}),
    ("SGD", {"learning_rate": 0.05, "clipvalue": 0.3}),
    ("SGD", {"learning_rate": 0.05, "global_clipnorm": 0.7}),
    ("SGD", {"learning_rate": 0.05, "global_clipnorm": 1e6}),
    ("Adam", {"learning_rate": 0.01, "gradient_accumulation_steps": 3}),
]


def _start() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(np.float32) for shape in SHAPES]


def _gradients(step: int) -> list[np.ndarray]:
    rng = np.random.default_rng(100 + step)
    return [rng.normal(size=shape).astype(np.float32) for shape in SHAPES]


def _names() -> list[str]:
    return ["kernel", "bias", "gamma", "scale"]


def _variables() -> list[Variable]:
    return [Variable(value, name=name) for value, name in zip(_start(), _names(), strict=True)]


@pytest.mark.parametrize(
    ("name", "arguments", "excluded"),
    [(*case, False) for case in CASES] + [(*case, True) for case in CASES if "weight_decay" in case[1]],
    ids=str,
)
def test_against_keras(name, arguments, excluded):
    from oracle import keras, torch

    ours, theirs = getattr(optimizers, name)(**arguments), getattr(keras.optimizers, name)(**arguments)
    if excluded:
        ours.exclude_from_weight_decay(var_names=["bias"])
        theirs.exclude_from_weight_decay(var_names=["bias"])
    variables = _variables()
    others = [keras.Variable(value, name=name) for value, name in zip(_start(), _names(), strict=True)]
    for step in range(8):
        gradients = _gradients(step)
        ours.apply_gradients(zip(gradients, variables, strict=True))
        theirs.apply_gradients(zip([torch.tensor(g) for g in gradients], others, strict=True))
        for a, b in zip(variables, others, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-5, atol=2e-6, err_msg=f"step {step}")
    assert ours.iterations == int(theirs.iterations)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda: optimizers.SGD(0.1), lambda torch, p: torch.optim.SGD(p, 0.1)),
        (lambda: optimizers.AdamW(0.01, weight_decay=0.1, epsilon=1e-12), lambda torch, p: torch.optim.AdamW(
            p, 0.01, weight_decay=0.1, eps=1e-12)),
        (lambda: optimizers.Adagrad(0.1, 0.0, 1e-12), lambda torch, p: torch.optim.Adagrad(p, 0.1, eps=1e-12)),
        (lambda: optimizers.RMSprop(0.01, rho=0.99, epsilon=1e-12), lambda torch, p: torch.optim.RMSprop(
            p, 0.01, alpha=0.99, eps=1e-12)),
    ],
    ids=["SGD", "AdamW", "Adagrad", "RMSprop"],
)  # fmt: skip
def test_against_torch(ours, theirs):
    """Where ε is negligible, Keras and PyTorch agree."""
    torch = pytest.importorskip("torch")
    variables, optimizer = _variables(), ours()
    parameters = [torch.nn.Parameter(torch.tensor(value)) for value in _start()]
    other = theirs(torch, parameters)
    for step in range(6):
        for p, g in zip(parameters, _gradients(step), strict=True):
            p.grad = torch.tensor(g)
        other.step()
        optimizer.apply(_gradients(step), variables)
        for v, p in zip(variables, parameters, strict=True):
            np.testing.assert_allclose(v.numpy(), p.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_the_three_forms_of_momentum():
    """On the gradients 1, 1, 1 with β = 0.5, η = 1 the forms move as their formulas say."""
    moved = {}
    for form in ("classical", "nesterov", "averaged"):
        w = Variable(np.zeros(1, np.float64))
        optimizer = optimizers.SGD(1.0, momentum=0.5, form=form)
        path = []
        for _ in range(3):
            optimizer.apply([np.ones(1)], [w])
            path.append(float(w.numpy()[0]))
        moved[form] = path
    assert moved["classical"] == [-1.0, -2.5, -4.25]
    assert moved["nesterov"] == [-1.5, -3.25, -5.125]
    assert moved["averaged"] == [-0.5, -1.25, -2.125]


@pytest.mark.parametrize("name", ["SGD", "Adagrad", "RMSprop", "Adam", "AdamW", "Adamax", "Nadam", "Adadelta", "Ftrl"])
def test_every_engine_agrees(name, active_backend):
    optimizer = getattr(optimizers, name)(0.02)
    w, b = Variable(np.full((9, 7), 0.5, np.float32)), Variable(np.zeros(3, np.float64))
    for step in range(3):
        optimizer.apply([np.full((9, 7), 0.1 * (step + 1), np.float32), np.array([1.0, -2.0, 0.5])], [w, b])
    from dlcore.backends import use_backend

    with use_backend("numpy"):
        other = getattr(optimizers, name)(0.02)
        v, c = Variable(np.full((9, 7), 0.5, np.float32)), Variable(np.zeros(3, np.float64))
        for step in range(3):
            other.apply([np.full((9, 7), 0.1 * (step + 1), np.float32), np.array([1.0, -2.0, 0.5])], [v, c])
        expected = v.numpy(), c.numpy()
    np.testing.assert_allclose(w.numpy(), expected[0], rtol=1e-6)
    np.testing.assert_allclose(b.numpy(), expected[1], rtol=1e-12)


def test_by_hand():
    """loss.backward(), then step(): gradients are applied and cleared; the first step builds."""
    w, b = Variable(np.array([[1.0], [2.0]], np.float32)), Variable(np.zeros(1, np.float32))
    x, y = np.array([[1.0, 2.0], [3.0, -1.0]], np.float32), np.array([[1.0], [0.0]], np.float32)
    optimizer = optimizers.SGD(0.1)
    values = []
    for _ in range(30):
        loss = F.square(F.linear(x, w, b) - y).mean()
        loss.backward()
        optimizer.step([w, b])
        values.append(loss.item())
        assert not np.any(w.grad)
    assert values[-1] < 1e-2 * values[0]
    assert optimizer.iterations == 30


def test_a_scaled_loss_by_hand():
    """The gradients of the scaled loss are divided by the factor again, before they are clipped."""
    moved = []
    for factor in (None, 1024.0):
        w = Variable(np.array([3.0, -4.0], np.float32))
        optimizer = optimizers.SGD(0.1, clipvalue=5.0, loss_scale_factor=factor)
        optimizer.scale_loss(F.square(w).sum()).backward()
        assert np.abs(w.grad).max() == 8.0 * (factor or 1.0)
        optimizer.step([w])
        moved.append(w.numpy())
    np.testing.assert_array_equal(*moved)
    np.testing.assert_allclose(moved[0], [2.5, -3.5])


def test_buffers_are_views_and_aligned():
    variables = _variables()
    before = [v.numpy() for v in variables]
    optimizer = optimizers.Adam()
    optimizer.build(variables)
    (buffer,) = optimizer._buffers
    for v, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(v.numpy(), value)
        assert np.shares_memory(v.data, buffer.p)
        assert np.shares_memory(v.grad, buffer.g)
        assert v.data.flags.c_contiguous
        assert v.data.shape == value.shape
        assert (v.data.ctypes.data - buffer.p.ctypes.data) % 64 == 0
    variables[0].assign(np.ones((3, 5)))
    optimizer.apply(_gradients(0), variables)
    assert np.shares_memory(variables[0].data, buffer.p)


def test_two_optimizers_share_variables():
    """The one that steps last finds the values where the other left them."""
    v = Variable(np.zeros(3, np.float32))
    first, second = optimizers.SGD(1.0), optimizers.SGD(10.0)
    first.apply([np.ones(3)], [v])
    second.apply([np.ones(3)], [v])
    first.apply([np.ones(3)], [v])
    np.testing.assert_allclose(v.numpy(), -12.0)


def test_a_changed_set_keeps_states():
    """Freezing and thawing: what stays or comes back keeps its momentum, what is new starts afresh."""
    a, b, c = (Variable(np.zeros(4, np.float32)) for _ in range(3))
    optimizer = optimizers.SGD(1.0, momentum=0.5)
    optimizer.apply([np.ones(4)] * 2, [a, b])
    optimizer.build([b, c])
    optimizer.apply([np.zeros(4)] * 2, [b, c])
    np.testing.assert_allclose(a.numpy(), -1.0)
    np.testing.assert_allclose(b.numpy(), -1.5)
    np.testing.assert_allclose(c.numpy(), 0.0)
    optimizer.build([b])
    optimizer.build([c, a])
    optimizer.apply([np.zeros(4)] * 2, [c, a])
    np.testing.assert_allclose(a.numpy(), -1.5)
    np.testing.assert_allclose(c.numpy(), 0.0)


def test_states_of_what_is_gone_are_dropped():
    optimizer = optimizers.Adam()
    for _ in range(5):
        optimizer.build([Variable(np.zeros(4, np.float32))])
    assert len(optimizer._left) <= 1


def test_missing_gradients_leave_a_variable_alone():
    a, b = Variable(np.zeros(4, np.float32)), Variable(np.zeros(4, np.float32))
    optimizer = optimizers.SGD(1.0, momentum=0.5, weight_decay=0.5)
    optimizer.apply([np.ones(4), np.ones(4)], [a, b])
    with pytest.warns(UserWarning, match="variable"):
        optimizer.apply([np.ones(4), None], [a, b])
    np.testing.assert_allclose(b.numpy(), -1.0)
    with pytest.raises(ValueError, match="No gradients"):
        optimizer.apply([None, None], [a, b])
    with pytest.raises(ValueError, match="Unknown variable"):
        optimizer.apply([np.ones(4)], [Variable(np.zeros(4))])
    with pytest.raises(ValueError, match="1 gradients for 2"):
        optimizer.apply([np.ones(4)], [a, b])


@pytest.mark.parametrize("arguments", [{}, {"use_ema": True, "ema_overwrite_frequency": 2}], ids=str)
@pytest.mark.parametrize("name", ["SGD", "Adagrad", "RMSprop", "Adam", "AdamW", "Adamax", "Nadam", "Adadelta", "Ftrl"])
def test_state_resumes_exactly(name, arguments):
    def run(optimizer, variables, steps):
        for step in steps:
            optimizer.apply(_gradients(step), variables)
        return [v.numpy() for v in variables]

    whole = run(getattr(optimizers, name)(**arguments), _variables(), range(6))
    first, variables = getattr(optimizers, name)(**arguments), _variables()
    half = run(first, variables, range(3))
    second = optimizers.deserialize(optimizers.serialize(first))
    resumed = [Variable(value) for value in half]
    second.build(resumed)
    second.set_state(first.get_state())
    for a, b in zip(run(second, resumed, range(3, 6)), whole, strict=True):
        np.testing.assert_array_equal(a, b)
    state = first.get_state()
    del state["iterations"]
    with pytest.raises(ValueError, match="iterations"):
        second.set_state(state)
    with pytest.raises(ValueError, match="build"):
        getattr(optimizers, name)(**arguments).set_state(first.get_state())


SCHEDULES = [
    ("ExponentialDecay", (0.1, 10, 0.9), {}),
    ("ExponentialDecay", (0.1, 10, 0.9), {"staircase": True}),
    ("InverseTimeDecay", (0.1, 10, 0.5), {}),
    ("InverseTimeDecay", (0.1, 10, 0.5), {"staircase": True}),
    ("PiecewiseConstantDecay", ([5, 12, 20], [1.0, 0.5, 0.25, 0.1]), {}),
    ("PolynomialDecay", (0.1, 15), {"power": 2.0}),
    ("PolynomialDecay", (0.1, 15), {"cycle": True}),
    ("CosineDecay", (0.1, 20), {"alpha": 0.1}),
    ("CosineDecay", (0.0, 20), {"warmup_target": 0.1, "warmup_steps": 7}),
    ("CosineDecayRestarts", (0.1, 5), {"m_mul": 0.8, "alpha": 0.01}),
    ("CosineDecayRestarts", (0.1, 5), {"t_mul": 1.0}),
]


@pytest.mark.parametrize(("name", "positional", "keywords"), SCHEDULES)
def test_schedules_against_keras(name, positional, keywords):
    from oracle import keras

    ours = getattr(schedules, name)(*positional, **keywords)
    theirs = getattr(keras.optimizers.schedules, name)(*positional, **keywords)
    # float32 cannot place the exact start of a restarted period, so those steps are left out
    steps = [s for s in range(40) if name != "CosineDecayRestarts" or s not in (5, 10, 15, 20, 25, 30, 35)]
    for step in steps:
        assert ours(step) == pytest.approx(float(theirs(step)), rel=2e-4, abs=1e-7), step
    assert ours.get_config() == theirs.get_config()
    copy = schedules.deserialize(schedules.serialize(ours))
    assert [copy(s) for s in range(30)] == [ours(s) for s in range(30)]


@pytest.mark.parametrize("t_mul", [1.0, 1.5, 2.0, 3.0, 7.0])
@pytest.mark.parametrize("first", [1, 3, 10])
def test_cosine_decay_starts_anew_at_every_restart(first, t_mul):
    decay = schedules.CosineDecayRestarts(0.1, first, t_mul, m_mul=0.5)
    start = 0.0
    for restarts in range(7):
        if start == int(start):
            assert decay(int(start)) == pytest.approx(0.1 * 0.5**restarts, rel=1e-9)
        start += first * t_mul**restarts


def test_learning_rate():
    optimizer = optimizers.SGD(0.5)
    w = Variable(np.zeros(1, np.float32))
    optimizer.apply([np.ones(1)], [w])
    optimizer.learning_rate = 0.25
    optimizer.apply([np.ones(1)], [w])
    assert w.numpy()[0] == -0.75
    scheduled = optimizers.SGD(schedules.PiecewiseConstantDecay([0], [1.0, 0.5]))
    scheduled.apply([np.ones(1)], [w])
    scheduled.apply([np.ones(1)], [w])
    assert w.numpy()[0] == -2.25
    assert scheduled.learning_rate == 0.5
    with pytest.raises(TypeError, match="LearningRateSchedule"):
        scheduled.learning_rate = 0.1
    assert optimizers.SGD(lambda: 0.125).learning_rate == 0.125
    with pytest.raises(ValueError, match="learning_rate"):
        optimizers.SGD("fast")


def test_defaults_are_those_of_keras():
    from oracle import keras

    for name in ("SGD", "Adagrad", "RMSprop", "Adam", "AdamW", "Adamax", "Nadam", "Adadelta", "Ftrl"):
        ours, theirs = getattr(optimizers, name)().get_config(), getattr(keras.optimizers, name)().get_config()
        for key, value in ours.items():
            if key not in ("name", "form"):
                assert value == (pytest.approx(theirs[key]) if isinstance(value, float) else theirs[key]), (name, key)


def test_names_and_errors():
    assert isinstance(optimizers.get("adam"), optimizers.Adam)
    assert isinstance(optimizers.get("RMSprop"), optimizers.RMSprop)
    assert isinstance(optimizers.get(optimizers.Nadam), optimizers.Nadam)
    instance = optimizers.SGD()
    assert optimizers.get(instance) is instance
    with pytest.raises(ValueError, match="adam"):
        optimizers.get("adm")
    with pytest.raises(ValueError, match="not supported; use 'AdamW'"):
        optimizers.get("lion")
    with pytest.raises(ValueError, match="clipnorm"):
        optimizers.SGD(clipnorm=1.0, clipvalue=1.0)
    with pytest.raises(ValueError, match="momentum"):
        optimizers.SGD(momentum=1.5)
    with pytest.raises(ValueError, match="ema_momentum"):
        optimizers.Adam(use_ema=True, ema_momentum=1.5)
    with pytest.raises(ValueError, match="ema_overwrite_frequency"):
        optimizers.Adam(use_ema=True, ema_overwrite_frequency=0)
    with pytest.raises(ValueError, match="loss_scale_factor"):
        optimizers.Adam(loss_scale_factor=0.0)
    with pytest.raises(ValueError, match="unknown argument"):
        optimizers.Adam(beta1=0.5)
    with pytest.raises(ValueError, match="build"):
        optimizers.Adam().step()
    with pytest.raises(ValueError, match="decay_steps"):
        schedules.ExponentialDecay(0.1, 0, 0.9)
    with pytest.raises(ValueError, match="decay_steps='a'"):
        schedules.CosineDecay(0.1, "a")
    with pytest.raises(ValueError, match="initial_learning_rate must be a number, got 'a'"):
        schedules.CosineDecay("a", 5)
    with pytest.raises(ValueError, match="t_mul must be a number of at least"):
        schedules.CosineDecayRestarts(0.1, 5, t_mul=0.5)


@pytest.mark.filterwarnings("ignore:No gradients exist")
def test_a_missing_gradient_is_none_from_before():
    a, b = Variable(np.zeros(2, np.float32)), Variable(np.zeros(2, np.float32))
    optimizer = optimizers.SGD(1.0, global_clipnorm=1.0)
    optimizer.apply([np.ones(2), np.full(2, 100.0)], [a, b])
    a.assign(np.zeros(2))
    optimizer.apply([np.ones(2), None], [a, b])
    np.testing.assert_allclose(a.numpy(), -np.sqrt(0.5), rtol=1e-6)


@pytest.mark.filterwarnings("ignore:No gradients exist")
def test_accumulated_gradients_of_a_variable_without_one_in_between():
    a, b = Variable(np.zeros(1, np.float32)), Variable(np.zeros(1, np.float32))
    optimizer = optimizers.SGD(1.0, gradient_accumulation_steps=3)
    for gradient in (np.full(1, 10.0), None, np.full(1, 10.0)):
        optimizer.apply([np.ones(1), gradient], [a, b])
    np.testing.assert_allclose(b.numpy(), -20 / 3, rtol=1e-6)
    for gradient in (np.full(1, 6.0), None, None):  # what is not applied is kept
        optimizer.apply([np.ones(1), gradient], [a, b])
    assert optimizer.get_state()["1/gradient_accumulator"] == 6


def test_gradients_as_tensors():
    w = Variable(np.zeros(2, np.float32))
    optimizers.SGD(1.0).apply_gradients([(Tensor(np.array([1.0, 2.0], np.float32)), w)])
    np.testing.assert_array_equal(w.numpy(), [-1.0, -2.0])


def test_a_norm_that_is_not_finite_shows():
    """Clipping must not hide a gradient that went wrong."""
    w = Variable(np.zeros(2, np.float32))
    optimizers.SGD(1.0, global_clipnorm=1.0).apply([np.array([np.inf, 1.0], np.float32)], [w])
    assert np.isnan(w.numpy()).all()
