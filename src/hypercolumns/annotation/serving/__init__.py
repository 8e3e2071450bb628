"""Serve a session: the worker that trains and predicts, the protocol of the page, and what requests may do."""
