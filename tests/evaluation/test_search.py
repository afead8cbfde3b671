"""The nearest rows of a bank, in groups, blocks and bfloat16, against the whole matrix."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from helpers.tiers import only
from ssl_zoo.evaluation import knn_predict, retrieval_metrics, search
from ssl_zoo.evaluation.rows import unit_rows
from ssl_zoo.evaluation.search import Bank


def whole(queries: Tensor, bank: Tensor, k: int, own: Tensor | None = None) -> Tensor:
    """Indices by one stable sort of all similarities in float64, equal rows by index."""
    similarity = unit_rows(queries.double()) @ unit_rows(bank.double()).T
    similarity = similarity.nan_to_num(nan=-2.0).mul(1e9).round()  # equal rows are equal
    if own is not None:
        similarity[torch.arange(len(queries)), own] = -3e9
    return similarity.sort(dim=1, descending=True, stable=True).indices[:, :k]


def problem(kind: str) -> Tensor:
    """6,000 rows and more of 24 features."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6001, 24, generator=generator)
    if kind == "duplicates":  # each row about eight times, in any places
        return x[torch.randint(750, (6001,), generator=generator)]
    if kind == "alike":  # cosines that bfloat16 cannot tell apart
        return 1 + 1e-3 * x
    if kind == "one direction":  # a common part that would fill bfloat16's digits
        return x + 5
    if kind == "diverged":
        x[::97] = torch.nan
        x[5, 3] = torch.inf
    if kind == "small numbers":  # exact ties of whole numbers, and rows of zeros
        return torch.randint(-1, 2, (6001, 4), generator=generator).float()
    return x


KINDS = ["plain", "duplicates", "alike", "one direction", "diverged", "small numbers"]


@pytest.mark.parametrize("coarse", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("kind", only(["duplicates", "diverged"], KINDS))
def test_equal_to_a_sort_of_the_whole_matrix(
    kind: str, coarse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = problem(kind)
    queries, own = x[:70], torch.arange(70)
    # float32 itself cannot order what differs by less than its rounding
    exact = x.double() if kind == "alike" and not coarse else x
    for block in (2**16, 2500):  # one block, and three with a running top k
        monkeypatch.setattr(search, "_BLOCK", block)
        for k in (1, 60, 3000):
            for me in (None, own):
                bank = Bank(exact, k, coarse)
                value, index = bank.nearest(queries.to(exact.dtype), k, me)
                expected = whole(queries, x, k, me)
                similarity = unit_rows(queries.double()) @ unit_rows(x.double()).T
                similarity = similarity.nan_to_num(nan=-2.0)
                if k == 3000 or kind in ("alike", "one direction"):  # up to float32's rounding
                    a, b = (similarity.gather(1, i) for i in (index, expected))
                    torch.testing.assert_close(a, b, rtol=0, atol=5e-7)
                else:
                    assert torch.equal(index, expected), (block, k, me is None)
                if me is None:
                    found = similarity.gather(1, index)
                    torch.testing.assert_close(value.double(), found, rtol=0, atol=1e-6)


def test_candidates_are_used_where_they_are_sure_and_dropped_where_not() -> None:
    x = problem("plain")
    bank = Bank(x, 9, coarse=True)
    assert bank.coarse is not None
    few = torch.ones(200, dtype=torch.bool)
    bank.coarse.nearest(bank.blocks[0], unit_rows(x[:200]), 9, None, few)
    assert few.double().mean() > 0.9
    bank.nearest(x[:200], 9)
    assert bank.coarse is not None
    alike = Bank(problem("alike").sign(), 9, coarse=True)  # all rows are equal
    alike.nearest(problem("alike")[:200].sign(), 9)
    assert alike.coarse is None


def test_predictions_are_the_same_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = problem("one direction"), torch.arange(6001) % 7
    expected = knn_predict(x[:300], x, y, 7, k=50).argmax(1)
    monkeypatch.setattr(search, "has_native_bf16", lambda device: True)
    assert Bank(x, 50).coarse is not None
    assert torch.equal(knn_predict(x[:300], x, y, 7, k=50).argmax(1), expected)


class _Largest(TorchDispatchMode):
    """Remembers the bytes of the largest tensor that was made."""

    size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for one in result if isinstance(result, tuple | list) else [result]:
            if isinstance(one, Tensor):
                self.size = max(self.size, one.untyped_storage().nbytes())
        return result


def test_retrieval_is_flat_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_CHUNK_FLOATS", 2**17)
    peaks = []
    for count in (1500, 3000):
        x, y = problem("plain")[:count], torch.arange(count) % 10
        with _Largest() as largest:
            retrieval_metrics(x, y)
        peaks.append(largest.size)
    assert peaks[1] <= 1.2 * peaks[0]
    assert peaks[1] <= 2**19 * 1.1  # the block of similarities is the largest
