"""CSV files by pyarrow, in two passes over bounded blocks: the first learns types and nulls from all of the data, the second writes.

One pass could only guess: a column of whole numbers may turn out to have a fraction, a word or nothing in its last line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO, Any

from headrace.errors import CorruptDataError
from headrace.writing.arrow import ArrowBatches
from headrace.writing.batches import Source, take_fields
from headrace.writing.formats.tables import import_pyarrow, reading

__all__ = ["csv_source"]

_BLOCK_BYTES = 16 << 20
_PURPOSE = "converting CSV files"


def csv_source(
    paths: Sequence[str],
    *,
    threads: int | None = None,
    fields: Sequence[str] | None = None,
    delimiter: str | None = None,
    column_names: Sequence[str] | None = None,
    column_types: dict[str, Any] | None = None,
    null_values: Sequence[str] | None = None,
    strings_can_be_null: bool = False,
    block_bytes: int = _BLOCK_BYTES,
) -> Source:
    """A column a field, with the narrowest type that all its values have; nullable if a value is missing.

    delimiter: "," or, for .tsv, a tab. column_names: for files without a header line. column_types: pyarrow types, instead of looking.
    null_values: texts that mean missing, pyarrow's by default ("", "NA", "null", ...); in text columns only with `strings_can_be_null`.
    Raises CorruptDataError naming the file for lines of another length. Quoted values must not hold line breaks.
    """
    first = paths[0].lower().removesuffix(".gz").removesuffix(".bz2").removesuffix(".zst")
    options = _Options(
        delimiter or ("\t" if first.endswith((".tsv", ".tab")) else ","), column_names, null_values, strings_can_be_null, block_bytes
    )
    scan = _Scan(options, column_types or {})
    for path in paths:
        scan.look_through(path, threads != 1)
    names = take_fields(scan.names, fields)
    schema = scan.schema(names)
    return CsvSource(_batches(paths, options, schema, scan.names, threads != 1), schema, scan.nullable & set(names), scan.rows)


class CsvSource(ArrowBatches):
    """Rows of the second pass."""

    def __init__(self, batches: Iterator[Any], schema: Any, nullable: set[str], rows: int) -> None:
        super().__init__(batches, schema, fields=None, nullable=nullable, total=rows)


class _Options:
    """How the text is read, for both passes."""

    def __init__(
        self, delimiter: str, names: Sequence[str] | None, null_values: Sequence[str] | None, strings_can_be_null: bool, block_bytes: int
    ) -> None:
        self.csv = import_pyarrow("pyarrow.csv", _PURPOSE)
        self.delimiter = delimiter
        self.names = list(names) if names is not None else None
        self.block_bytes = block_bytes
        self.convert: dict[str, Any] = {"strings_can_be_null": strings_can_be_null}
        if null_values is not None:
            self.convert["null_values"] = list(null_values)

    def parse(self) -> Any:
        """pyarrow's ParseOptions."""
        return self.csv.ParseOptions(delimiter=self.delimiter)

    def read(self, names: list[str], use_threads: bool) -> Any:
        """pyarrow's ReadOptions."""
        return self.csv.ReadOptions(column_names=names, block_size=self.block_bytes, use_threads=use_threads)

    def converting(self, types: dict[str, Any], columns: list[str] | None = None) -> Any:
        """pyarrow's ConvertOptions."""
        return self.csv.ConvertOptions(column_types=types, include_columns=columns, **self.convert)


