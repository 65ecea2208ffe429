"""What the benchmarks of vector search share: data sets with exact answers, engines in processes, curves."""
