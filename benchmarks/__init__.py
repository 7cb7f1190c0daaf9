"""Every number that README quotes: ``python -m benchmarks [NAME ...] [--write]``.

Each public module here is a benchmark: it has a function ``main(*, write)`` that prints its rows, and, where
requested, writes them to ``benchmarks/results``.
"""
