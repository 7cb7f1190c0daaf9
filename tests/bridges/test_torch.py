"""PyTorch over served models: autograd twice, and torch.func, against torch's own derivatives of the same function."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.client.models import curved_fake

import gradwire
import gradwire.torch
from gradwire.testing import RecordingTransport

# torch compiles its own decompositions that way, the first time that forward mode is used.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")


def local(x, t):
    """The served function ``curved`` in torch."""
    s = t * t
    return s * (x[..., 0] ** 2 * x[..., 1] + torch.sin(x[..., 2])) + t * x[..., 1] * x[..., 2]


def local_w(x, t):
    """The second output of ``pair`` in torch."""
    return torch.stack([x[..., 0] * t**3, torch.exp(x[..., 1] * x[..., 2]) * t], -1)


@pytest.fixture
def at(point):
    """Gives x and t in float64, to be differentiated by."""
    return [torch.tensor(array, dtype=torch.float64, requires_grad=True) for array in point]


@pytest.fixture
def batch():
    """Six points."""
    x = torch.tensor(np.random.default_rng(0).uniform(-1, 1, (6, 3)))
    return x, torch.linspace(0.5, 2.0, 6, dtype=torch.float64)


def check(found, expected):
    """Compares nested tensors, dtypes included."""
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


def test_value_and_gradient_are_one_call(served, at):
    """Forward and backward together are one call; without a gradient only the value is asked for."""
    model, calls = served("curved")
    f = gradwire.torch.wrap(model)
    value = f(*at)
    check(value, local(*at))
    check(torch.autograd.grad(value, at), torch.autograd.grad(local(*at), at))
    assert calls == [("serving_default", 1)]
    with torch.no_grad():
        check(f(*at), local(*at).detach())
    check(f(*[array.detach() for array in at]), local(*at).detach())
    assert calls[1:] == [("value", 1)] * 2


@pytest.mark.parametrize("name", ["curved", "pair"])
def test_gradcheck_and_gradgradcheck(served, batch, name, hidden):
    """Torch's own checks by differences pass for both orders, for one output and for several."""
    model, _ = served(name, hidden=hidden)
    remote = gradwire.torch.wrap(model)
    given = [array[:2].clone().requires_grad_() for array in batch]

    def f(x, t):
        found = remote(x, t)
        return tuple(found.values()) if isinstance(found, dict) else found

    assert torch.autograd.gradcheck(f, given)
    assert torch.autograd.gradgradcheck(f, given)
    assert torch.autograd.gradcheck(f, given, check_forward_ad=True, check_backward_ad=False)


def test_double_backward_is_two_calls(served, at):
    """A gradient of a gradient has the cross terms, by one more call along one direction."""
    model, calls = served("curved")
    found = [torch.autograd.grad(f(*at), at, create_graph=True) for f in (gradwire.torch.wrap(model), local)]
    norms = [(x**2).sum() + t**2 for x, t in found]
    check(torch.autograd.grad(norms[0], at), torch.autograd.grad(norms[1], at))
    assert calls == [("serving_default", 1), ("hvp", 1)]


FUNC = {
    "grad": lambda f: torch.func.grad(f, (0, 1)),
    "grad_and_value": lambda f: torch.func.grad_and_value(f, (0, 1)),
    "jacrev": lambda f: torch.func.jacrev(f, (0, 1)),
    "jacfwd": lambda f: torch.func.jacfwd(f, (0, 1)),
    "hessian": lambda f: torch.func.hessian(f, (0, 1)),
    "jacrev of jacrev": lambda f: torch.func.jacrev(torch.func.jacrev(f, (0, 1)), (0, 1)),
}


@pytest.mark.parametrize("name", FUNC)
def test_torch_func(served, batch, name, hidden):
    """torch.func's transformations at a point, and under vmap, where a call carries the whole batch."""
    model, calls = served("curved", hidden=hidden)
    remote = gradwire.torch.wrap(model)
    x, t = batch
    check(FUNC[name](remote)(x[0], t[0]), FUNC[name](local)(x[0], t[0]))
    made = len(calls)
    assert made <= 2
    if name.startswith("grad") or name == "jacrev":
        assert made == 1
    for axes in ((0, 0), (0, None)):
        given = (x, t if axes[1] == 0 else t[0])
        calls.clear()
        check(
            torch.func.vmap(FUNC[name](remote), axes)(*given),
            torch.func.vmap(FUNC[name](local), axes)(*given),
        )
        assert len(calls) == made


def test_vmap_of_values_is_one_call(served, batch):
    """The vmap of the function itself is one call of all rows."""
    model, calls = served("curved")
    check(torch.func.vmap(gradwire.torch.wrap(model))(*batch), local(*batch))
    assert calls == [("value", 6)]


def test_several_outputs(served, at):
    """Several outputs are a dict; a Jacobian of all of them is one call."""
    model, calls = served("pair")
    x, t = [array.detach() for array in at]

    def both(x, t):
        return {"f": local(x, t), "w": local_w(x, t)}

    remote = gradwire.torch.wrap(model)
    check(torch.func.jacrev(remote, (0, 1))(x, t), torch.func.jacrev(both, (0, 1))(x, t))
    assert len(calls) == 1
    check(torch.func.hessian(remote, (0, 1))(x, t), torch.func.hessian(both, (0, 1))(x, t))


