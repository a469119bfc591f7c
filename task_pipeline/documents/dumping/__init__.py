"""A pipeline of Python, written as a workflow."""
