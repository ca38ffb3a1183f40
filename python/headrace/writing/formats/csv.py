"""CSV files by pyarrow, in two passes over bounded blocks: the first learns types and nulls from all of the data, the second writes.

One pass could only guess: a column of whole numbers may turn out to have a fraction, a word or nothing in its last line.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO, Any

from headrace.errors import CorruptDataError
from headrace.writing.arrow import ArrowBatches
from headrace.writing.batches import Source, take_fields
from headrace.writing.formats.csv_integers import WideIntegers
from headrace.writing.formats.csv_lines import CsvText
from headrace.writing.formats.tables import Scanned, import_pyarrow, reading

__all__ = ["csv_source"]

_BLOCK_BYTES = 16 << 20
_COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}
_LINE_BLOCKS = 16  # a line is at most so many blocks
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
    encoding: str = "utf-8",
    block_bytes: int = _BLOCK_BYTES,
    scanned: Scanned | None = None,
) -> Source:
    """A column a field, with the narrowest type that all its values have; nullable if a value is missing. Whole numbers beyond int64 become uint64,
    or text where that does not hold them all: none is rounded.

    delimiter: "," or, for .tsv, a tab. column_names: for files without a header line. column_types: pyarrow types or their names ("uint64",
    "timestamp[ms]", "binary"), instead of looking.
    null_values: texts that mean missing, pyarrow's by default ("", "NA", "null", ...); in text columns only with `strings_can_be_null`.
    encoding: of the text, any that Python knows. Quoted values may hold line breaks.
    Raises CorruptDataError naming the file for lines of another length, quotes that are never closed, and text of another encoding.
    """
    first = paths[0].lower().removesuffix(".gz").removesuffix(".bz2").removesuffix(".zst")
    options = _Options(
        delimiter=("\t" if first.endswith((".tsv", ".tab")) else ",") if delimiter is None else delimiter,
        names=column_names,
        null_values=null_values,
        strings_can_be_null=strings_can_be_null,
        encoding=encoding,
        block_bytes=block_bytes,
    )
    scan = _Scan(options, {name: _type_of(name, kind) for name, kind in (column_types or {}).items()}, fields)
    total = sum(map(os.path.getsize, paths))
    before = 0
    for path in paths:
        for done in scan.look_through(path, threads != 1):
            if scanned is not None:
                scanned(before + done, total, "bytes scanned")
        before += os.path.getsize(path)
    schema = scan.schema()
    return CsvSource(_batches(paths, options, schema, scan.names, threads != 1), schema, scan.nullable, scan.rows)


def _type_of(name: str, kind: Any) -> Any:
    if not isinstance(kind, str):
        return kind
    try:
        return import_pyarrow("pyarrow", _PURPOSE).type_for_alias(kind)
    except ValueError:
        raise ValueError(
            f"column_types gives {name!r} the type {kind!r}, which pyarrow does not know; common ones are int64, uint64, double, bool, string, "
            "binary, date32, timestamp[ms]"
        ) from None


class CsvSource(ArrowBatches):
    """Rows of the second pass."""

    def __init__(self, batches: Iterator[Any], schema: Any, nullable: set[str], rows: int) -> None:
        super().__init__(batches, schema, fields=None, nullable=nullable, total=rows)


class _Options:
    """How the text is read, for both passes."""

    def __init__(
        self,
        *,
        delimiter: str,
        names: Sequence[str] | None,
        null_values: Sequence[str] | None,
        strings_can_be_null: bool,
        encoding: str,
        block_bytes: int,
    ) -> None:
        if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n':
            raise ValueError(f"delimiter is {delimiter!r}; expected one ASCII character that is no quote and no line break")
        self.csv = import_pyarrow("pyarrow.csv", _PURPOSE)
        self.delimiter = delimiter
        self.names = list(names) if names is not None else None
        self.block_bytes = block_bytes
        try:
            self.encoding = codecs.lookup(encoding).name
        except LookupError:
            raise ValueError(
                f"encoding is {encoding!r}, which Python does not know; common ones are utf-8, latin-1, cp1252, utf-16"
            ) from None
        self.convert: dict[str, Any] = {"strings_can_be_null": strings_can_be_null}
        if null_values is not None:
            self.convert["null_values"] = list(null_values)

    def parse(self) -> Any:
        """pyarrow's ParseOptions."""
        return self.csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True)

    def table(self, block: bytes, names: list[str], chosen: list[str], types: dict[str, Any], use_threads: bool) -> Any:
        """The lines of a block as a pyarrow table of the chosen columns. `names` are those of all columns."""
        return self.csv.read_csv(
            import_pyarrow("pyarrow", _PURPOSE).BufferReader(block),
            read_options=self.csv.ReadOptions(column_names=names, block_size=len(block), use_threads=use_threads),
            parse_options=self.parse(),
            convert_options=self.csv.ConvertOptions(column_types=types, include_columns=chosen, **self.convert),
        )


