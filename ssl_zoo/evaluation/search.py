"""Exact search for the rows of a bank that are most similar to queries, block by block."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from ssl_zoo.evaluation.rows import top_k, unit_rows
from ssl_zoo.hardware import has_native_bf16

DIVERGED = -2.0  # similarity to a row that is not finite: below every cosine
OWN = -3.0  # even lower, so that a row finds itself only after all others
_CHUNK_FLOATS = 2**24  # one block of similarities is at most 64 MB
_BLOCK = 2**16  # rows of the bank that are searched at once
_ON_GPU = 8  # times as many similarities at once: smaller products leave it idle
_COARSE_FROM = 2**12  # rows of a bank for which candidates in bfloat16 pay
_MOST = 4  # groups with candidates, times k: with more, all rows are compared as fast
_ROUNDING = 2.0**-8  # of bfloat16, relative


@dataclass
class _Block:
    """Rows of the bank, arranged so that groups of neighbours are compared by one `amax`.

    Group s has the rows s G to s G + G - 1; row g of each group is in part g of `columns`.

    Attributes:
        rows: (M, D), of length 1; zeros where a row is not finite.
        first: Number of the block's first row in the bank.
        group: G.
        lost: Places in `columns` of those that are not finite.
    """

    rows: Tensor
    first: int
    group: int
    lost: Tensor

    @property
    def size(self) -> int:
        """M."""
        return len(self.rows)

    @property
    def num_groups(self) -> int:
        """S."""
        return -(-self.size // self.group)

    @cached_property
    def columns(self) -> Tensor:
        """(D, G * S), part after part; zeros for the rows that are missing in the last group."""
        return _arranged(self.rows, self.group).T.contiguous()

    def similarity(self, queries: Tensor, own: Tensor | None, out: Tensor) -> Tensor:
        """(n, G, S), in the memory of `out`; `own` (n,) are the queries' numbers in the bank."""
        similarity = torch.mm(queries, self.columns, out=out)
        if len(self.lost):
            similarity[:, self.lost] = DIVERGED
        if own is not None:
            inside = own - self.first
            mine = ((inside >= 0) & (inside < self.size)).nonzero().flatten()
            inside = inside[mine]
            place = inside % self.group * self.num_groups + inside // self.group
            similarity[mine, place] = OWN
        parts = similarity.view(len(queries), self.group, self.num_groups)
        self.hide_missing(parts)
        return parts

    def hide_missing(self, parts: Tensor) -> None:
        """Put the rows that fill up the last group below all others, in place."""
        if missing := -self.size % self.group:
            parts[:, self.group - missing :, -1] = -torch.inf


def _arranged(rows: Tensor, group: int) -> Tensor:
    """(M, D) -> (G * S, D), zeros for what is missing in the last group."""
    missing = -len(rows) % group
    if missing:
        rows = torch.cat([rows, rows.new_zeros(missing, rows.shape[1])])
    parts: Tensor = rows.unflatten(0, (-1, group)).transpose(0, 1)
    return parts.flatten(0, 1)


def _places(lost: Tensor, group: int) -> Tensor:
    """Where rows (M,) that are not finite are among the arranged ones."""
    return _arranged(lost[:, None], group).flatten().nonzero().flatten()


