"""Every layer and activation of the installed Keras by every signature: right, refused by name, or warned about.

A layer that Keras adds fails the test until it is in a table below. Each layer is a function of two numbers (a fixed
map to its input, the layer, a fixed sum of its output), compared with sixth-order differences in float64.
"""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from gradwire._errors import ConversionError
from gradwire_export._gradients import right_gradients
from gradwire_export._package.signatures import signature_body
from gradwire_export._package.spec import package_spec
from gradwire_export._sources.function import function_of

layers = keras.layers
ROWS, STEP, ALLOWED = 3, 1e-3, 2e-8  # ALLOWED: of the largest entry

FLAT, SEQUENCE, IMAGE, VOLUME = (4,), (4, 3), (4, 4, 3), (4, 4, 4, 2)
PAIR, SEQUENCES = (FLAT, FLAT), (SEQUENCE, SEQUENCE)


@dataclass(frozen=True)
class Case:
    """How a layer is called, and what comes of it.

    Attributes:
        make: builds the callable, in float64.
        shape: of a row of its input, or a tuple of such for a list of inputs.
        refused: part of the message, where it cannot be differentiated.
        warned: part of the warning, where something is missing.
        narrow: whether it computes in float32, so that differences mean nothing.
        signatures: those that are compared; all by default. The Hessian of a loop takes long to trace.
    """

    make: Callable[[], Any]
    shape: Any = FLAT
    refused: str | None = None
    warned: str | None = None
    narrow: bool = False
    signatures: tuple[str, ...] = ("jvp", "vjp", "hvp", "hessian")


NO_FUNCTIONS = {
    "Layer": "abstract",
    "Wrapper": "abstract",
    "InputLayer": "no computation",
    "GRUCell": "in RNN",
    "LSTMCell": "in RNN",
    "SimpleRNNCell": "in RNN",
    "Pipeline": "a sequence of others",
    "MaxNumBoundingBoxes": "of boxes",
    "JaxLayer": "needs JAX",
    "FlaxLayer": "needs JAX",
    "TorchModuleWrapper": "needs PyTorch",
    "TFSMLayer": "a SavedModel, which is a source of its own",
    "HashedCrossing": "of integers or strings",
    "StringLookup": "of strings",
    "TextVectorization": "of strings",
    "MelSpectrogram": "Keras mixes float32 into float64",
    **dict.fromkeys(("AveragePooling3D", "AdaptiveAveragePooling3D"), "TensorFlow computes it in float32 only"),
    **dict.fromkeys(("MaxPooling3D", "AdaptiveMaxPooling3D"), "TensorFlow computes it in float32 only"),
}


def _pooling() -> dict[str, Case]:
    shapes = {"1D": SEQUENCE, "2D": IMAGE, "3D": VOLUME}
    cases = {}
    for suffix, shape in shapes.items():
        for kind in ("Average", "Max"):
            for prefix, arguments in (("", (2,)), ("Global", ()), ("Adaptive", (2,))):
                name = f"{prefix}{kind}Pooling{suffix}"
                cases[name] = Case(lambda n=name, a=arguments: getattr(layers, n)(*a), shape)
        for name, arguments in (
            *((f"{kind}{suffix}", ()) for kind in ("UpSampling", "ZeroPadding", "Cropping")),
            (f"SpatialDropout{suffix}", (0.5,)),
            *(
                (f"{kind}{suffix}", (2, 2))
                for kind in ("Conv", "ConvLSTM", "SeparableConv")
                if kind + suffix != "SeparableConv3D"
            ),
            *((f"Conv{suffix}{kind}", (2, 2)) for kind in ("Transpose",)),
            *((f"{kind}{suffix}", (2,)) for kind in ("DepthwiseConv",) if suffix != "3D"),
        ):
            each = (2, *shape) if name.startswith("ConvLSTM") else shape
            cases[name] = Case(lambda n=name, a=arguments: getattr(layers, n)(*a), each)
    for name in ("ConvLSTM2D", "ConvLSTM3D"):
        cases[name] = replace(cases[name], signatures=("vjp", "hvp"))
    return {name: case for name, case in cases.items() if name not in NO_FUNCTIONS}


