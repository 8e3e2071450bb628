"""Functions and constants that several tests share; fixtures are in the conftest.py files."""