def _best_groups(parts: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Values (n, k * G) and numbers of the rows of the k groups with the largest maxima.

    The k largest of all rows are among them: any other row is below k maxima, or equals some of
    them and comes later. Rows are in the order of the bank.
    """
    group = parts.shape[1]
    index = top_k(parts.amax(1), k)[1].sort(1).values
    value = parts.gather(2, index[:, None].expand(-1, group, -1)).transpose(1, 2).flatten(1)
    return value, index


def _largest(parts: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of (n, G, S), descending: values and numbers, two (n, k).

    Args:
        parts: (n, G, S).
        k: At most the number of rows.
    """
    group, num_groups = parts.shape[1:]
    if group == 1:
        return top_k(parts[:, 0], k)
    if 2 * k > num_groups:  # most groups would be among the best
        return top_k(parts.transpose(1, 2).flatten(1), k)
    value, groups = _best_groups(parts, k)
    value, place = top_k(value, k)
    return value, groups.gather(1, place // group) * group + place % group


_Search = Callable[[_Block, Tensor, int, Tensor | None], tuple[Tensor, Tensor]]


class Bank:
    """Rows to search in, by cosine similarity in float32 or wider; ties go to the first rows.

    Where bfloat16 is native, candidates are found in it and then compared exactly. A bound on its
    rounding shows for each query whether a row that is no candidate could be among the k nearest;
    if so, that query is searched in float32. So the answer is the same.

    Args:
        rows: (M, D), any float type; L2-normalised here.
        k: How many are usually to be found.
        coarse: Whether candidates are found in bfloat16; None = where it is native and pays.
    """

    def __init__(self, rows: Tensor, k: int, coarse: bool | None = None) -> None:
        unit = unit_rows(rows)
        lost = ~unit.sum(1).isfinite()  # several times faster than one by one
        if any_lost := bool(lost.any()):
            unit = unit.masked_fill(lost[:, None], 0)
        # The number of groups and that of the rows of the best k groups are then alike.
        group = 2 ** max(0, round(math.log2(min(len(unit), _BLOCK) / k) / 2))
        group = group if group >= 4 else 1
        size = -(-len(unit) // -(-len(unit) // _BLOCK))  # all blocks alike
        self.blocks = [
            _Block(part, i * size, group, _places(gone, group))
            for i, (part, gone) in enumerate(zip(unit.split(size), lost.split(size), strict=True))
        ]
        if coarse is None:
            coarse = len(unit) >= _COARSE_FROM and group > 1 and has_native_bf16(unit.device)
        usable = coarse and not any_lost and unit.dtype == torch.float32
        self.coarse = _Coarse(unit, self.blocks) if usable else None
        self._memory = unit.new_empty(0)

    @property
    def at_once(self) -> int:
        """How many queries to hand to `nearest` in one call."""
        block = self.blocks[0]  # none is larger
        floats = _CHUNK_FLOATS * (_ON_GPU if block.rows.is_cuda else 1)
        held = floats if self.coarse is None else 2 * floats  # bfloat16 is half as large
        return max(1, held // (block.group * block.num_groups))

    def nearest(self, queries: Tensor, k: int, own: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Similarity and number of the k nearest rows, nearest first: two (n, k).

        Args:
            queries: (n, D), any float type.
            k: At most M, M - 1 with `own`.
            own: (n,) int64, the queries' own rows in the bank, which come last.
        """
        unit = unit_rows(queries)
        lost = ~unit.sum(1).isfinite()
        if not lost.any():
            return self._search(unit, k, own)
        value, index = self._search(unit.masked_fill(lost[:, None], 0), k, own)
        first = torch.arange(k, device=index.device).expand(int(lost.sum()), -1)
        value[lost] = DIVERGED
        index[lost] = first if own is None else first + (first >= own[lost, None])
        return value, index

    def _search(self, queries: Tensor, k: int, own: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.coarse is None or any(2 * k > block.num_groups for block in self.blocks):
            return self._merged(self._exact, queries, k, own)
        few = torch.ones(len(queries), dtype=torch.bool, device=queries.device)
        value, index = self._merged(partial(self.coarse.nearest, few=few), queries, k, own)
        if not few.all():
            rest = (~few).nonzero().flatten()
            own = None if own is None else own[rest]
            value[rest], index[rest] = self._merged(self._exact, queries[rest], k, own)
            if 4 * len(rest) > len(queries):  # the rows are too alike for bfloat16
                self.coarse = None
        return value, index

    def _merged(
        self, search: _Search, queries: Tensor, k: int, own: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """A running top k over the blocks."""
        value = queries.new_empty(len(queries), 0)
        index = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
        for block in self.blocks:
            new = search(block, queries, min(k, block.size), own)
            value = torch.cat([value, new[0]], dim=1)
            index = torch.cat([index, new[1] + block.first], dim=1)
            if block.first:  # those of earlier blocks come first, so that ties stay in order
                value, place = top_k(value, min(k, value.shape[1]))
                index = index.gather(1, place)
        return value, index

    def _exact(
        self, block: _Block, queries: Tensor, k: int, own: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        # The same memory each time: the system clears new memory, a quarter of a product's time.
        size = len(queries) * block.group * block.num_groups
        if self._memory.numel() < size or self._memory.dtype != queries.dtype:
            self._memory = queries.new_empty(size)
        out = self._memory[:size].view(len(queries), -1)
        return _largest(block.similarity(queries, own, out), k)


class _Coarse:
    """Finds in bfloat16 which rows may be among the nearest, so that only those are compared.

    The bank's mean is subtracted first: it adds the same to all similarities of a query, so the
    order stays, and shorter rows have smaller rounding errors.
    """

    def __init__(self, unit: Tensor, blocks: Sequence[_Block]) -> None:
        self.mean = unit.mean(0)
        centred = unit - self.mean
        coarse = centred.bfloat16()
        rounded = coarse.float()
        self.longest = float(rounded.norm(dim=1).max())
        self.error = float(rounded.sub_(centred).norm(dim=1).max())
        self.rows = {
            block.first: _arranged(coarse[block.first : block.first + block.size], block.group)
            for block in blocks
        }

    def nearest(
        self, block: _Block, queries: Tensor, k: int, own: Tensor | None, few: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The k nearest of those queries for which few rows can be: two (n, k).

        `few` (n,) is set to False, in place, for the others, whose rows here mean nothing.
        The k-th largest maximum of a group is a bound below on the k-th largest of all, so a row
        that is less by twice the rounding error is none of the k nearest.
        """
        rounded = queries.bfloat16()
        with _full_accumulation():
            product = rounded @ self.rows[block.first].T
        parts = product.view(len(queries), block.group, block.num_groups)
        block.hide_missing(parts)
        parts = parts.view(torch.int16)  # of numbers above 0 the same order, compared faster
        best = parts.amax(1)
        own_too = k if own is None else k + 1
        bound = best.topk(own_too, sorted=False).values.amin(1).view(torch.bfloat16).float()
        least = (bound - 2 * self._error(queries, rounded, bound)) * (1 - _ROUNDING)
        floor = least.bfloat16().view(torch.int16)
        groups = best >= floor[:, None]
        few &= (least > 0) & (groups.sum(1) <= _MOST * k)
        query, group = (groups & few[:, None]).nonzero().T
        candidate = parts[query, :, group] >= floor[query, None]
        one, place = candidate.nonzero().T
        row = group[one] * block.group + place
        count = query[one].bincount(minlength=len(queries))
        mine = None if own is None else own - block.first
        return _compared(queries, block.rows, count, row, k, mine)

    def _error(self, queries: Tensor, rounded: Tensor, value: Tensor) -> Tensor:
        """A bound on the difference of rounded rows' products up to `value` from the rows': (n,).

        It is at most |q' - q| |b'| + |q| |b' - b|, and the rounding of the product itself.
        """
        error: Tensor = (rounded.float() - queries).norm(dim=1) * self.longest
        error += 1.001 * self.error
        error += 2 * _ROUNDING * value.abs()  # of the product to bfloat16: half a unit, twice
        return error + 1.1 * queries.shape[1] * 2.0**-23 * self.longest + 1e-5  # of float32 sums


def _compared(
    queries: Tensor, rows: Tensor, count: Tensor, row: Tensor, k: int, own: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Of each query's candidates the k nearest in float32: values and numbers, two (m, k).

    Args:
        queries: (m, D).
        rows: (M, D).
        count: (m,), candidates of each query, k at least.
        row: Their numbers, query after query, each query's ascending.
        k: How many.
        own: (m,), the queries' own rows, which come last.
    """
    first = count.cumsum(0) - count
    product = _products(queries, rows, torch.cat([first, first.new_tensor([len(row)])]), row)
    query = torch.arange(len(queries), device=row.device).repeat_interleave(count)
    place = torch.arange(len(row), device=row.device) - first[query]
    shape = (len(queries), max(k, int(count.max())))
    value, index = product.new_full(shape, -torch.inf), row.new_full(shape, -1)
    value[query, place], index[query, place] = product, row
    if own is not None:
        value = value.masked_fill(index == own[:, None], OWN)
    value, place = top_k(value, k)
    return value, index.gather(1, place)


def _products(queries: Tensor, rows: Tensor, ends: Tensor, row: Tensor) -> Tensor:
    """Of each query with the rows numbered `row[ends[i]:ends[i + 1]]`, one after the other.

    Pair by pair, no matrix product: so equal rows have equal products, wherever they are.
    """
    shape, none = (len(queries), len(rows)), rows.new_zeros(len(row))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse (CSR tensor support|invariant checks)")
        pairs = torch.sparse_csr_tensor(ends, row, none, shape, check_invariants=False)
        products: Tensor = torch.sparse.sampled_addmm(pairs, queries, rows.T, beta=0).values()
    return products


@contextmanager
def _full_accumulation() -> Iterator[None]:
    """CuBLAS may otherwise round partial sums to bfloat16, which no bound here knows of."""
    options = torch.backends.cuda.matmul
    before = options.allow_bf16_reduced_precision_reduction
    options.allow_bf16_reduced_precision_reduction = False
    try:
        yield
    finally:
        options.allow_bf16_reduced_precision_reduction = before
