"""What takes longer than `make test` has time for, on clusters as people run them: `make test-cluster`."""
