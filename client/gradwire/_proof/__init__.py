"""The proof that a package's derivatives are those of its values: six checks, one a file (docs/proof.md)."""
