"""The command line: one file per command, each with `add_arguments(parser)` and `run(arguments, console) -> exit code`.

Nobody imports this package. Its modules import nothing heavy (no numpy, no extension, no torch) until a command runs:
`headrace --help` answers in a tenth of a second.
"""