LAYERS = _pooling() | {
    "Activation": Case(lambda: layers.Activation("tanh")),
    "ActivityRegularization": Case(lambda: layers.ActivityRegularization(l2=0.1)),
    "Add": Case(layers.Add, PAIR),
    "AdditiveAttention": Case(layers.AdditiveAttention, SEQUENCES),
    "AlphaDropout": Case(lambda: layers.AlphaDropout(0.5)),
    "Attention": Case(layers.Attention, SEQUENCES),
    "Average": Case(layers.Average, PAIR),
    "BatchNormalization": Case(layers.BatchNormalization),
    "Bidirectional": Case(lambda: layers.Bidirectional(layers.SimpleRNN(2)), SEQUENCE),
    "Concatenate": Case(layers.Concatenate, PAIR),
    "Dense": Case(lambda: layers.Dense(3, "tanh")),
    "Dot": Case(lambda: layers.Dot(1, normalize=True), PAIR),
    "Dropout": Case(lambda: layers.Dropout(0.5)),
    "ELU": Case(layers.ELU),
    "EinsumDense": Case(lambda: layers.EinsumDense("ab,bc->ac", 3)),
    "Flatten": Case(layers.Flatten, SEQUENCE),
    "GRU": Case(lambda: layers.GRU(2), SEQUENCE),
    "GaussianDropout": Case(lambda: layers.GaussianDropout(0.5)),
    "GaussianNoise": Case(lambda: layers.GaussianNoise(0.5)),
    "GroupNormalization": Case(lambda: layers.GroupNormalization(2)),
    "GroupedQueryAttention": Case(lambda: layers.GroupQueryAttention(2, 2, 1), SEQUENCES),
    "Identity": Case(layers.Identity),
    "LSTM": Case(lambda: layers.LSTM(2), SEQUENCE),
    "Lambda": Case(lambda: layers.Lambda(tf.sin)),
    "LayerNormalization": Case(layers.LayerNormalization),
    "LeakyReLU": Case(layers.LeakyReLU),
    "Maximum": Case(layers.Maximum, PAIR),
    "Minimum": Case(layers.Minimum, PAIR),
    "MultiHeadAttention": Case(lambda: layers.MultiHeadAttention(2, 2), SEQUENCES),
    "Multiply": Case(layers.Multiply, PAIR),
    "Normalization": Case(lambda: layers.Normalization(mean=0.5, variance=2.0)),
    "PReLU": Case(lambda: layers.PReLU("ones")),
    "Permute": Case(lambda: layers.Permute((2, 1)), SEQUENCE),
    "RMSNormalization": Case(layers.RMSNormalization),
    "RNN": Case(lambda: layers.RNN(layers.LSTMCell(2)), SEQUENCE),
    "ReLU": Case(layers.ReLU),
    "RepeatVector": Case(lambda: layers.RepeatVector(2)),
    "Rescaling": Case(lambda: layers.Rescaling(2.0, -1.0)),
    "Reshape": Case(lambda: layers.Reshape((2, 2))),
    "SimpleRNN": Case(lambda: layers.SimpleRNN(2), SEQUENCE),
    "Softmax": Case(layers.Softmax),
    "SpectralNormalization": Case(lambda: layers.SpectralNormalization(layers.Dense(3))),
    "StackedRNNCells": Case(
        lambda: layers.RNN(layers.StackedRNNCells([layers.GRUCell(2), layers.SimpleRNNCell(2)])), SEQUENCE
    ),
    "Subtract": Case(layers.Subtract, PAIR),
    "TimeDistributed": Case(lambda: layers.TimeDistributed(layers.Dense(2, "tanh")), SEQUENCE),
    "UnitNormalization": Case(layers.UnitNormalization),
    "ContrastLimitedAdaptiveHistogramEqualization": Case(
        layers.ContrastLimitedAdaptiveHistogramEqualization, IMAGE, refused="every path goes through Cast"
    ),
    "RandomCrop": Case(lambda: layers.RandomCrop(2, 2), IMAGE),
    "CenterCrop": Case(lambda: layers.CenterCrop(2, 2), IMAGE),
    "Masking": Case(layers.Masking, SEQUENCE),
    # It has no second derivatives in TensorFlow: they are left out by name (test_requirements).
    "Resizing": Case(
        lambda: layers.Resizing(3, 3), IMAGE, warned="computes in float32", narrow=True, signatures=("jvp", "vjp")
    ),
    "ReversibleEmbedding": Case(lambda: _logits(layers.ReversibleEmbedding(5, 4))),
    "STFTSpectrogram": Case(lambda: layers.STFTSpectrogram(frame_length=8, frame_step=4, fft_length=8), (16, 1)),
    "Embedding": Case(lambda: layers.Embedding(5, 2), refused="every path goes through Cast"),
    "Discretization": Case(lambda: layers.Discretization([0.0, 1.0]), refused="every path goes through"),
    "CategoryEncoding": Case(lambda: layers.CategoryEncoding(5), refused="."),
    "Hashing": Case(lambda: layers.Hashing(5), refused="."),
    "IntegerLookup": Case(lambda: layers.IntegerLookup(vocabulary=[1, 2]), refused="."),
}
# Augmentation of images: at inference none.
AUGMENTATIONS = {
    **dict.fromkeys(("AugMix", "AutoContrast", "CutMix", "Equalization", "RandAugment", "RandomColorJitter"), ()),
    **dict.fromkeys(
        ("RandomElasticTransform", "RandomErasing", "RandomFlip", "RandomGaussianBlur", "RandomInvert"), ()
    ),
    **dict.fromkeys(("RandomPerspective", "RandomShear", "Solarization"), ()),
    **dict.fromkeys(("RandomBrightness", "RandomContrast", "RandomRotation", "RandomZoom"), (0.5,)),
    "RandomTranslation": (0.5, 0.5),
}
# Keras draws random numbers for these at inference too.
RANDOM = {
    "MixUp": (),
    "RandomGrayscale": (),
    "RandomPosterization": (4,),
    **dict.fromkeys(("RandomColorDegeneration", "RandomHue", "RandomSaturation", "RandomSharpness"), (0.5,)),
}
LAYERS |= {
    name: Case(
        lambda n=name, a=arguments: getattr(layers, n)(*a), IMAGE, refused="AssignVariableOp .* changes a variable"
    )
    for name, arguments in RANDOM.items()
}


