"""A run of a stream in a process: its thread, how it is stopped, and the process's end."""
