from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
import torch

from fewtune.engine import lora
from fewtune.engine.base_model import BaseModel
from fewtune.engine.lora import Adapter
from fewtune.errors import TrainingError

TEXT = [range(20, 60)]
Logits = Callable[..., torch.Tensor]


class TestAdapter:
    def test_a_new_adapter_leaves_the_base_as_it_is(self, base: BaseModel, logits: Logits) -> None:
        adapter = lora.create(base.body.groups, 4, 8, 0, base.device)
        assert torch.equal(logits(base, TEXT, adapter), logits(base, TEXT))

    def test_an_adapter_changes_the_base_only_where_it_is_used(
        self, base: BaseModel, logits: Logits, random_adapter: Callable[..., Adapter]
    ) -> None:
        before = logits(base, TEXT)
        assert not torch.allclose(logits(base, TEXT, random_adapter(base)), before)
        assert torch.equal(logits(base, TEXT), before)

    def test_equal_seeds_draw_equal_adapters_and_others_do_not(self, llama: BaseModel) -> None:
        first, again, other = (lora.create(llama.body.groups, 4, 8, seed, llama.device).flat for seed in (3, 3, 4))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_a_is_drawn_within_pefts_bounds_and_b_is_zero(self, base: BaseModel) -> None:
        adapter = lora.create(base.body.groups, 4, 8, 0, base.device)
        for group in base.body.groups:
            for site in group.sites:
                a, b = adapter.matrices[site.name]
                assert a.shape == (4, site.inputs) and b.shape == (4, site.outputs)
                assert 0.5 * site.inputs**-0.5 < a.abs().max() <= site.inputs**-0.5
                assert not b.any()

    def test_the_matrices_are_all_of_the_flat_vector_and_views_of_it(self, base: BaseModel) -> None:
        adapter = lora.empty(base.body.groups, 3, 6, base.device)
        for a, b in adapter.matrices.values():
            a.add_(1)
            b.add_(1)
        assert torch.equal(adapter.flat, torch.ones(lora.size(base.body.groups, 3)))

    def test_on_the_way_to_another_process_no_bit_changes(
        self, llama: BaseModel, random_adapter: Callable[..., Adapter]
    ) -> None:
        adapter = random_adapter(llama)
        assert adapter.matrices
        again: Adapter = pickle.loads(pickle.dumps(adapter))
        assert torch.equal(again.flat, adapter.flat)
        assert (again.groups, again.rank, again.alpha) == (adapter.groups, adapter.rank, adapter.alpha)
        again.flat.zero_()
        assert not any(a.any() or b.any() for a, b in again.matrices.values())

    @pytest.mark.parametrize("rank", [17, 33, 1000])
    def test_a_rank_above_the_width_names_the_narrowest_layer_and_its_size(self, llama: BaseModel, rank: int) -> None:
        with pytest.raises(TrainingError, match=rf"Rank {rank} is above the width of layer .*k_proj \(16 x 32\)"):
            lora.create(llama.body.groups, rank, 16, 0, llama.device)
        assert lora.create(llama.body.groups, 16, 16, 0, llama.device).rank == 16


class TestUpper:
    @pytest.mark.parametrize(
        ("share", "layers", "first"),
        [(1.0, 4, 0), (0.75, 4, 1), (0.5, 4, 2), (0.5, 3, 1), (0.26, 4, 2), (0.25, 4, 3), (0.01, 4, 3), (0.3, 1, 0)],
    )
    def test_the_share_of_the_blocks_is_counted_from_the_top_and_rounded_up(
        self, share: float, layers: int, first: int
    ) -> None:
        groups = [lora.Group(layer=layer, sites=()) for layer in range(layers)]
        assert [group.layer for group in lora.upper(groups, share, layers)] == list(range(first, layers))

    def test_an_adapter_over_the_upper_blocks_is_smaller_and_knows_where_it_begins(
        self, base: BaseModel, random_adapter: Callable[..., Adapter]
    ) -> None:
        upper, whole = random_adapter(base, top=0.5), random_adapter(base)
        assert 2 * len(upper.flat) == len(whole.flat)
        assert (lora.lowest_layer(upper), lora.lowest_layer(whole)) == (1, 0)
        assert all(".1." in name for name in upper.matrices)


def test_an_average_is_the_mean_of_every_number(llama: BaseModel, random_adapter: Callable[..., Adapter]) -> None:
    points = [random_adapter(llama, seed=seed) for seed in range(3)]
    mean = lora.average(points[0], [point.flat for point in points])
    torch.testing.assert_close(mean.flat, sum(point.flat for point in points) / 3)
    assert (mean.rank, mean.alpha, mean.groups) == (points[0].rank, points[0].alpha, points[0].groups)
    name = next(iter(mean.matrices))
    torch.testing.assert_close(mean.matrices[name][0], sum(point.matrices[name][0] for point in points) / 3)
