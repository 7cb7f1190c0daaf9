"""The digest of a package: which function this is, whatever name and place it has.

The client checks it wherever a package is loaded, so it is computed there (``gradwire._digest``).
"""

from gradwire._digest import CARD_FILE, digest, file_digests, joined_digest

__all__ = ["CARD_FILE", "digest", "file_digests", "joined_digest"]
