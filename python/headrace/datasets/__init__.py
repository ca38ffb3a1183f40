"""Things with a length and a fetch by index."""
