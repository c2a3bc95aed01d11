from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn.functional import linear

from fewtune.engine import lora
from fewtune.engine.base_model import BaseModel
from fewtune.engine.lora import Adapter, Group, Site
from fewtune.engine.routing import Routing, adapted_linear, low_rank, route, routing_of

RANK, INPUTS, TOKENS = 2, 5, 7
GROUP = Group(layer=0, sites=(Site(name="q", inputs=INPUTS, outputs=4), Site(name="k", inputs=INPUTS, outputs=3)))
ONE = Group(layer=0, sites=(Site(name="o", inputs=INPUTS, outputs=6),))


def drawn(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(len(shape) + sum(shape))
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def adapters(count: int, group: Group) -> Tensor:
    return drawn(count, lora.size([group], RANK))


def routing(flat: Tensor, group: Group, scale: float | Tensor) -> Routing:
    return routing_of(flat, Adapter(groups=(group,), rank=RANK, alpha=RANK, flat=flat[0]), scale)


def by_token(count: int) -> Tensor:
    """Each token's own adapter at its own scale; the last token has none."""
    scale = torch.zeros(TOKENS, count, dtype=torch.float64)
    for token in range(TOKENS - 1):
        scale[token, token % count] = 0.5 + token
    return scale


def written_out(x: Tensor, weight: Tensor, bias: Tensor | None, flat: Tensor, group: Group, scale: Tensor) -> Tensor:
    """Token by token and adapter by adapter, with B A as one matrix."""
    rows = linear(x, weight, bias).unbind()
    for slot, numbers in enumerate(flat):
        found = Adapter(groups=(group,), rank=RANK, alpha=RANK, flat=numbers).matrices
        change = torch.cat([(b.T @ a) for a, b in (found[site.name] for site in group.sites)])
        rows = tuple(row + scale[token, slot] * (change @ x[token]) for token, row in enumerate(rows))
    return torch.stack(rows)


@pytest.mark.parametrize("group", [GROUP, ONE], ids=["two sites", "one site"])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("biased", [True, False])
class TestAdaptedLinear:
    def test_each_token_goes_through_its_own_adapter(self, group: Group, count: int, biased: bool) -> None:
        x, weight, flat = drawn(TOKENS, INPUTS), drawn(group.outputs, INPUTS), adapters(count, group)
        bias, scale = drawn(group.outputs) if biased else None, by_token(count)
        expected = written_out(x, weight, bias, flat, group, scale)
        for grad in (True, False):
            with torch.set_grad_enabled(grad):
                ours = adapted_linear(x, weight, bias, group.name, routing(flat, group, scale))
            torch.testing.assert_close(ours, expected)

    def test_its_gradient_is_the_numerical_one(self, group: Group, count: int, biased: bool) -> None:
        x, weight = drawn(TOKENS, INPUTS).requires_grad_(), drawn(group.outputs, INPUTS)
        flat, bias = adapters(count, group).requires_grad_(), drawn(group.outputs) if biased else None
        scale = by_token(count) if count > 1 else 0.7
        assert gradcheck(
            lambda x, flat: adapted_linear(x, weight, bias, group.name, routing(flat, group, scale)), (x, flat)
        )


@pytest.mark.parametrize("scale", [0.7, by_token(3)], ids=["one adapter", "three adapters"])
def test_what_an_adapter_adds_to_a_quantised_layer_is_what_it_adds_to_a_plain_one(scale: float | Tensor) -> None:
    x, weight = drawn(TOKENS, INPUTS).requires_grad_(), drawn(ONE.outputs, INPUTS)
    flat = adapters(1 if isinstance(scale, float) else 3, ONE).requires_grad_()
    added = low_rank(x, ONE.name, routing(flat, ONE, scale))
    assert isinstance(added, Tensor)
    whole = adapted_linear(x, weight, None, ONE.name, routing(flat, ONE, scale))
    torch.testing.assert_close(added + linear(x, weight), whole)
    ours, theirs = (
        torch.autograd.grad(y.square().sum(), flat, retain_graph=True)[0] for y in (added + linear(x, weight), whole)
    )
    torch.testing.assert_close(ours, theirs)


def test_a_layer_that_no_adapter_reaches_is_the_bases() -> None:
    x, weight = drawn(TOKENS, INPUTS), drawn(6, INPUTS)
    reached = routing(adapters(1, GROUP), GROUP, 0.7)
    for given in (None, reached):
        assert torch.equal(adapted_linear(x, weight, None, ONE.name, given), linear(x, weight))
        assert low_rank(x, ONE.name, given) is None


class TestRoute:
    def test_rows_of_the_bare_base_alone_need_no_routing(self) -> None:
        assert route([None, None], [3, 4]) is None

    def test_one_adapter_for_all_rows_is_routed_without_a_table(
        self, llama: BaseModel, random_adapter: Callable[..., Adapter]
    ) -> None:
        adapter = random_adapter(llama)
        found = route([adapter, adapter], [3, 4])
        assert found is not None and found.scale == adapter.scale

    def test_the_table_has_each_tokens_scale_at_its_own_adapter_and_zero_elsewhere(
        self, llama: BaseModel, random_adapter: Callable[..., Adapter]
    ) -> None:
        one, other = random_adapter(llama, rank=2, alpha=8), random_adapter(llama, rank=4, alpha=4)
        found = route([one, None, other, one], [2, 1, 1, 1])
        assert found is not None and isinstance(found.scale, Tensor)
        assert found.rank == 4
        assert found.scale.tolist() == [[4, 0], [4, 0], [0, 0], [0, 1], [4, 0]]
