"""Tables of benchmark results: benchmarks/README.md and the figures in docs, from benchmarks/results/*.json."""