def test_forms_and_dtypes(served, batch):
    """A single number goes with a batch and gets one gradient; float32 gets its gradient in float32."""
    model, _ = served("curved")
    f = gradwire.torch.wrap(model)
    x = batch[0].reshape(2, 3, 3).float().requires_grad_()
    t = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    value = f(t=t, x=x)
    assert (value.shape, value.dtype) == ((2, 3), torch.float64)
    value.sum().backward()
    expected = torch.autograd.grad(local(x.double(), t).sum(), (x, t))
    assert x.grad.dtype == torch.float32
    torch.testing.assert_close(x.grad, expected[0].float())
    torch.testing.assert_close(t.grad, expected[1])
    check(f(batch[0].numpy(), 1.3), local(batch[0], 1.3))


def test_what_is_not_there_is_refused(served, at):
    """Second derivatives without hvp and hessian, and third ones in any case, are errors that say so."""
    bare = gradwire.torch.wrap(served("curved", hidden=["hvp", "hessian"])[0])
    (x_bar,) = torch.autograd.grad(bare(*at), at[:1], create_graph=True)
    with pytest.raises(gradwire.SignatureNotFound, match="signatures hvp"):
        x_bar.sum().backward()
    whole = gradwire.torch.wrap(served("curved")[0])
    (x_bar,) = torch.autograd.grad(whole(*at), at[:1], create_graph=True)
    (twice,) = torch.autograd.grad(x_bar.sum(), at[:1], create_graph=True)
    with pytest.raises(gradwire.UsageError, match="third derivative"):
        twice.sum().backward()
    with pytest.raises(gradwire.UsageError, match="third derivative"):
        torch.func.jacrev(torch.func.hessian(whole))(*[array.detach() for array in at])


def test_parameters_have_no_derivative(with_parameter):
    """By an input that the package is not differentiated by, there is an error and not a zero."""
    f = gradwire.torch.wrap(with_parameter)
    x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    check(torch.autograd.grad(f(3.0, x), x)[0], torch.tensor([6.0, 12.0], dtype=torch.float64))
    k = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    with pytest.raises(gradwire.UsageError, match=r"with respect to the parameters \['k'\]"):
        f(k, x.detach()).backward()
    with pytest.raises(gradwire.UsageError, match=r"with respect to the parameters \['k'\]"):
        torch.func.jacfwd(f)(k.detach(), x.detach())


@pytest.fixture
def counted():
    """Gives a model of two outputs without a server, and its list of calls."""
    transport = RecordingTransport(curved_fake())
    return gradwire.Model(transport), transport.calls


@pytest.mark.slow
def test_a_compiled_graph_has_the_call_as_one_operator(counted, batch):
    """`fullgraph=True` compiles, for changing batches, and forward and backward together are still one call."""
    model, calls = counted
    f = gradwire.torch.wrap(model)

    def program(x, t):
        out = f(3 * x, t=t)
        return (torch.sin(out["f"]) + out["w"].sum(-1)).sum() + x.sum()

    compiled = torch.compile(program, fullgraph=True, backend="aot_eager")
    for rows in (6, 4, 5):
        at = [array[:rows].clone().requires_grad_() for array in batch]
        expected = program(*at)
        gradients = torch.autograd.grad(expected, at)
        calls.clear()
        value = compiled(*at)
        check(value, expected)
        check(torch.autograd.grad(value, at), gradients)
        assert calls == [("serving_default", rows)]
    with torch.no_grad():
        check(compiled(*batch), program(*batch))
    assert calls[1:] == [("value", 6)] * 2
    t = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)  # one for all points: its gradient is a sum
    check(torch.autograd.grad(compiled(batch[0], t), t), torch.autograd.grad(program(batch[0], t), t))


def test_what_a_compiled_graph_refuses(counted, batch, with_parameter):
    """Compiled, there is no second derivative and none with respect to a parameter; transforms break the graph."""
    f, at = gradwire.torch.wrap(counted[0]), [array.clone().requires_grad_() for array in batch]

    def value(x, t):
        return f(x, t)["f"]

    x_bar = torch.autograd.grad(torch.ops.gradwire.call(at, _number_of(f), True)[0].sum(), at[0], create_graph=True)[0]
    with pytest.raises(RuntimeError, match="no autograd formula"):
        x_bar.sum().backward()
    k, x = torch.tensor(3.0, dtype=torch.float64, requires_grad=True), torch.ones(2, dtype=torch.float64)
    with pytest.raises(Exception, match=r"with respect to the parameters \['k'\]"):
        torch.compile(gradwire.torch.wrap(with_parameter), backend="aot_eager")(k, x)
    check(torch.compile(torch.vmap(value), backend="aot_eager")(*batch), value(*batch))


def _number_of(f):
    """The number by which the operator knows a function's bridge."""
    from gradwire.torch import _BRIDGES

    return next(number for number, bridge in _BRIDGES.items() if bridge.model is f._model)
