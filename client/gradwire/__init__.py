"""The light client of Gradwire: a remote function together with its derivatives."""
