"""Functions and constants that several tests share; fixtures are in fixtures.py and the conftest.py files."""
