"""``gradwire promote``: let a label name another version, in the config file that a server polls."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from gradwire._cli.console import note, say
from gradwire._cli.lazy_imports import import_heavy

NAME: Final = "promote"


def command(
    model: Annotated[Path, typer.Argument(help="Directory of a model, such as models/wing.")],
    version: Annotated[int, typer.Argument(min=1, help="Version that the label names from now on.")],
    label: Annotated[str, typer.Option(help="Label, such as stable or canary.")],
    config: Annotated[
        Path | None, typer.Option(help="Config file that the server polls. Default: models.config beside the model.")
    ] = None,
) -> None:
    """Promote a version of a model; the same command with the version before is the rollback.

    The server takes it over when it polls its config: serve with --model_config_file,
    --model_config_file_poll_wait_seconds and --allow_version_labels_for_unavailable_models.

    Example: [bold]gradwire promote models/wing 2 --label stable[/bold]
    """
    done = import_heavy("gradwire_serving").promote(model, version, label=label, config=config)
    before = "" if done.before is None else f" (was {done.before})"
    say(f"{done.model}: {done.label} is version {done.version}{before}")
    served = "every version" if done.served is None else f"version {', '.join(map(str, done.served))}"
    note(f"{done.config} asks for {served}")
