"""Mini-batches, of rows in memory and of files that are not: which rows, what they weigh, and how much is held."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradwire._errors import DataError, UsageError
from gradwire_training import Derivative, Samples, Sobolev, Stream, fit, optimizers, repeat
from gradwire_training._data import stream as stream_module
from gradwire_training._models.io_binding import IoBinding
from gradwire_training._objective.objective import Objective
from gradwire_training._progress import Monitor

ROWS = 600


def _table(count=ROWS, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.uniform(0.5, 1.5, count)
    return pa.table({"x": x, "f": np.log(x), "df_dx": pa.array(1 / x, mask=generator.random(count) < 0.3)})


def _objective(samples, model, loss, stream=None):
    binding = IoBinding.of(model, samples)
    return Objective(model, binding, samples, loss, dtype="float64", seed=3, stream=stream)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A Parquet file of 600 rows in groups of 50, a third of its derivatives missing."""
    path = tmp_path_factory.mktemp("stream") / "data.parquet"
    pq.write_table(_table(), path, row_group_size=50)
    return path


def _orders(batches, steps):
    rows, done = [], 0
    while done < steps:
        order = batches.order(done, min(4, steps - done))
        rows += list(order)
        done += len(order)
    return np.array(rows)


def test_every_epoch_shows_every_row_once_in_a_new_order(small):
    """A last batch that would not be full is left out; the order depends on the seed and the step alone."""
    samples = Samples.read(_table(50))
    batches = _objective(samples, small(), Sobolev()).batches(8)
    orders = _orders(batches, 12)
    assert orders.shape == (12, 8)
    for epoch in (orders[:6].ravel(), orders[6:].ravel()):
        assert len(set(epoch)) == 48
    assert set(orders[:6].ravel()) != set(range(48))
    assert orders[:6].tolist() != orders[6:].tolist()
    again = _objective(samples, small(), Sobolev()).batches(8)
    np.testing.assert_array_equal(again.order(7, 1)[0], orders[7])


def test_batches_of_all_rows_are_none(small):
    """As many rows as there are need no order."""
    target = _objective(Samples.read(_table(50)), small(), Sobolev())
    assert target.batches(None) is None
    assert target.batches(50) is None


@pytest.mark.parametrize("pinned", [False, True])
def test_the_mean_over_an_epoch_is_the_loss_and_its_gradient(small, pinned):
    """Missing labels, and pins that are part of every batch, count as they do when all rows are seen."""
    samples = Samples.read(_table(48))
    loss = Derivative(Samples([1.0, 1.2], [0.0, np.log(1.2)])) if pinned else Sobolev()
    target = _objective(samples, small(), loss)
    batches = target.batches(8)
    parts = [target.gradient(batches.data.take(order), batches.counts) for order in _orders(batches, 6)]
    whole = target.gradient()
    assert np.mean([float(part[0]) for part in parts]) == pytest.approx(float(whole[0]), rel=1e-12)
    for index, gradient in enumerate(whole[2]):
        mean = np.mean([part[2][index].numpy() for part in parts], axis=0)
        np.testing.assert_allclose(mean, gradient, rtol=1e-9, atol=1e-12)


def test_adam_takes_mini_batches_where_rows_are_many(small):
    """Up to 16,384 rows a step looks at all of them, at 1,024 of more, and at as many as it is told."""
    adam = optimizers.Adam()
    few, many = (_objective(Samples.read(_table(count)), small(), Sobolev()) for count in (100, 20_000))
    assert adam._size(few) is None
    assert adam._size(many) == 1_024
    assert optimizers.Adam(batch_size=10)._size(few) == 10
    with pytest.raises(UsageError, match="adam: batch_size is 0, expected a finite number above 0"):
        optimizers.Adam(batch_size=0)


@pytest.mark.slow
def test_mini_batches_learn(log):
    """A fit with batches ends about where one with all rows does, and a history has every step."""
    result = fit(log.network(seed=0), log.samples(40), optimizer=optimizers.Adam(batch_size=8), steps=600)
    assert result.history["loss"][-50:].mean() < 0.05 * result.history["loss"][0]
    assert len(result.history["loss"]) == 600
    assert result.xla


@pytest.mark.slow
def test_mini_batches_are_judged_by_their_mean(small):
    """One batch that happens to fit well makes no weights the best ones: the mean over the steps of a report does."""
    ends = []
    monitor = Monitor(60, [lambda progress: ends.append(progress.step)])
    target = _objective(Samples.read(_table(50)), small(), Sobolev())
    optimizers.Adam(batch_size=5).minimize(target, monitor, steps=60)
    losses = monitor.history()["loss"]
    means = [part.mean() for part in np.split(losses, ends[:-1])]
    assert monitor.best[0] == pytest.approx(min(means), rel=1e-12)
    assert losses.min() < min(means)


