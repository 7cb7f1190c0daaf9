"""What the command offers without loading TensorFlow is what the heavy packages accept."""

import dataclasses
import inspect

import keras
import pytest

from gradwire._cli.choices import Activation, DType, Engine, Loss, OptimizerName, Spacing
from gradwire._cli.commands import serve
from gradwire._errors import UsageError
from gradwire_serving import AUTO, ENGINES, ServerOptions
from gradwire_training import optimizers, problems
from gradwire_training._jacobian.activations import find
from gradwire_training._models.precision import DTYPES


def test_the_words_of_the_command_are_those_of_the_folders():
    """An optimiser, loss, spacing, dtype or engine is added to both or to neither."""
    assert set(OptimizerName) == set(optimizers.names())
    assert set(Loss) == set(problems.LOSSES)
    assert set(Spacing) == set(problems.SPACINGS)
    assert set(DType) == set(DTYPES)
    assert set(Engine) == {AUTO, *ENGINES}
    assert all(find(keras.activations.get(word.value)) for word in Activation)


def test_the_flags_of_serve_are_the_options_of_a_server():
    """Every option has a flag of its name and default, but for more call threads and what stands behind ``--``."""
    options = {field.name: field.default for field in dataclasses.fields(ServerOptions)}
    del options["token"]  # of the environment: a command line is seen by others
    flags = {name: parameter.default for name, parameter in inspect.signature(serve.command).parameters.items()}
    assert flags.keys() - {"engine", "print_command", "explore", "explore_port"} == options.keys()
    different = {name for name, default in options.items() if flags[name] != default}
    assert different == {"grpc_max_threads", "engine_flags"}
    switches = {name.replace("_", "-") for name, default in options.items() if isinstance(default, bool)}
    assert switches == serve.SWITCHES


@pytest.mark.parametrize("flag", ["token_file", "ssl_config_file"])
def test_a_page_beside_a_guarded_server_is_refused(flag, tmp_path):
    """Whoever reaches the page would be let in by it; nothing is started."""
    (tmp_path / "file").write_text("secret")
    with pytest.raises(UsageError, match="--explore beside a server that wants a token or certificates"):
        serve.command(explore=True, directory=tmp_path, engine=Engine.EMBEDDED, **{flag: str(tmp_path / "file")})
