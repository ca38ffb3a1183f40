"""One file for each shape of data."""
