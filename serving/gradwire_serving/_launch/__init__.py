"""Start a server: which engines there are, and their command lines."""

from gradwire_serving._launch.command import Plan, command, plan
from gradwire_serving._launch.engines import AUTO, ENGINES, TF_SERVING_VERSION, find_engine
from gradwire_serving._launch.launcher import launch

__all__ = ["AUTO", "ENGINES", "TF_SERVING_VERSION", "Plan", "command", "find_engine", "launch", "plan"]
