"""The steps, a file for each kind."""
