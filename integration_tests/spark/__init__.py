"""Tests with a real Spark, which only `make test-spark` runs: it takes 400 MB and Java."""
