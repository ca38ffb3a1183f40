"""What headrace shows: numbers, tables, samples and progress as text.

| file | shows |
|---|---|
| `terminal` | what a stream can take: colour, width, safe characters |
| `humanise` | sizes, counts, rates, durations |
| `table` | aligned tables and key-value lists |
| `progress` | one line for work that takes seconds |
| `image_header` | format and size of encoded images |
| `plot` | lines and bars as PNG or SVG files (matplotlib) |
| `sample` | the values of a sample (the only file that imports numpy) |

Nothing is imported here, so that the command line starts fast.
"""
