"""What operators do with the state that sinks keep: see it, look keys up, clear it together with a reset."""
