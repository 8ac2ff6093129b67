"""What an order announces is what it reads next."""

from hypothesis import given
from hypothesis import strategies as st

from rba.data.order import SampleOrder


@given(
    sizes=st.lists(st.integers(0, 6), min_size=1, max_size=9).filter(sum),
    window=st.integers(1, 4),
    parts=st.integers(1, 3),
    seed=st.integers(0, 3),
    data=st.data(),
)
def test_what_a_part_reads_was_announced_a_window_before(sizes, window, parts, seed, data):
    order = SampleOrder(seed, "photos", sizes, window, parts)
    lane = data.draw(st.integers(0, parts - 1))
    positions = range(lane, 3 * sum(sizes) + parts, parts)
    announced = [order.coming_shards(position) for position in positions]
    assert all(len(shards) <= 2 * window for shards in announced)
    changes = [n for n in range(1, len(announced)) if announced[n] != announced[n - 1]]
    for number, position in enumerate(positions):
        shard = order.place(position).shard
        assert shard in announced[number]
        # Announced with the window before, so that there was a window's time to bring it.
        earlier = max((n for n in changes if n <= number), default=0) - 1
        assert earlier < 0 or shard in announced[earlier]
