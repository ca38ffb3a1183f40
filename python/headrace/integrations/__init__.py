"""What a trainer needs beside `headrace.DataLoader`; one file a trainer, none where the loader is enough (README.md says what to write in each).

Nothing here is imported by `import headrace`, and each file imports its trainer.
"""
