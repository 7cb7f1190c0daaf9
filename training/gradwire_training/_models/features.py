"""What a Keras model does beside computing outputs from its weights: an optimiser has to honour each, or is refused.

Some of it is declared (constraints, a training step of the model's own); the rest shows in what a few calls change and
add: losses, random numbers, statistics. What each optimiser honours is on its class, ``Optimizer.honours``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final, TypeAlias, final

import keras
import numpy as np
from numpy.typing import NDArray

from gradwire._errors import UsageError
from gradwire_training._models.layers import batch_normalizations, layers_of
from gradwire_training._models.precision import array_of

Call: TypeAlias = "Callable[[bool], Mapping[str, Any]]"  # whether in training -> outputs by name
Arrays: TypeAlias = "list[NDArray[Any]]"

RANDOM_STATE: Final = "seed_generator_state"  # Keras's name of the variable behind a layer's random numbers
# What a model class overrides to train itself; ``compute_metrics`` changes no weight.
OWN_TRAINING: Final = ("train_step", "make_train_function", "compute_loss")
SHOWN: Final = 3  # names in a message


@final
class Feature(Enum):
    """Something that Keras keeps outside the outputs and their gradient; the value is what messages call it."""

    LOSSES = "losses of its own (regularisers, add_loss)"
    BOUNDS = "weights that may not be negative (NonNeg)"
    CONSTRAINTS = "constraints on weights"
    RANDOM = "random numbers in training (dropout, noise, augmentation)"
    STATISTICS = "statistics of its batches (BatchNormalization)"
    STATE = "variables that every call in training changes"
    TRAINING = "another response in training than in inference"
    SIGNS = "signs to be kept (monotone inputs, bounds)"  # of the loss, not of the model


@final
@dataclass(frozen=True, slots=True)
class Features:
    """The features of one model, each with the layers or weights that have it."""

    model: str
    owners: Mapping[Feature, tuple[str, ...]]

    def __contains__(self, feature: Feature) -> bool:
        return feature in self.owners

    def with_signs(self, signs: Iterable[str]) -> Features:
        """Return the features of the model under a loss that keeps signs."""
        signs = tuple(signs)
        return replace(self, owners={**self.owners, Feature.SIGNS: signs}) if signs else self

    def why_not(self, honoured: Iterable[Feature]) -> str | None:
        """Return a clause that names the first feature that is not honoured; None where all are."""
        honoured = frozenset(honoured)
        return next((self._described(feature) for feature in self.owners if feature not in honoured), None)

    def names(self, feature: Feature) -> str:
        """Return the layers or weights that have a feature, for messages."""
        owners = self.owners[feature]
        more = f" and {len(owners) - SHOWN} more" if len(owners) > SHOWN else ""
        return ", ".join(map(repr, owners[:SHOWN])) + more

    def _described(self, feature: Feature) -> str:
        names = self.names(feature)
        whose = "the loss" if feature is Feature.SIGNS else f"the model {self.model!r}"
        return f"{whose} has {feature.value}" + (f": {names}" if names else "")


def require_no_own_training(model: keras.Model) -> None:
    """Raise if a model's class overrides how Keras trains it: a fit would ignore that."""
    own = [name for name in OWN_TRAINING if getattr(type(model), name) is not getattr(keras.Model, name)]
    if own:
        raise UsageError(
            f"the model {model.name!r} is a {type(model).__name__} with {', '.join(own)} of its own, which no "
            "optimizer here runs: train it with its fit method and export it, or fit "
            "keras.Model(model.inputs, model.outputs) with loss="
        )


def features_of(model: keras.Model, call: Call) -> Features:
    """Inspect a model; ``call`` evaluates it on a few rows. Its variables are left as they are.

    Raises:
        UsageError: no optimiser can fit it, since its response in inference is no function of inputs and weights.
    """
    inference, again, changed = _probe(model, call, training=False)
    if not _same(inference, again):
        raise UsageError(
            f"the model {model.name!r} responds differently at each call in inference, as {_inconstant(model, changed)} "
            "draws random numbers or keeps a state there: no package can serve that as a function; give the layer the "
            "call's training argument, or stateful=False"
        )
    training, again, changed = _probe(model, call, training=True)
    owners: dict[Feature, tuple[str, ...]] = {}
    if model.losses:
        owners[Feature.LOSSES] = _with_losses(model)
    constrained = [variable for variable in model.trainable_variables if variable.constraint is not None]
    bounded = [variable.path for variable in constrained if is_non_negative(variable)]
    if bounded:
        owners[Feature.BOUNDS] = tuple(bounded)
    if others := tuple(variable.path for variable in constrained if not is_non_negative(variable)):
        owners[Feature.CONSTRAINTS] = others
    random = [variable for variable in changed if variable.name == RANDOM_STATE]
    statistics = {id(part) for layer in batch_normalizations(model) for part in layer.variables}
    state = [variable for variable in changed if variable.name != RANDOM_STATE and id(variable) not in statistics]
    if random or not (changed or _same(training, again)):  # TensorFlow's own generators have no variable
        owners[Feature.RANDOM] = _owners(model, random)
    if any(id(variable) in statistics for variable in changed):
        owners[Feature.STATISTICS] = tuple(layer.name for layer in batch_normalizations(model))
    if state:
        owners[Feature.STATE] = _owners(model, state)
    if not changed and _same(training, again) and not _same(training, inference):
        owners[Feature.TRAINING] = ()
    return Features(model.name, owners)


def is_non_negative(variable: Any) -> bool:
    """Whether a weight's constraint is a lower bound of zero and nothing else; a subclass may mean more."""
    return type(variable.constraint) is keras.constraints.NonNeg


def _probe(model: keras.Model, call: Call, *, training: bool) -> tuple[Arrays, Arrays, list[Any]]:
    """Return the outputs of two calls, and the variables that the first changed; they are restored."""
    before = [array_of(variable) for variable in model.variables]
    first = [np.asarray(output) for output in call(training).values()]
    changed = [
        variable
        for variable, value in zip(model.variables, before, strict=True)
        if not np.array_equal(array_of(variable), value, equal_nan=value.dtype.kind == "f")
    ]
    second = [np.asarray(output) for output in call(training).values()]
    for variable, value in zip(model.variables, before, strict=True):
        variable.assign(value)
    return first, second, changed


def _inconstant(model: keras.Model, changed: Iterable[Any]) -> str:
    """Return the names of the layers whose response is no function, as far as they can be told."""
    stateful = [layer.name for layer in layers_of(model) if isinstance(layer, keras.layers.RNN) and layer.stateful]
    return ", ".join(map(repr, (*_owners(model, changed), *stateful))) or "one of its layers"


def _same(one: Arrays, other: Arrays) -> bool:
    return all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(one, other, strict=True))


def _owners(model: keras.Model, variables: Iterable[Any]) -> tuple[str, ...]:
    """Return the names of the innermost layers that hold some variables."""
    innermost = {id(variable): layer.name for layer in layers_of(model) for variable in layer.variables}
    return tuple(dict.fromkeys(innermost[id(variable)] for variable in variables))


def _with_losses(model: keras.Model) -> tuple[str, ...]:
    """Return the names of the innermost layers with a loss: a regulariser's, or one that they add."""
    _, *layers = layers_of(model)
    inner = [layer.name for layer in layers if layer.losses and not any(part.losses for part in layers_of(layer)[1:])]
    return tuple(inner) or (model.name,)
