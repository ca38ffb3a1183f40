"""Making datasets: `write` a source at once, a `Writer` for samples as they come, `convert` for files.

Data flow: sources.py and rows.py turn what the caller has into batches of columns; a Column (columns.py, lists.py, text.py) knows the field
it would like to be and encodes itself for the field it is told to be; writer.py hands the result to the native writer.
Nothing optional is imported before it is used, and torch never: tensors are recognised by what they can do.
"""

from __future__ import annotations

from headrace.writing.convert import convert
from headrace.writing.writer import Writer, write

__all__ = ["Writer", "convert", "write"]
