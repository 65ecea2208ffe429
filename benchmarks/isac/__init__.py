"""Parts of the benchmarks of sensing and communication."""
