"""Keras models in files, .keras and .h5, of Keras 3 or, as far as it reads them, of Keras 2."""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path
from typing import Final

import h5py
import keras

from gradwire._errors import PackageError
from gradwire_export._reasons import reason

SUFFIXES: Final = (".keras", ".h5", ".hdf5")
_HINTS: Final = {  # by a part of Keras's message
    "Could not locate": "; export the model from Python, where its classes are defined: gradwire_export.export(model, …)",
    "No model config": "; it holds weights alone: load them into the model, and save that, model.save('model.keras')",
}
_OLD: Final = "2."  # how a version begins whose files Keras 3 reads in part
_OLD_OPERATION: Final = "TFOpLambda"  # an operation of TensorFlow in a model of Keras 2; it holds no Python code


def load_keras(path: Path, *, unsafe_lambda: bool) -> keras.Model:
    """Load a model, in safe mode unless its Python code is to run.

    Raises:
        PackageError: Keras cannot, or the file holds Python code or another object; says what to do.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Do not pass an `input_shape`")  # as files of Keras 2 have it
            model = keras.models.load_model(path, compile=False, safe_mode=not unsafe_lambda)
    except Exception as error:  # Keras's loader, and the layers' own code, raise all kinds of errors
        version, text = _version(path), str(error)
        if "ambda" in text and _OLD_OPERATION not in text and not unsafe_lambda:
            raise PackageError(
                f"{path} holds a Lambda layer, which is Python code of whoever wrote the file: if you trust it, run it "
                "with --unsafe-lambda (unsafe_lambda=True)"
            ) from error
        if version.startswith(_OLD):
            raise PackageError(
                f"{path} is of Keras {version}, and Keras {keras.__version__} cannot read it: load it with Keras 2 (tf_keras), "
                "save it as a SavedModel, model.save('model', save_format='tf'), and export that directory"
            ) from error
        hint = next((hint for part, hint in _HINTS.items() if part in text), "")
        raise PackageError(f"cannot load {path} as a Keras model: {reason(error)}{hint}") from error
    if not isinstance(model, keras.Model):
        raise PackageError(f"{path} holds a {type(model).__name__}, expected a Keras model")
    return model


def _version(path: Path) -> str:
    """Return the version of Keras that wrote a file; empty where the file does not say."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:
                return str(json.loads(file.read("metadata.json"))["keras_version"])
        with h5py.File(path) as file:
            return str(file.attrs["keras_version"])
    except (OSError, KeyError, ValueError, TypeError):
        return ""
