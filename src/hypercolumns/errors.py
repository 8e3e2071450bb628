"""The one error class for faults that the user can mend."""


class HypercolumnsError(Exception):
    """A fault in the input, the settings or the files, not in the program.

    The message is one line: what is wrong, where (file or setting, and the value), and what to do.
    It is raised where the fault is seen and printed, without a traceback, by the entry points alone.
    """
