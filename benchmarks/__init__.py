"""What the library costs, beside the fastest that its clients and servers can do: ``python -m benchmarks``."""
