"""Masks that are drawn from the files of annotation tools. There is one module for each kind of file."""
