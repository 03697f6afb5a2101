"""What measures: each module is one command that tells its progress on stderr and ends with one JSON object on stdout.

    python -m tests.benchmarks.throughput
    python -m tests.benchmarks.chaos --documents 2000
    python -m tests.benchmarks.store

The exit code is 1 where a promise is broken. They are no tests: `make test` does not collect them.
"""
