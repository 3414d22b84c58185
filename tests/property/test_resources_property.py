"""Whatever is loaded: a plan never unloads what may not go, and what it says fits does fit."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.routing.resources import MB, LocalModel, ResourceSettings, plan, surplus

models = st.lists(
    st.builds(
        lambda n, size, running, used, kept, movable: LocalModel(
            ("p", str(n)), size * MB, loaded=True, running=running, used_at=used, kept=kept, movable=movable
        ),
        st.integers(0, 99),
        st.integers(1, 4000),
        st.sampled_from([0, 0, 1]),
        st.floats(0, 100),
        st.booleans(),
        st.sampled_from([True, True, False]),
    ),
    max_size=6,
    unique_by=lambda model: model.key,
)
rules = st.builds(
    lambda memory, share, small: ResourceSettings(memory_mb=memory, unload_at=share, small_mb=small),
    st.integers(100, 8000),
    st.floats(0.1, 1),
    st.integers(0, 1000),
)


@given(models, st.integers(1, 9000), rules)
@settings(max_examples=200, deadline=None)
def test_a_plan_keeps_its_word(loaded: list[LocalModel], size_mb: int, rule: ResourceSettings) -> None:
    wanted = LocalModel(("p", "wanted"), size_mb * MB)
    found = plan(loaded, wanted, rule)
    by_key = {model.key: model for model in loaded}
    for key in found.unload:
        model = by_key[key]
        assert model.movable
        assert not model.kept
        assert not model.running
    left = sum(model.size_bytes or 0 for model in loaded if model.key not in found.unload)
    budget = (rule.memory_mb or 0) * MB
    if found.fits:
        assert left + size_mb * MB <= budget
        small_enough = left + size_mb * MB <= budget * rule.unload_at
        rest = [m for m in loaded if m.key not in found.unload and m.movable and not m.kept and not m.running]
        assert small_enough or not rest
    elif not found.waits:
        stays = sum(m.size_bytes or 0 for m in loaded if not m.movable or m.kept)
        assert stays + size_mb * MB > budget
        assert found.unload == ()


@given(models, rules)
@settings(max_examples=200, deadline=None)
def test_a_surplus_leaves_what_was_used_last(loaded: list[LocalModel], rule: ResourceSettings) -> None:
    going = surplus(loaded, rule)
    if loaded:
        assert max(loaded, key=lambda model: model.used_at).key not in going
    assert all(not model.running for model in loaded if model.key in going)
