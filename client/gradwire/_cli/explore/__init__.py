"""A model as a page in the browser: what the page asks for, computed in Python through the client alone."""

from gradwire._cli.explore.application import Application
from gradwire._cli.explore.explorer import Explorer
from gradwire._cli.explore.samples import Samples
from gradwire._cli.explore.server import DEFAULT_HOST, DEFAULT_PORT, PageServer
from gradwire._cli.explore.source import DirectorySource, ServerSource, Source, source_of

__all__ = [
    "DEFAULT_HOST",
    "DEFAULT_PORT",
    "Application",
    "DirectorySource",
    "Explorer",
    "PageServer",
    "Samples",
    "ServerSource",
    "Source",
    "source_of",
]
