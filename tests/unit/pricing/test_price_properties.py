"""What holds of every cost: exact, additive, monotone, never negative."""

from dataclasses import fields, replace
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from model_service.providers.chat import Usage
from model_service.providers.pricing import PLACES, Price, Rate, Rates, share

CLASSES = ("input", "cached_input", "cache_write", "cache_write_1h", "output")

counts = st.integers(0, 10**9)
usages = st.builds(
    Usage,
    input=counts,
    cached_input=counts,
    cache_write=counts,
    cache_write_1h=counts,
    output=counts,
)
# Up to a thousand dollars for a million tokens, to 18 places.
amounts = st.integers(0, 10**15).map(lambda n: Decimal(n).scaleb(-PLACES))
flat = st.builds(Rate, amounts)


@st.composite
def stepped(draw: st.DrawFn) -> Rate:
    """A rate that rises with the length of the prompt, or falls."""
    starts = draw(st.lists(st.integers(1, 10**9), max_size=3, unique=True))
    return Rate(draw(amounts), tuple((start, draw(amounts)) for start in sorted(starts)))


def rates_of(rate: st.SearchStrategy[Rate]) -> st.SearchStrategy[Rates]:
    return st.builds(Rates, *(st.none() | rate for _ in CLASSES))


def price_of(rates: Rates) -> Price:
    return Price("v", rates)


def exactly(rates: Rates, usage: Usage) -> Fraction:
    """The cost as the definition of `Rates` says, in fractions."""
    into = rates.input
    write = rates.cache_write or into
    by_class = {
        "input": into,
        "cached_input": rates.cached_input or into,
        "cache_write": write,
        "cache_write_1h": rates.cache_write_1h or write,
        "output": rates.output,
    }
    total = Fraction(0)
    for name, rate in by_class.items():
        if rate is not None:
            total += getattr(usage, name) * Fraction(rate.at(usage.prompt))
    return total


@given(rates_of(st.one_of(flat, stepped())), usages)
def test_a_cost_is_exact(rates: Rates, usage: Usage) -> None:
    assert Fraction(price_of(rates).cost(usage)) == exactly(rates, usage)


@given(rates_of(st.one_of(flat, stepped())), usages)
def test_a_cost_is_never_negative(rates: Rates, usage: Usage) -> None:
    assert price_of(rates).cost(usage) >= 0


@given(rates_of(flat), usages)
def test_a_cost_is_the_sum_of_what_each_class_costs(rates: Rates, usage: Usage) -> None:
    price = price_of(rates)
    parts = [price.cost(Usage(**{name: getattr(usage, name)})) for name in CLASSES]
    assert sum(map(Fraction, parts)) == Fraction(price.cost(usage))


@given(rates_of(flat), usages, usages)
def test_two_calls_cost_together_what_they_cost_alone(
    rates: Rates, one: Usage, other: Usage
) -> None:
    price = price_of(rates)
    both = Usage(**{name: getattr(one, name) + getattr(other, name) for name in CLASSES})
    assert price.cost(one) + price.cost(other) == price.cost(both)
    assert price.of_sums(both, 2) == price.cost(both)


@given(rates_of(flat), usages, st.sampled_from(CLASSES), st.integers(1, 10**6))
def test_more_tokens_never_cost_less(rates: Rates, usage: Usage, name: str, more: int) -> None:
    price = price_of(rates)
    greater = replace(usage, **{name: getattr(usage, name) + more})
    assert price.cost(greater) >= price.cost(usage)


@given(rates_of(flat), usages, st.integers(0, 10**9))
def test_reasoning_costs_nothing_beside_the_output_it_is_part_of(
    rates: Rates, usage: Usage, reasoning: int
) -> None:
    price = price_of(rates)
    thought = replace(usage, reasoning=min(reasoning, usage.output))
    assert price.cost(thought) == price.cost(usage)


@given(rates_of(flat), rates_of(flat))
def test_rates_laid_over_others_count_where_they_are(below: Rates, above: Rates) -> None:
    both = below.under(above)
    for field in fields(Rates):
        upper = getattr(above, field.name)
        expected = getattr(below, field.name) if upper is None else upper
        assert getattr(both, field.name) == expected


@given(rates_of(st.one_of(flat, stepped())), usages)
def test_half_of_all_rates_is_half_of_the_cost(rates: Rates, usage: Usage) -> None:
    # Of even amounts: half of the finest one would be rounded.
    double = rates.times(Decimal(2))
    assert price_of(double.times(Decimal("0.5"))).cost(usage) == price_of(rates).cost(usage)


@given(rates_of(st.one_of(flat, stepped())), usages)
def test_no_call_costs_more_than_the_ceiling_of_its_length(rates: Rates, usage: Usage) -> None:
    price = price_of(rates)
    assert price.cost(usage) <= price.ceiling(usage.prompt, usage.output)


def test_what_is_finer_than_rates_are_kept_is_rounded_half_up() -> None:
    price = price_of(Rates(input=Rate(Decimal("0.0000000000000000005"))))
    assert price.cost(Usage(input=1)) == Decimal("1E-18")


def test_images_and_calls_are_added_by_number() -> None:
    price = price_of(Rates(input=Rate(Decimal("0.000001")), image=Decimal("0.04"), call=Decimal(1)))
    assert price.cost(Usage(input=5), images=3) == Decimal("1.120005")


def test_calls_are_counted_in_sums() -> None:
    price = price_of(Rates(input=Rate(Decimal("0.000001")), call=Decimal("0.01")))
    assert price.of_sums(Usage(input=5), 3) == Decimal("0.030005")


@given(amounts, st.integers(1, 1000), st.integers(1, 1000))
def test_a_share_is_in_proportion(amount: Decimal, part: int, whole: int) -> None:
    outcome = Fraction(share(amount, Decimal(part), Decimal(whole)))
    assert abs(outcome - Fraction(amount) * part / whole) <= Fraction(1, 2 * 10**PLACES)
