"""Liquid templates: text with values in it, rendered in a sandbox."""
