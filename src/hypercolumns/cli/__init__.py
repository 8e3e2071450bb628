"""The command line: both entry points run through it."""