def test_a_stream_holds_all_rows_once(path, small):
    """Blocks are row groups in a random order; what is held out is never among them."""
    stream = Stream(path, block_rows=120, holdout=0.25, seed=4)
    everything = Samples.read(path)
    assert stream.count + stream.validation.count == everything.count == ROWS
    assert stream.validation.count == pytest.approx(150, abs=40)
    for epoch in (0, 1):
        blocks = stream.blocks(epoch)
        assert sum(block.rows for block in blocks) == stream.count
        assert max(block.rows for block in blocks) <= 120 == stream.capacity
        read = np.concatenate([stream.read(block).x["x"][:, 0] for block in blocks])
        assert sorted([*read, *stream.validation.x["x"][:, 0]]) == sorted(everything.x["x"][:, 0])
    assert stream.blocks(0) != stream.blocks(1)
    assert stream.lower["x"] == everything.x["x"].min()
    target = _objective(stream.samples, small(), Sobolev(), stream)
    batches = target.batches(16)
    seen = []
    for done in range(sum(block.rows // 16 for block in stream.blocks(0))):
        rows = batches.data.take(batches.order(done, 1)[0])
        seen += rows.x["x"].numpy()[:, 0].tolist()
        np.testing.assert_allclose(np.log(rows.x["x"]), rows.known["f"].target, rtol=1e-12)
    batches.close()
    assert len(set(seen)) == len(seen) > 0.8 * stream.count
    assert not set(seen) & set(stream.validation.x["x"][:, 0])


@pytest.mark.slow
@pytest.mark.slow
def test_a_stream_is_fitted_saved_and_repeated(path, tmp_path, small):
    """`fit` takes it as it takes samples; the record knows where the rows are, and refuses others."""
    stream = Stream(path, units={"x": "m"}, block_rows=200)
    result = fit(small(), stream, steps=100)
    assert (result.request.optimizer.name, result.status) == ("adam", "completed")
    assert result.errors["against"] == f"{stream.validation.count} held-out rows"
    assert result.loss < result.history["loss"][0]
    saved = result.save(tmp_path / "fit")
    assert repeat(saved).loss == result.loss
    with pytest.raises(UsageError, match="optimizer 'lbfgs' needs all rows in memory: a stream is fitted by 'adam'"):
        fit(small(), stream, optimizer="lbfgs")
    before = path.read_bytes()
    pq.write_table(_table(seed=1), path, row_group_size=50)
    with pytest.raises(DataError, match="has other rows than those that were fitted"):
        repeat(saved)
    path.write_bytes(before)


def test_a_block_without_directional_labels_is_a_block_of_missing_ones(tmp_path, small):
    """Its directions are still there, and its tensors have the shapes of the others."""
    generator = np.random.default_rng(0)
    x, direction = generator.uniform(0.5, 1.5, (2, 60))
    labels = pa.array(direction / x, mask=np.arange(60) >= 30)  # none in the second row group
    pq.write_table(
        pa.table({"x": x, "f": np.log(x), "x_dot": direction, "f_dot": labels}),
        tmp_path / "a.parquet",
        row_group_size=30,
    )
    stream = Stream(tmp_path / "a.parquet", inputs=["x"], outputs=["f"], holdout=0.0, block_rows=30)
    batches = _objective(stream.samples, small(), Sobolev(), stream).batches(10)
    present = []
    for step in range(6):
        batch = batches.data.take(batches.order(step, 1)[0])
        np.testing.assert_allclose(batch.directions["x"][:, 0], direction[_rows(x, batch)])
        present.append(int(batch.labels[1].count))
    batches.close()
    assert sorted(present) == [0, 0, 0, 10, 10, 10]


def _rows(x, batch):
    return [int(np.argmin(np.abs(x - value))) for value in batch.x["x"].numpy()[:, 0]]


def test_a_directory_of_files_is_a_stream(tmp_path):
    """Its Parquet files are read in the order of their names."""
    for number in range(3):
        pq.write_table(_table(40, seed=number), tmp_path / f"part-{number}.parquet")
    assert Stream.suits(tmp_path)
    stream = Stream(tmp_path, holdout=0.0)
    assert (stream.count, stream.validation) == (120, None)
    pq.write_table(pa.table({"x": [1.0], "g": [2.0]}), tmp_path / "part-9.parquet")
    with pytest.raises(DataError, match=r"part-9.parquet has no column 'f', other files beside it have"):
        Stream(tmp_path)


def test_bad_rows_of_a_stream_are_named(tmp_path):
    """Opening reads everything once, so that no fit stops in the middle of a night."""
    table = _table(100).to_pandas()
    table.loc[77, "f"] = np.inf
    pq.write_table(pa.Table.from_pandas(table), tmp_path / "data.parquet", row_group_size=50)
    with pytest.raises(DataError, match=r"data.parquet, rows counted from its row 50: y 'f' holds infinity at row 27"):
        Stream(tmp_path / "data.parquet")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="holds no Parquet file"):
        Stream(tmp_path / "none")
    pq.write_table(_table(100).slice(0, 0), tmp_path / "empty.parquet")
    with pytest.raises(DataError, match=r"empty.parquet has no rows: give at least one"):
        Stream(tmp_path / "empty.parquet")


@pytest.mark.slow
def test_memory_is_bounded_whatever_the_size_of_the_file(tmp_path, small, monkeypatch):
    """What NumPy and Arrow hold at their peak is some blocks, and no more for a file four times as long."""
    monkeypatch.setattr(stream_module, "SEEN_ROWS", 2_000)
    peaks, model = [], small()
    for count in (50_000, 200_000):
        path = tmp_path / f"{count}.parquet"
        pq.write_table(_table(count), path, row_group_size=2_000)
        before, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
        pa.set_memory_pool(pool)
        tracemalloc.start()
        try:
            stream = Stream(path, block_rows=4_000)
            batches = _objective(stream.samples, model, Sobolev(), stream).batches(500)
            done, steps = 0, sum(block.rows // 500 for block in stream.blocks(0))
            while done < steps:
                done += len(batches.order(done, 100))
            batches.close()
            peaks.append(tracemalloc.get_traced_memory()[1] + pool.max_memory())
        finally:
            tracemalloc.stop()
            pa.set_memory_pool(before)
    assert peaks[1] < 1.6 * peaks[0]
    assert peaks[1] < 0.25 * 200_000 * 3 * 8  # of the numbers in the file
