"""The command line: parse, call, print. Importing it stays cheap; commands import what they need when they run."""
