"""What the API reference shows: the names of `__all__`, at the door where callers import them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from griffe import Extension, GriffeLoader, Module

if TYPE_CHECKING:
    from griffe import Alias, Object


class Public(Extension):
    """Leave out special methods, and resolve names that a function shares with the module that holds it."""

    def on_package(self, *, pkg: Module, loader: GriffeLoader, **kwargs: Any) -> None:
        """Adjust a package when all of it is loaded.

        Args:
            pkg: the package.
            loader: what loaded it; it knows the other packages.
            **kwargs: what Griffe may pass besides.
        """
        _adjust(pkg, loader)


def _adjust(parent: Object, loader: GriffeLoader) -> None:
    for name, member in list(parent.members.items()):
        if member.is_alias:
            _point_at_function(member, loader)
        elif parent.is_class and name.startswith("__") and name != "__init__":
            del parent.members[name]
        else:
            _adjust(member, loader)


def _point_at_function(alias: Alias, loader: GriffeLoader) -> None:
    # `from gradwire._verify import verify` is the function at run time; read from the sources, it is _verify/verify.py.
    try:
        module = loader.modules_collection[alias.target_path]
    except KeyError:
        return
    name = alias.target_path.rpartition(".")[2]
    if module.is_module and name in module.members:
        alias.target = module.members[name]
