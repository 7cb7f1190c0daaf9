"""Options written as flags, by TensorFlow Serving's names."""

from __future__ import annotations

from dataclasses import fields

from gradwire_serving._config.options import ServerOptions

_NOT_FLAGS = ("directory", "host", "port")  # said in other ways, or always said


def flags(options: ServerOptions) -> list[str]:
    """Writes the port, and every option that is not Serving's default, in the order of ``ServerOptions``.

    Args:
        options: what the server is started with.

    Returns:
        Such as ``["--port=8500", "--enable_batching=true"]``.
    """
    changed = [
        f"--{option.name}={_text(value)}"
        for option in fields(ServerOptions)
        if option.name not in _NOT_FLAGS and (value := getattr(options, option.name)) != option.default
    ]
    return [f"--port={options.port}", *changed]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