def _augmentations() -> Callable[[Any], Any]:
    """All augmentations side by side."""
    made = [getattr(layers, name)(*arguments) for name, arguments in AUGMENTATIONS.items()]
    return lambda x: tf.concat([layer(x, training=False) for layer in made], axis=1)


ACTIVATIONS = {
    name: Case(lambda n=name: getattr(keras.activations, n))
    for name in (
        *(
            "celu",
            "elu",
            "exponential",
            "gelu",
            "glu",
            "hard_shrink",
            "hard_sigmoid",
            "hard_silu",
            "hard_tanh",
            "leaky_relu",
        ),
        *(
            "linear",
            "log_sigmoid",
            "log_softmax",
            "mish",
            "relu",
            "relu6",
            "selu",
            "sigmoid",
            "silu",
            "soft_shrink",
            "softmax",
        ),
        *("softplus", "softsign", "sparse_plus", "sparse_sigmoid", "sparsemax", "squareplus", "tanh", "tanh_shrink"),
        "threshold",
    )
}
# It counts the elements that are not zero; between jumps of that number its derivative is right.
ACTIVATIONS["sparsemax"] = Case(lambda: keras.activations.sparsemax, warned="Greater")
ACTIVATIONS["threshold"] = Case(lambda: lambda x: keras.activations.threshold(x, 0.3, 0.0))


def _logits(embedding: Any) -> Callable[[Any], Any]:
    """The way back of an embedding."""
    embedding.build((None,))
    return lambda x: embedding(x, reverse=True)


def _names(module: Any, kind: Callable[[Any], bool]) -> set[str]:
    """The names under which a module's members call themselves: each once, whatever aliases there are."""
    members = {name: member for name, member in vars(module).items() if not name.startswith("_") and kind(member)}
    return {member.__name__ for member in members.values()}


def test_every_layer_and_activation_is_in_a_table():
    """A new one has to be classified; one that is gone, to be dropped."""
    own = _names(layers, lambda member: inspect.isclass(member) and issubclass(member, layers.Layer))
    assert own == set(LAYERS) | set(AUGMENTATIONS) | set(NO_FUNCTIONS)
    assert _names(keras.activations, inspect.isfunction) - {"get", "serialize", "deserialize"} == set(ACTIVATIONS)


CASES = {
    **{f"layer {name}": case for name, case in LAYERS.items()},
    "augmentations": Case(_augmentations, IMAGE),
    **{f"activation {name}": case for name, case in ACTIVATIONS.items()},
}


@pytest.fixture(autouse=True)
def double_precision():
    """Keras in float64."""
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(policy)