class _Scan:
    """What the first pass learns."""

    def __init__(self, options: _Options, types: dict[str, Any]) -> None:
        self.options = options
        self.given = types
        self.names: list[str] = []
        self.types: dict[str, Any] = {}
        self.nullable: set[str] = set()
        self.rows = 0
        self._first = ""

    def look_through(self, path: str, use_threads: bool) -> None:
        """Learn from one file."""
        with reading(path), open_text(path) as file:
            names, lines = header(file, path, self.options)
            if not self.names:
                self.names, self._first = names, path
                unknown = [name for name in self.given if name not in names]
                if unknown:
                    raise ValueError(f"column_types names {unknown[0]!r}, which is none of {names}")
            elif names != self.names:
                raise ValueError(f"{path} has the columns {names}, but {self._first} has {self.names}; convert them separately")
            for block in blocks(file, lines, path, self.options.block_bytes):
                self._learn(block, use_threads)

    def _learn(self, block: bytes, use_threads: bool) -> None:
        pyarrow = import_pyarrow("pyarrow", _PURPOSE)
        options = self.options
        table = options.csv.read_csv(
            pyarrow.BufferReader(block),
            read_options=options.read(self.names, use_threads),
            parse_options=options.parse(),
            convert_options=options.converting(self.given),
        )
        self.rows += table.num_rows
        for name, column in zip(self.names, table.columns, strict=True):
            self.types[name] = wider(pyarrow, self.types.get(name), column.type)
            if column.null_count:
                self.nullable.add(name)

    def schema(self, names: Sequence[str]) -> Any:
        """The pyarrow schema of these columns."""
        pyarrow = import_pyarrow("pyarrow", _PURPOSE)
        if not self.types:
            raise ValueError(f"{self._first} has no lines of values, so there is nothing to convert")
        # A column without any value could be of any type; as text it can be read.
        types = {name: pyarrow.string() if pyarrow.types.is_null(self.types[name]) else self.types[name] for name in names}
        if not self.options.convert["strings_can_be_null"]:
            self.nullable -= {name for name, kind in types.items() if pyarrow.types.is_string(kind) and name not in self.given}
        return pyarrow.schema([(name, types[name]) for name in names])


def wider(pyarrow: Any, one: Any, other: Any) -> Any:
    """The pyarrow type that holds what two blocks were read as; text if they have nothing in common."""
    types = pyarrow.types
    if one is None or types.is_null(one) or one == other:
        return other
    if types.is_null(other):
        return one
    if {one, other} == {pyarrow.int64(), pyarrow.float64()}:
        return pyarrow.float64()
    if types.is_timestamp(one) and types.is_timestamp(other) and one.tz == other.tz:
        return max(one, other, key=lambda kind: ["s", "ms", "us", "ns"].index(kind.unit))
    if {str(one), str(other)} == {"date32[day]", "timestamp[s]"}:
        return pyarrow.timestamp("s")
    return pyarrow.string()


def open_text(path: str) -> Any:
    """The file's bytes, decompressed if its name ends in .gz, .bz2, .zst or the like."""
    return import_pyarrow("pyarrow", _PURPOSE).input_stream(path, compression="detect")


def header(file: IO[bytes], path: str, options: _Options) -> tuple[list[str], bytes]:
    """(column names, first bytes of the lines after them); leaves the file after those bytes."""
    head = file.read(options.block_bytes)
    if head.startswith(b"\xef\xbb\xbf"):
        head = head[3:]
    if options.names is not None:
        return options.names, head
    line, found, rest = head.partition(b"\n")
    if not line.strip():
        raise CorruptDataError(f"{path} starts with an empty line, expected column names")
    pyarrow = import_pyarrow("pyarrow", _PURPOSE)
    names = options.csv.read_csv(pyarrow.BufferReader(line + found), parse_options=options.parse()).column_names
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{path}: two columns are named {twice!r}; rename one, or pass column_names=")
    return list(names), rest


def blocks(file: IO[bytes], start: bytes, path: str, block_bytes: int) -> Iterator[bytes]:
    """The rest of the text, cut at line ends into blocks of about `block_bytes`."""
    kept = start
    while True:
        read = file.read(block_bytes)
        if not read:
            break
        cut = read.rfind(b"\n") + 1
        if cut == 0:
            kept += read
            if len(kept) > 64 * block_bytes:
                raise CorruptDataError(f"{path}: a line is longer than {64 * block_bytes} bytes")
            continue
        yield kept + read[:cut]
        kept = read[cut:]
    if kept.strip():
        yield kept


def _batches(paths: Sequence[str], options: _Options, schema: Any, names: list[str], use_threads: bool) -> Iterator[Any]:
    pyarrow = import_pyarrow("pyarrow", _PURPOSE)
    types = {field.name: field.type for field in schema}
    for path in paths:
        with reading(path), open_text(path) as file:
            _, lines = header(file, path, options)
            for block in blocks(file, lines, path, options.block_bytes):
                table = options.csv.read_csv(
                    pyarrow.BufferReader(block),
                    read_options=options.read(names, use_threads),
                    parse_options=options.parse(),
                    convert_options=options.converting(types, schema.names),
                )
                yield from table.to_batches()