class _Scan:
    """What the first pass learns."""

    def __init__(self, options: _Options, types: dict[str, Any], fields: Sequence[str] | None) -> None:
        self.options = options
        self.given = types
        self.names: list[str] = []
        self.chosen: list[str] = []
        self.types: dict[str, Any] = {}
        self.nullable: set[str] = set()
        self.rows = 0
        self._wide = WideIntegers()
        self._fields = fields
        self._first = ""

    def look_through(self, path: str, use_threads: bool) -> Iterator[int]:
        """Learn from one file, block by block; yields the bytes of it that were read."""
        with reading(path), open_text(path, self.options) as (file, position):
            names, lines = header(file, path, self.options)
            if not self.names:
                self._begin(names, path)
            elif names != self.names:
                raise ValueError(f"{path} has the columns {names}, but {self._first} has {self.names}; convert them separately")
            for block in blocks(file, lines, path, self.options):
                self._learn(block, path, use_threads)
                yield position()

    def _begin(self, names: list[str], path: str) -> None:
        self.names, self._first = names, path
        self.chosen = take_fields(names, self._fields)
        if "" in self.chosen:
            raise ValueError(
                f"{path}: column {names.index('') + 1} has no name; choose the others with fields=[...], or pass column_names="
            )
        unknown = [name for name in self.given if name not in names]
        if unknown:
            raise ValueError(f"column_types names {unknown[0]!r}, which is none of {names}")

    def _learn(self, block: bytes, path: str, use_threads: bool) -> None:
        pyarrow = import_pyarrow("pyarrow", _PURPOSE)
        given = {name: kind for name, kind in self.given.items() if name in self.chosen}
        table = self.options.table(block, self.names, self.chosen, given, use_threads)
        self.rows += table.num_rows
        for name, column in zip(self.chosen, table.columns, strict=True):
            if pyarrow.types.is_binary(column.type) and name not in self.given:
                raise CorruptDataError(
                    f"{path}: column {name!r} is not UTF-8; say encoding= (often latin-1 or cp1252), "
                    f"or column_types={{{name!r}: 'binary'}} to keep the bytes"
                )
            if name not in self.given:
                self._look_at_integers(block, name, column)
            self.types[name] = wider(pyarrow, self.types.get(name), column.type)
            if column.null_count:
                self.nullable.add(name)

    def _look_at_integers(self, block: bytes, name: str, column: Any) -> None:
        pyarrow = import_pyarrow("pyarrow", _PURPOSE)
        if column.type == pyarrow.int64():
            self._wide.see_integers(name, column.drop_null().to_numpy())
        elif column.type == pyarrow.float64():
            texts = None
            if self._wide.suspect(column.drop_null().to_numpy()):
                texts = self.options.table(block, self.names, [name], {name: pyarrow.string()}, False).column(0)
                texts = texts.filter(column.is_valid())  # as the first reading found, whatever the options say of texts
            self._wide.see_floats(name, texts)

    def schema(self) -> Any:
        """The pyarrow schema of the chosen columns."""
        pyarrow = import_pyarrow("pyarrow", _PURPOSE)
        if not self.types:
            raise ValueError(f"{self._first} has no lines of values, so there is nothing to convert")
        # A column without any value could be of any type; as text it can be read.
        types = {name: pyarrow.string() if pyarrow.types.is_null(self.types[name]) else self.types[name] for name in self.chosen}
        floats = [name for name, kind in types.items() if kind == pyarrow.float64() and name not in self.given]
        types.update({name: self._wide.type_of(pyarrow, name) for name in floats})
        if not self.options.convert["strings_can_be_null"]:
            self.nullable -= {name for name, kind in types.items() if pyarrow.types.is_string(kind) and name not in self.given}
        return pyarrow.schema(list(types.items()))


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


