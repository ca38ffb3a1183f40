"""The C++ core. Calls that read, write or wait release the interpreter lock. Errors are the classes of headrace.errors."""

from collections.abc import Sequence
from os import PathLike
from typing import Any, final

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

@final
class Field:
    """One named part of a sample. Immutable; compares by value; picklable.

    kind: "tensor" (fixed shape), "ragged" (variable first dimension, `shape` are the others), "bytes", "string", "image".
    dtype: numpy's names ("float32", "datetime64[ns]", "S12", "U7" with 7 code points) and "bfloat16"; ignored for bytes, string, image.
    codec: "none", "lz4", "lz4hc", "zstd"; filter: "none", "shuffle", "delta", "delta+shuffle"; block_bytes 0: chosen by the writer.
    Raises ValueError for a combination that the format does not have, naming the field.
    """

    def __init__(
        self,
        name: str,
        kind: str = "tensor",
        dtype: str = "uint8",
        shape: Sequence[int] = (),
        nullable: bool = False,
        codec: str = "none",
        filter: str = "none",
        level: int | None = None,
        block_bytes: int = 0,
        metadata: str = "",
        dictionary: bool = False,
    ) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def nullable(self) -> bool: ...
    @property
    def codec(self) -> str: ...
    @property
    def filter(self) -> str: ...
    @property
    def level(self) -> int: ...
    @property
    def block_bytes(self) -> int: ...
    @property
    def metadata(self) -> str: ...
    @property
    def dictionary(self) -> bool:
        """Blocks are decoded with a trained Zstandard dictionary that each shard holds."""
    @property
    def itemsize(self) -> int: ...
    @property
    def row_bytes(self) -> int:
        """Bytes of a tensor sample, or of one inner sample of a ragged field; 1 for bytes, string and image."""

@final
class Schema:
    """The fields of a dataset, in order. container: "dict", "tuple" or "single"; metadata: JSON text or empty. Immutable, picklable."""

    def __init__(self, fields: Sequence[Field], container: str = "dict", metadata: str = "") -> None: ...
    @property
    def fields(self) -> list[Field]: ...
    @property
    def names(self) -> list[str]: ...
    @property
    def container(self) -> str: ...
    @property
    def metadata(self) -> str: ...
    def __len__(self) -> int: ...

@final
class DatasetWriter:
    """Streams rows into a new version of a dataset directory. See cpp/headrace/format/dataset_writer.h for memory and failure rules."""

    def __init__(
        self,
        path: str | bytes | PathLike[str],
        schema: Schema,
        *,
        append: bool = False,
        chunk_samples: int = 0,
        chunk_bytes: int = ...,
        shard_bytes: int = ...,
        threads: int = 0,
        auto_codec: Sequence[bool] = (),
    ) -> None: ...
    def extend(self, columns: Sequence[tuple[Buffer, npt.NDArray[np.uint64] | None, npt.NDArray[np.bool_] | None]], rows: int) -> None:
        """Copy `rows` rows in. One (values, offsets, valid) a field, in schema order.

        values: C-contiguous buffer; tensor: rows * row_bytes bytes; else all values, one after the other.
        offsets: shape (rows + 1,), in bytes into values, for kinds other than tensor. valid: shape (rows,), or None for all present.
        Raises ValueError naming field and row; the writer is then as before the call.
        """
    def commit(self) -> int:
        """Publish and return the new version's number."""
    def abort(self) -> None: ...
    def progress(self) -> dict[str, int]:
        """{"samples", "raw_bytes", "stored_bytes", "shards"}; callable from any thread."""
    @property
    def schema(self) -> Schema: ...
    @property
    def choices(self) -> list[dict[str, Any]]:
        """Of each field in `auto_codec`: {"field", "reason", "chosen" (index), "trials"}; empty until a chunk is full or commit().

        A trial: {"codec", "filter", "level", "dictionary", "block_bytes", "ratio", "decode_bytes_per_second" (one thread), "seconds_per_gb"}.
        """

