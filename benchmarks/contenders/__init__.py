"""What is measured: each function takes a ``Task`` and gives an ``Outcome``, in a process of its own."""