@contextmanager
def open_text(path: str, options: _Options) -> Iterator[tuple[Any, Callable[[], int]]]:
    """(the file as UTF-8, decompressed if its name ends in .gz, .bz2, .zst or .lz4; what says how many of its bytes were read)."""
    pyarrow = import_pyarrow("pyarrow", _PURPOSE)
    with ExitStack() as stack:
        stored = file = stack.enter_context(pyarrow.OSFile(path))
        codec = _COMPRESSIONS.get(os.path.splitext(path.lower())[1])
        if codec is not None:
            file = stack.enter_context(pyarrow.CompressedInputStream(file, codec))
        if options.encoding != "utf-8":
            file = pyarrow.transcoding_input_stream(file, options.encoding, "utf-8")
        try:
            yield file, stored.tell
        except UnicodeDecodeError as error:
            raise CorruptDataError(f"{path} is not {options.encoding} text: {error.reason}; say encoding=") from error


def header(file: IO[bytes], path: str, options: _Options) -> tuple[list[str], bytes]:
    """(column names, first bytes of the lines after them); leaves the file after those bytes."""
    head = file.read(options.block_bytes)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise CorruptDataError(f"{path} is UTF-16 text; say encoding='utf-16'")
    if head.startswith(b"\xef\xbb\xbf"):
        head = head[3:]
    if options.names is not None:
        return options.names, head
    line_end = CsvText(head, options.delimiter).first_end() or len(head)
    if not head[:line_end].strip():
        raise CorruptDataError(f"{path} starts with an empty line, expected column names" if head else f"{path} is empty")
    pyarrow = import_pyarrow("pyarrow", _PURPOSE)
    names = options.csv.read_csv(pyarrow.BufferReader(head[:line_end]), parse_options=options.parse()).column_names
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{path}: two columns are named {twice!r}; rename one, or pass column_names=")
    return list(names), head[line_end:]


def blocks(file: IO[bytes], start: bytes, path: str, options: _Options) -> Iterator[bytes]:
    """The rest of the text, cut at line ends into blocks of about `block_bytes`."""
    kept = start
    while True:
        end = CsvText(kept, options.delimiter).last_end()
        if end:
            yield kept[:end]
            kept = kept[end:]
        elif len(kept) > _LINE_BLOCKS * options.block_bytes:
            problem = f"a line is longer than {_LINE_BLOCKS * options.block_bytes} bytes"
            raise CorruptDataError(f"{path}: {_unclosed(kept, options) or problem}")
        read = file.read(options.block_bytes)
        if not read:
            break
        kept += read
    if problem := _unclosed(kept, options):
        raise CorruptDataError(f"{path}: {problem}")
    if kept.strip():
        yield kept


def _unclosed(text: bytes, options: _Options) -> str:
    begin = CsvText(text, options.delimiter).unclosed
    return "" if begin is None else f"the quoted value that begins with {begin.decode(errors='replace')!r} is never closed"


def _batches(paths: Sequence[str], options: _Options, schema: Any, names: list[str], use_threads: bool) -> Iterator[Any]:
    types = {field.name: field.type for field in schema}
    for path in paths:
        with reading(path), open_text(path, options) as (file, _):
            _, lines = header(file, path, options)
            for block in blocks(file, lines, path, options):
                yield from options.table(block, names, schema.names, types, use_threads).to_batches()