@final
class Dataset:
    """One version of a dataset, opened for reading. Any thread may use it; after fork() the child re-opens what it needs.

    version 0 is the newest. reader: "mmap", "pread", "direct", "uring", or "auto" (mmap). verify: "once", "always", "never".
    share_group: share decoded blocks with the processes of this user that name the same group; None does not.
    """

    def __init__(
        self,
        path: str | bytes | PathLike[str],
        version: int = 0,
        *,
        reader: str = "auto",
        verify: str = "once",
        share_group: str | None = None,
    ) -> None: ...
    def __len__(self) -> int: ...
    @property
    def path(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def versions(self) -> list[int]: ...
    @property
    def uuid(self) -> str: ...
    @property
    def created_ns(self) -> int: ...
    @property
    def fingerprint(self) -> int:
        """Hash of this version's manifest: equal only for the same samples."""
    @property
    def schema(self) -> Schema: ...
    @property
    def reader(self) -> str:
        """The reader in use, after any fallback."""
    @property
    def node_stats(self) -> dict[str, Any] | None:
        """Of blocks shared by the processes of this machine, None without share_group: {"segments", "blocks": known; "shared_bytes": own; "hits"; "rejected";
        "peers": connected; "listens"}."""
    @property
    def reader_fallback(self) -> str:
        """Why `reader` is not the one asked for; empty if it is. Known once something was read."""
    @property
    def reader_reason(self) -> str:
        """Why reader="auto" chose `reader`; empty if the reader was named."""
    @property
    def newer_minor(self) -> bool: ...
    @property
    def shards(self) -> list[dict[str, Any]]:
        """One dict a shard: file_name, file_bytes, num_samples, chunk_samples, num_chunks (opens each shard's index)."""
    @property
    def chunk_layout(self) -> list[tuple[int, int]]:
        """(num_samples, chunk_samples) of each shard, as the window order takes them; of a view, as if its samples lay in one shard."""
    def view(
        self,
        fields: Sequence[int],
        length: int = 0,
        stride: int = 1,
        dtypes: Sequence[tuple[int, str]] = (),
        rows: npt.NDArray[np.int64] | None = None,
    ) -> Dataset:
        """The same rows delivered otherwise: sample i is the rows [i * stride, i * stride + length) (0: a row each), fields of other dtypes.

        rows: which of those samples, in what order (copied). Only `fields` may be delivered. A view of a view starts from the dataset. Raises
        ValueError naming field, dtypes and limits, IndexError for a row that is not there.
        """
    @staticmethod
    def concat(datasets: Sequence[Dataset]) -> Dataset:
        """The samples of datasets on disk, one after the other; their shards are opened anew. Raises ValueError for views, tables and other fields."""
    @staticmethod
    def zip(datasets: Sequence[Dataset]) -> Dataset:
        """Sample i is sample i of each; their fields one after the other, named "0.x", "1.x". Raises ValueError for a zip and for other lengths."""
    def field_stats(self) -> list[dict[str, Any]]:
        """One dict a field over all chunks: raw_bytes, stored_bytes, pages, blocks, null_count, min, max (None unless a scalar field)."""
    def chunk_stats(self, field: int) -> dict[str, npt.NDArray[Any]]:
        """Arrays over all chunks of the dataset: first_sample, num_samples, has_min_max, min, max, null_count, stored_bytes, raw_bytes."""
    def fetch(
        self,
        indices: npt.NDArray[np.int64],
        fields: Sequence[int],
        ragged: str = "offsets",
        images: Sequence[tuple[int, ImagePlan]] = [],
        seed: int = 0,
        epoch: int = 0,
    ) -> Batch:
        """Read samples, in this order, on the calling thread; images as in Pipeline. Raises IndexError for an index outside [0, len)."""

@final
class Batch:
    """Samples in one leased slab. Arrays made from it share the memory and keep it leased until the last of them dies."""

    def __len__(self) -> int: ...
    @property
    def indices(self) -> npt.NDArray[np.int64]:
        """The dataset's indices of the samples, shape (len,); a copy."""
    def is_there(self, field: int) -> bool:
        """Whether it holds the field's values: those that are counted are not there."""
    @property
    def step(self) -> int: ...
    @property
    def position(self) -> int:
        """Global position in the epoch after this batch: what a resumed run starts from."""
    @property
    def valid_samples(self) -> int:
        """How many of the samples, the first ones, are this rank's share of the epoch; the others repeat samples of its beginning."""
    @property
    def place(self) -> tuple[int, int, int]:
        """step, position and the number of skipped samples, in one call."""
    @property
    def skipped(self) -> list[tuple[int, str]]:
        """(index, reason) of samples that on_error left out of or replaced in this batch."""
    def is_padded(self, field: int) -> bool:
        """Whether a ragged field was delivered as one padded tensor. `field` counts the batch's fields, here and below."""
    def numpy(self, field: int) -> Any:
        """tensor: array (len, *shape), bfloat16 as uint16 bits. ragged, padded: array (len, longest, *shape); offsets: tuple (values, offsets)
        with offsets int64 (len + 1,) in inner samples. bytes, image: list of bytes; string: list of str (None where null)."""
    def texts(self, field: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """Strings or bytes as they lie: (values, offsets), the latter of shape (len + 1,); shares memory. A null one is empty."""
    def lengths(self, field: int) -> npt.NDArray[np.int64]:
        """Inner samples of each ragged value, shape (len,); shares memory."""
    def valid(self, field: int) -> npt.NDArray[np.bool_]:
        """True where the sample's value is present, shape (len,); shares memory. Nullable fields only."""
    def part(self, begin: int, end: int) -> Batch:
        """The same samples with the fields [begin, end) alone, over the same memory. Raises IndexError."""
    def dlpacks(self) -> tuple[Any, ...]:
        """The capsules of all fields' values, as dlpack() makes them."""
    def piece(self, most: int) -> Any:
        """A capsule over all bytes from the first tensor's to the last's, uint8 (n,), n a multiple of 16; None if there are none, several slabs, or more than `most`."""
    def dlpack(self, field: int, part: str = "values") -> Any:
        """A DLPack capsule ("dltensor") of part "values", "offsets", "lengths" or "valid"; shares memory. Dates arrive as int64."""
    @property
    def page_locked(self) -> bool:
        """Whether the slab is page-locked."""
    def lock_pages(self) -> bool:
        """Page-lock the slab (once a slab), for the CUDA device that is current on this thread. False if set_host_register() gave nothing, or it refuses."""

@final
class Order:
    """The order of an epoch as arithmetic: position -> sample. kind: "global", "window", "weighted" (needs `weights`; draws with replacement), "sequential".

    For "window", chunk_samples / shard_samples describe the chunks: every shard has `shard_samples[i]` samples in chunks of `chunk_samples[i]`.
    """

    def __init__(
        self,
        num_samples: int,
        seed: int,
        epoch: int,
        kind: str = "global",
        window: int = 32,
        shard_samples: Sequence[int] = (),
        chunk_samples: Sequence[int] = (),
        weights: AliasTable | None = None,
    ) -> None: ...
    def __len__(self) -> int: ...
    def indices(self, begin: int, end: int) -> npt.NDArray[np.int64]:
        """Samples at positions [begin, end), shape (end - begin,), int64."""

@final
class AliasTable:
    """Draws samples in proportion to weights: 8 bytes a weight. Immutable; picklable.

    weights: shape (n,), contiguous, float32 or float64, finite, not negative, not all 0; n from 1 to 2^31. `threads` of the pool help the calling
    thread; the table is the same for any number. Raises ValueError naming the first bad weight.
    """

    def __init__(self, weights: npt.NDArray[np.floating[Any]], threads: int = 0) -> None: ...
    def __len__(self) -> int: ...
    @property
    def fingerprint(self) -> int:
        """Equal for weights that differ by a common factor only, different for others."""
    def probabilities(self) -> npt.NDArray[np.float64]:
        """With which each sample is drawn, shape (n,): its weight's share, exact to 2^-32 / n."""

@final
class Mixture:
    """Several sources in fixed shares, as arithmetic: position -> sample. Immutable.

    sources: (begin, size, step, slots) each: samples begin, begin + step, ... of a dataset that holds all of them, `size` of them, drawn `slots` times in each
    cycle of all sources' slots (4096 at most), each once before any comes again. All slots 0: every sample once. Raises ValueError naming the source.
    """

    def __init__(self, sources: Sequence[tuple[int, int, int, int]]) -> None: ...
    def indices(self, seed: int, epoch: int, begin: int, end: int) -> npt.NDArray[np.int64]:
        """Samples at positions [begin, end), shape (end - begin,), int64."""

@final
class Strata:
    """The order of an epoch that gives each class its number of positions, as arithmetic: position -> sample. Immutable.

    classes: the class of each sample, shape (n,), uint32; quotas: positions of each class; block: positions [i * block, (i + 1) * block) hold each class in its
    share, rounded up or down; 0: the positions are in any order. Of a class with more samples than positions an epoch takes some, of one with fewer each as
    often as any other, to one. len(): positions. Raises ValueError naming the sample or class, LimitExceededError beyond 2^31.
    """

    def __init__(self, classes: npt.NDArray[np.uint32], quotas: Sequence[int], block: int = 0) -> None: ...
    def __len__(self) -> int: ...
    @property
    def fingerprint(self) -> int:
        """Equal for equal classes, quotas and blocks."""
    def next_use(self, seed: int, epoch: int, sample: int, begin: int = 0) -> int | None:
        """The first position from `begin` on at which a sample stands; None if there is none in this epoch."""
    def indices(self, seed: int, epoch: int, begin: int, end: int) -> npt.NDArray[np.int64]:
        """Samples at positions [begin, end), shape (end - begin,), int64."""

@final
class ClassCounts:
    """Counts the samples of each value of a label field, batch by batch. One thread at a time."""

    def __init__(self) -> None: ...
    def add(self, batch: Batch) -> None:
        """Count a batch whose first field is the label. Raises ValueError for a field that is no label and for null labels, LimitExceededError."""
    @property
    def counts(self) -> list[int]:
        """Samples of each class, in the order in which they were met."""
    def balanced(self, threads: int = 0) -> AliasTable:
        """Weigh every sample by 1 / (samples of its class)."""

@final
class Moments:
    """Count, mean, m2 and m3 (sums of (x - mean)^2 and ^3), min, max of columns. See cpp/headrace/statistics/moments.h. One thread at a time.

    Here and below: values are C-contiguous numbers of shape (rows, width), or (rows,) for width 1; valid is bool of shape (rows,) or (rows, width); threads
    are helpers from the pool. Raises ValueError for other shapes, TypeError for other dtypes. Pickles; __getstate__ is bytes.
    """

    def __init__(self, width: int) -> None: ...
    def update(self, values: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None = None, threads: int = 0) -> None: ...
    def merge(self, other: Moments) -> None: ...
    def add(self, batch: Batch, field: int, threads: int = 0) -> None:
        """As update() of the rows of a field that was counted. Raises ValueError unless the rows before end with a span, IndexError for another field."""
    @property
    def span_rows(self) -> int:
        """A power of two, at most 16384: batches that are counted are multiples of it."""
    def totals(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays of shape (width,): count, nulls, infinities (int64), mean, m2, m3, min, max (float64)."""
    @property
    def width(self) -> int: ...
    def __getstate__(self) -> bytes: ...
    def __setstate__(self, state: bytes) -> None: ...

@final
class ClassMoments:
    """Count and means of classes, and the scatter inside them. See cpp/headrace/statistics/class_moments.h. One thread at a time."""

    def __init__(self, width: int, classes: int) -> None: ...
    def update(
        self, values: npt.NDArray[Any], labels: npt.NDArray[np.int64] | None, valid: npt.NDArray[np.bool_] | None = None, threads: int = 0
    ) -> None: ...
    def merge(self, other: ClassMoments) -> None: ...
    def totals(self) -> dict[str, Any]:
        """count int64 (classes,), mean (classes, width), within (width, width), left_out int."""
    @property
    def width(self) -> int: ...
    @property
    def classes(self) -> int: ...
    def __getstate__(self) -> bytes: ...
    def __setstate__(self, state: bytes) -> None: ...

@final
class Quantiles:
    """A KLL sketch a column. See cpp/headrace/statistics/quantiles.h. One thread at a time."""

    def __init__(self, width: int, rank_error: float, seed: int) -> None: ...
    def update(self, values: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None = None, threads: int = 0) -> None: ...
    def merge(self, other: Quantiles) -> None: ...
    def quantiles(self, q: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Shape (len(q), width)."""
    def rank(self, column: int, values: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """How many values of a column are below each of `values`, and how many equal it."""
    def points(self, column: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Where a column's distribution function steps: values, ascending, and how many values are at most each."""
    @property
    def count(self) -> npt.NDArray[np.int64]: ...
    @property
    def width(self) -> int: ...
    @property
    def rank_error(self) -> float: ...
    @property
    def seed(self) -> int: ...
    @property
    def is_exact(self) -> bool: ...
    def __getstate__(self) -> bytes: ...
    def __setstate__(self, state: bytes) -> None: ...

@final
class Frequencies:
    """Counts of values. See cpp/headrace/statistics/frequencies.h. One thread at a time."""

    def __init__(self, limit: int) -> None: ...
    def update(self, values: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None = None) -> None: ...
    def update_texts(
        self, values: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], valid: npt.NDArray[np.bool_] | None = None
    ) -> None:
        """Text i is values[offsets[i]:offsets[i + 1]]. Raises ValueError where offsets fall or leave the values."""
    def merge(self, other: Frequencies) -> None: ...
    def items(self, most: int) -> tuple[npt.NDArray[Any] | list[bytes], npt.NDArray[np.int64]]: ...
    def keep_up_to(self, key: int) -> None:
        """Forget values whose keys (of uint64: the values) are above `key`, as if they had never been added. Raises ValueError for texts."""
    def __len__(self) -> int: ...
    @property
    def limit(self) -> int: ...
    @property
    def is_exact(self) -> bool: ...
    @property
    def error(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def nulls(self) -> int: ...
    def __getstate__(self) -> bytes: ...
    def __setstate__(self, state: bytes) -> None: ...

@final
class Distinct:
    """HyperLogLog. See cpp/headrace/statistics/distinct.h. One thread at a time."""

    def __init__(self, precision: int) -> None: ...
    def update(self, values: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None = None, threads: int = 0) -> None: ...
    def update_texts(
        self, values: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], valid: npt.NDArray[np.bool_] | None = None, threads: int = 0
    ) -> None: ...
    def merge(self, other: Distinct) -> None: ...
    @property
    def estimate(self) -> float: ...
    @property
    def relative_error(self) -> float: ...
    @property
    def precision(self) -> int: ...
    def __getstate__(self) -> bytes: ...
    def __setstate__(self, state: bytes) -> None: ...

def mix_rows(values: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None, hashes: npt.NDArray[np.uint64]) -> None:
    """hashes[i] becomes a hash of itself and of row i, in place; nulls and NaN are all alike."""

def mix_texts(
    values: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], valid: npt.NDArray[np.bool_] | None, hashes: npt.NDArray[np.uint64]
) -> None: ...
def repack_jpeg(encoded: bytes) -> bytes:
    """The same coefficients with the standard's tables and a restart marker a row of blocks, which decodes faster. Raises as ImagePlan.apply()."""

def encode_image(encoded: bytes, *, max_side: int = 0, quality: int = 90, pixels: bool = False) -> bytes:
    """An image anew: its longer side at most max_side (0: as it is), as JPEG or, with `pixels`, as binary PPM. Its orientation stays: as EXIF, or turned.

    Raises as ImagePlan.apply(); ValueError for a quality outside 1 to 100.
    """

def image_size(encoded: bytes) -> tuple[int, int]:
    """(width, height) as stored, from its header. Raises as ImagePlan.apply()."""

@final
class ImageMix:
    """MixUp and CutMix of a batch: choices are (kind, alpha, weight) with a kind of "none", "mixup" or "cutmix". Immutable; any thread. Raises ValueError."""

    def __init__(self, choices: Sequence[tuple[str, float, float]], num_classes: int) -> None: ...
    @property
    def num_classes(self) -> int: ...
    def draw(self, pass_key: int, key: int, *, height: int, width: int) -> tuple[str, float, tuple[int, int, int, int]]:
        """What a batch with these keys gets: (kind, share of its own image, box (x, y, width, height))."""

@final
class ImagePlan:
    """What becomes of an encoded image: headrace.images describes the steps. Immutable; any thread.

    Raises ValueError for a plan without one size, or a step or dtype that is not known.
    """

    def __init__(
        self,
        steps: Sequence[dict[str, Any]],
        *,
        dtype: str,
        channels_last: bool,
        scaled: bool,
        mean: Sequence[float],
        std: Sequence[float],
        exact: bool,
        exif: bool,
        reducing_gap: float,
        max_pixels: int,
    ) -> None: ...
    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    def field(self, field: Field) -> Field:
        """The field of such images, in place of one of encoded ones."""
    def apply(self, encoded: bytes, *, seed: int = 0, epoch: int = 0, sample: int = 0) -> npt.NDArray[Any]:
        """One image as a batch would hold it; bfloat16 as uint16. Raises CorruptDataError, TruncatedError, LimitExceededError, UnsupportedVersionError."""

@final
class FieldPlan:
    """What becomes of some fields: headrace.prep writes it. Immutable; any thread.

    inputs: (number of the field among those asked for, what it looks like, register). registers: (type, width), of "float32", "float64", "int64", "text".
    steps: "kind", "inputs", "output" (registers), and parameters: arrays of floats or integers, lists of texts.
    outputs: (register, field that is made), or (number of a field, None) for one that is delivered as it is.
    Raises ValueError naming the input, step or output that does not fit.
    """

    def __init__(
        self,
        inputs: Sequence[tuple[int, Field, int]],
        registers: Sequence[tuple[str, int]],
        steps: Sequence[dict[str, Any]],
        outputs: Sequence[tuple[int, Field | None]],
    ) -> None: ...
    @property
    def tile_rows(self) -> int:
        """Rows that are worked on at a time."""
    @property
    def texts(self) -> list[int]:
        """Numbers of the outputs that are texts which a step made."""
    def apply(
        self,
        inputs: Sequence[tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None, npt.NDArray[np.int64] | None]],
        rows: int,
        threads: int = 0,
    ) -> list[Any]:
        """Run it on arrays: for each input (values, valid, offsets), C-contiguous. New arrays, one an output; (values, valid, offsets) for texts.

        Raises ValueError naming the field.
        """

class Pipeline:
    """The engine behind a loader: plan -> read -> verify -> decode -> assemble -> deliver in order. One consumer at a time.

    Batches do not depend on num_threads, prefetch or reader. num_threads 0: everything runs inside next(), on the caller's thread.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        fields: Sequence[int],
        batch_size: int,
        drop_last: bool = False,
        drop_uneven: bool = False,
        rank: int = 0,
        world_size: int = 1,
        order: str = "sequential",
        window: int = 32,
        seed: int = 0,
        num_threads: int = 0,
        prefetch_batches: int = 0,
        prefetch_bytes: int = 0,
        ragged: str = "padded",
        on_error: str = "raise",
        weights: AliasTable | None = None,
        epoch_samples: int = 0,
        mixture: Mixture | None = None,
        strata: Strata | None = None,
        images: Sequence[tuple[int, ImagePlan]] = [],
        mix: tuple[int, int, ImageMix] | None = None,
        field_plan: FieldPlan | None = None,
        counted: Sequence[int] = [],
    ) -> None:
        """images: fields that are delivered as these plans make them, drawing from (seed, epoch, sample). mix: of these fields of images and labels.

        field_plan: what is delivered in place of `fields`. counted: outputs of it of which a batch holds what Moments.add() takes, and not the rows.
        """
    def set_mixture(self, mixture: Mixture) -> None:
        """Other shares of the same sources, from the next start() or replay() on. Raises ValueError."""
    def start(self, epoch: int, position: int = 0) -> None:
        """Begin a pass at a global position. Drops what an earlier pass had under way."""
    def start_listed(self, indices: npt.NDArray[np.int64], position: int = 0, epoch: int = 0) -> None:
        """Begin a pass over these indices (copied), cut by batch_size and drop_last, at a position in them. Raises ValueError, IndexError."""
    def start_fed(self, epoch: int = 0) -> None:
        """Begin a pass whose batches come from feed()."""
    def feed(self, indices: npt.NDArray[np.int64]) -> None:
        """Queue one batch of explicit indices. Never blocks."""
    def end_feed(self) -> None: ...
    def tune(self, threads: tuple[int, int], ahead: tuple[int, int]) -> None:
        """From now on choose threads and batches ahead between passes' batches, within (least, most) each; batches stay what they are.

        0 threads count only while all that is read is in memory. Raises ValueError for bounds that hold nothing, and for num_threads=0.
        """
    @property
    def ahead(self) -> int:
        """Batches kept under way now."""
    def next(self, timeout: float = 0.0) -> Batch | None:
        """The next batch in order, or None at the end of the pass. timeout in seconds, 0 waits for ever. Answers Ctrl-C within 50 ms.

        After an error the pass goes on with the following batch.
        """
    def is_ready(self) -> bool:
        """Whether next() has a batch, or the error of one, at once. Always False with num_threads=0."""
    def replay(self, epoch: int, step: int) -> Batch:
        """Build the batch of any step anew, on the calling thread, without disturbing the pass."""
    def replay_at(self, epoch: int, position: int) -> Batch:
        """The same of the batch that begins at a global position, whatever the sizes before it were. Raises ValueError."""
    def stats(self) -> dict[str, Any]: ...
    def stop(self) -> None:
        """End the pass; returns at once, running work is dropped when it ends."""

@final
class Verification:
    """A check of every byte of a dataset or shard, run by run() on the pool; progress from any thread."""

    def __init__(self, path: str | bytes | PathLike[str], version: int = 0, *, decode: bool = False, threads: int = 0) -> None: ...
    def run(self) -> dict[str, Any]:
        """{"shards", "chunks", "blocks", "bytes", "samples", "damages": [{"path", "chunk", "field", "offset", "bytes", "error", "message"}]}."""
    def progress(self) -> tuple[int, int]:
        """(bytes done, bytes in all)."""
    def cancel(self) -> None: ...

def list_directories(
    paths: Sequence[str | bytes | PathLike[str]], known: Sequence[tuple[int, int, int, int] | None], *, threads: int
) -> list[tuple[list[int], bytes, bytes, bool] | None]:
    """What directories hold, listed side by side: (identity, names of files, names of folders, whether that can be kept), names joined by "/".

    identity: device, inode, mtime and ctime in ns. known: identities of listings that could be kept; where it is still that, the answer is None.
    Links count as what they lead to. Raises NotFoundError, StorageError.
    """

def find_abandoned_files(path: str | bytes | PathLike[str], *, remove: bool = False) -> dict[str, Any]:
    """What dead writers left in a dataset directory: {"files": [(name, bytes)], "uncertain": [(name, bytes)], "writers": bool}.

    remove: remove "files", and nothing else. uncertain: temporary files whose writer cannot be seen from here, never removed. writers: a writer may
    live, so that shards that no manifest names are not looked at. Raises NotFoundError, StorageError, and what opening a damaged manifest raises.
    """

def make_files(schema: Schema, folder: str | bytes, names: Sequence[bytes], arrays: Sequence[npt.NDArray[Any]]) -> Dataset:
    """A dataset whose image field is a file a row, `names` below `folder`, read in place; the other fields are arrays, as in make_table()."""

def make_table(schema: Schema, parts: Sequence[Sequence[npt.NDArray[Any]]]) -> Dataset:
    """A dataset over arrays in memory, read in place and kept alive: parts one after the other, in each an array a field, first dimension rows.

    Only "tensor" fields without nulls; bfloat16 as 2-byte items. Row strides are free, the values of a row contiguous. Raises ValueError naming the field.
    """

def subset_table(table: Dataset, rows: npt.ArrayLike) -> Dataset:
    """The rows of a table in memory, in this order, repeats allowed; copies only the numbers. Raises IndexError, TypeError for shards."""

def gather_limit(columns: Sequence[npt.NDArray[Any]], order: npt.NDArray[np.int64], batch_size: int, threads: int) -> float:
    """Seconds that a bare C++ loop takes to copy rows in this order into one reused batch a thread: what a loader of them can reach at most."""

def widen_limit(values: npt.NDArray[np.uint16], starts: npt.NDArray[np.int64], length: int, batch_size: int, threads: int) -> float:
    """Seconds that a bare C++ loop takes to widen the windows [start, start + length) to int64, into one reused batch a thread."""

def copy_limit(bytes: int, piece_bytes: int, source_bytes: int, threads: int) -> float:
    """Seconds that copying `bytes` takes, in pieces into reused buffers, from sources of source_bytes, one a thread."""

def decode_rate(
    dataset: Dataset, field: int, indices: npt.ArrayLike, batch_size: int, threads: int = 1, with_filters: bool = False
) -> dict[str, float | int]:
    """Decode the blocks of `field` that hold `indices` in a bare loop over batches, each block once a batch: the limit of any loader.

    {"seconds", "decoded_bytes", "stored_bytes", "blocks"}. Lookups and checksums are not in the seconds. with_filters: revert filters too.
    Raises IndexError, ValueError, the errors of reading, and ValueError where the dataset is not mapped.
    """

def cut_by_longest(lengths: npt.NDArray[np.uint64], budget: int, ranks: int) -> npt.NDArray[np.int64]:
    """Cut samples, shortest first, into groups of `ranks` batches of as many each: how many, int64. Samples times a group's longest is at most budget.
    Fewer than `ranks` samples are left at the end. Raises ValueError for lengths that are not ascending, or beyond the budget."""

def pack_best_fit(lengths: npt.NDArray[np.uint64], capacity: int) -> npt.NDArray[np.int64]:
    """Put samples, longest first, into bins, each into the fullest one that has room: the bin of each, int64. Raises ValueError as cut_by_longest()."""

def set_cache_bytes(count: int | None) -> None:
    """Bound the cache of decoded blocks that all loaders of the process share, in bytes; blocks go until the rest fits. 0 keeps none.

    None, the start: each dataset brings 32 MiB, or half the prefetch_bytes of its loader, while it lives; a fourth of the memory at most.
    Children forked afterwards start with the same bound and an empty cache. Raises ValueError unless 0 <= count < 2**48.
    """

def chosen_cache_bytes() -> int | None:
    """What set_cache_bytes() was last given in this process or its parents."""

def cache_stats() -> dict[str, int]:
    """The cache of decoded blocks: {"bytes", "capacity_bytes", "blocks", "hits", "misses", "evictions", "refusals", "failures"}.

    refusals: blocks not taken in, since all others are wanted sooner. failures: allocations that the system refused; each halved the capacity.
    """

def num_threads() -> int:
    """Most threads of the process's pool."""

def running_threads() -> int:
    """Threads of the pool that exist now."""

def set_num_threads(count: int) -> None: ...
def end_by_word_of(maker: int) -> None: ...
def end_with_parent() -> bool: ...
def set_host_register(lock: int, unlock: int, clear_error: int = 0, get_device: int = 0, set_device: int = 0) -> None:
    """Addresses of cudaHostRegister, cudaHostUnregister, cudaGetLastError, cudaGetDevice and cudaSetDevice; 0 for none."""

def build_info() -> dict[str, Any]: ...
def available_memory_bytes() -> int: ...
def xxh3_64(data: Buffer, seed: int = 0) -> int: ...
def validate_utf8(data: Buffer) -> int:
    """Offset of the first byte that is not UTF-8, or -1."""

def read_benchmark(
    paths: Sequence[str | bytes | PathLike[str]],
    *,
    block_bytes: int,
    depth: int,
    reader: str,
    random: bool,
    seconds: float,
    threads: int = 1,
    seed: int = 0,
    loop: bool = False,
) -> dict[str, Any]:
    """Reads whole blocks of files with `depth` reads in flight a thread, at most `seconds` long; without `loop`, at most each block once.

    random: a keyed permutation of all blocks of all files, by `seed`; else their order. reader: "mmap", "pread", "direct", "uring".
    Answers bytes, operations, blocks (in the files), seconds, latency_seconds (p50, p90, p99, p99.9, max), latency_counts (nanoseconds, to
    1.6 % -> reads; those of several runs may be added), device_bytes (what the kernel read from devices for this process meanwhile, or
    None), reader (what served), fallback (why, if another).
    Raises ValueError (an option), NotFoundError, StorageError, TruncatedError, MemoryError. Ctrl-C ends it.
    """