def function_of_two(name: str, case: Case) -> Any:
    """A layer as a callable of ``(batch, 2)`` that returns ``(batch, 1)``."""
    seed = zlib.crc32(name.encode())
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    layer = case.make()
    shapes = case.shape if isinstance(case.shape[0], tuple) else (case.shape,)
    maps = [(rng.normal(size=(2, int(np.prod(shape)))), rng.normal(size=int(np.prod(shape)))) for shape in shapes]
    weights: list[np.ndarray] = []

    def call(x):
        given = [tf.reshape(x @ a + b, [-1, *shape]) for (a, b), shape in zip(maps, shapes, strict=True)]
        if isinstance(layer, (layers.MultiHeadAttention, layers.GroupQueryAttention)):
            result = layer(*given)
        else:
            result = layer(
                given if len(given) > 1 else given[0], **({"training": False} if takes_training(layer) else {})
            )
        result = tf.reshape(result, [tf.shape(x)[0], int(np.prod(result.shape[1:]))])
        if not weights:
            weights.append(rng.normal(size=(int(result.shape[1] or 0), 1)))
        return tf.cast(result, x.dtype) @ weights[0]

    call(tf.zeros((1, 2), tf.float64))  # builds it
    return call


def takes_training(layer: Any) -> bool:
    """Whether a layer behaves in training as it does not otherwise."""
    return isinstance(layer, layers.Layer) and "training" in inspect.signature(layer.call).parameters


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_signature_is_right_or_refused_by_name(name):
    """Values of every signature, first and second derivatives against differences, products against those."""
    case = CASES[name]
    with right_gradients():
        if case.refused:
            with pytest.raises(ConversionError, match=case.refused):
                require_right(name, case)
        else:
            require_right(name, case)


def require_right(name: str, case: Case) -> None:
    """Compare every signature with differences."""
    call = function_of_two(name, case)
    function = function_of(call, inputs={"x": tf.TensorSpec((None, 2), tf.float64)})
    spec = package_spec(function, (), case.signatures)
    if case.warned:
        assert any(case.warned in warning for warning in spec.warnings), spec.warnings
    else:
        assert spec.warnings == ()
    if case.narrow:
        return
    rng = np.random.default_rng(0)
    x, x_dot, f_bar = rng.normal(size=(ROWS, 2)), rng.normal(size=(ROWS, 2)), rng.normal(size=(ROWS, 1))
    rows = {key: tf.constant(array) for key, array in {"x": x, "x_dot": x_dot, "f_bar": f_bar}.items()}
    steps = STEP * np.array([3, 2, 1, -1, -2, -3])
    moved = tf.constant(np.concatenate([x + step * axis for axis in np.eye(2) for step in steps]))

    @tf.function(autograph=False)
    def run():
        bodies = {key: signature_body(spec, key) for key in spec.row_signatures}
        at = {key: body({each: rows[each] for each in spec.inputs(key)}) for key, body in bodies.items()}
        return at, bodies["serving_default"]({"x": moved})

    by, near = tf.nest.map_structure(lambda tensor: tensor.numpy(), run())
    df, d2f = (difference(near[key].reshape(2, len(steps), ROWS, -1)) for key in ("f", "df_dx"))  # (rows, …, 2)
    df = df[:, 0]
    expected = {
        "value": {"f": by["value"]["f"]},
        "serving_default": {"f": by["value"]["f"], "df_dx": df},
        "jvp": {"f": by["value"]["f"], "f_dot": np.sum(df * x_dot, axis=1, keepdims=True)},
        "vjp": {"f": by["value"]["f"], "x_bar": f_bar * df},
        "hvp": {"f": by["value"]["f"], "df_dx": df, "df_dx_dot": np.einsum("bij,bj->bi", d2f, x_dot)},
        "hessian": {"f": by["value"]["f"], "df_dx": df, "d2f_dx2": d2f},
    }
    for signature in spec.row_signatures:
        tensors = expected[signature]
        assert by[signature].keys() == tensors.keys()
        for key, array in tensors.items():
            allowed = ALLOWED * max(np.abs(array).max(), 1e-2)
            message = f"{name}: {key} of {signature}"
            np.testing.assert_allclose(by[signature][key], array, rtol=0, atol=allowed, err_msg=message)


def difference(near: np.ndarray) -> np.ndarray:
    """Sixth-order differences of ``(axis, step, rows, elements)``, as ``(rows, elements, axis)``."""
    weights = np.array([1, -9, 45, -45, 9, -1]) / (60 * STEP)
    return np.einsum("asbe,s->bea", near, weights)
