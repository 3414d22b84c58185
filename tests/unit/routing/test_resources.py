"""The memory plan: what goes for a model, in which order, and what never goes."""

from __future__ import annotations

import pytest

from pennyweight.routing.resources import MB, LocalModel, ResourceSettings, plan, surplus, used_bytes

LAPTOP = ResourceSettings(memory_mb=4096)


def model(name: str, size_mb: int | None, *, loaded: bool = True, **more: object) -> LocalModel:
    size = None if size_mb is None else size_mb * MB
    return LocalModel(("ollama", name), size, loaded=loaded, **more)  # type: ignore[arg-type]


def names(keys: tuple[tuple[str, str], ...]) -> list[str]:
    return [name for _, name in keys]


def test_what_fits_beside_the_others_needs_nothing() -> None:
    found = plan([model("a", 1500)], model("b", 2000, loaded=False), LAPTOP)
    assert (found.fits, found.unload) == (True, ())


def test_the_one_unused_for_longest_goes_until_nine_tenths_are_left() -> None:
    others = [model("new", 1200, used_at=9), model("old", 1200, used_at=1), model("older", 1000, used_at=0)]
    found = plan(others, model("b", 1400, loaded=False), LAPTOP)  # 4,800 MB; 3,686 are nine tenths
    assert (found.fits, names(found.unload)) == (True, ["older", "old"])


def test_small_models_go_last() -> None:
    others = [model("embedder", 300, used_at=0), model("chat", 3000, used_at=5)]
    assert names(plan(others, model("b", 3000, loaded=False), LAPTOP).unload) == ["chat"]


def test_what_is_kept_or_cannot_move_stays() -> None:
    others = [model("kept", 1500, kept=True), model("server", 1000, movable=False), model("free", 1000)]
    found = plan(others, model("b", 1500, loaded=False), LAPTOP)
    assert (found.fits, names(found.unload)) == (True, ["free"])
    found = plan(others, model("c", 2000, loaded=False), LAPTOP)
    assert (found.fits, found.waits) == (False, False)
    assert "what must stay loaded leaves no room" in found.why


def test_what_answers_now_is_waited_for_and_never_unloaded() -> None:
    found = plan([model("busy", 3000, running=1)], model("b", 2000, loaded=False), LAPTOP)
    assert (found.fits, found.unload, found.waits) == (False, (), True)


def test_a_model_beyond_the_memory_unloads_nobody() -> None:
    found = plan([model("a", 1000)], model("huge", 5000, loaded=False), LAPTOP)
    assert (found.fits, found.unload, found.waits) == (False, (), False)
    assert found.why == "5,000 MB is more than the memory for local models, 4,096 MB"


def test_a_model_between_nine_tenths_and_all_of_it_runs_alone() -> None:
    found = plan([model("a", 1000)], model("large", 4000, loaded=False), LAPTOP)
    assert (found.fits, names(found.unload)) == (True, ["a"])


def test_a_size_that_nobody_knows_is_no_reason_to_refuse() -> None:
    assert plan([model("a", 1000)], model("new", None, loaded=False), LAPTOP).fits
    assert plan([model("a", None)], model("b", 3000, loaded=False), LAPTOP).unload == ()


def test_without_a_budget_everything_fits() -> None:
    huge = model("huge", 90_000, loaded=False)
    assert plan([model("a", 9000)], huge, ResourceSettings()).fits
    assert surplus([model("a", 9000)], ResourceSettings()) == ()


def test_a_loaded_model_needs_no_room() -> None:
    assert plan([model("a", 4000), model("b", 4000)], model("b", 4000), LAPTOP).unload == ()


def test_a_surplus_goes_but_not_the_newest_nor_what_runs() -> None:
    grown = [model("a", 2000, used_at=1), model("b", 1500, used_at=3), model("c", 1000, used_at=2)]
    assert names(surplus(grown, LAPTOP)) == ["a"]
    assert surplus([model("large", 4000)], LAPTOP) == ()
    running = [model("a", 3000, used_at=1, running=2), model("b", 1500, used_at=3)]
    assert surplus(running, LAPTOP) == ()


@pytest.mark.parametrize(("sizes", "used"), [((), 0), ((100, None, 200), 300)])
def test_what_is_used_is_the_sum_of_what_is_known(sizes: tuple[int | None, ...], used: int) -> None:
    loaded = [model(str(index), size) for index, size in enumerate(sizes)]
    assert used_bytes([*loaded, model("not", 50, loaded=False)]) == used * MB
