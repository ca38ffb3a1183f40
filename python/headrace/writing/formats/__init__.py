"""Readers of foreign files for `convert`, one module a format. Each has a function that takes paths and returns a Source."""
