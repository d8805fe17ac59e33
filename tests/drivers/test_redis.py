"""The parts of the Redis driver that need no Redis: promises, disks, what programs print, and clients against a server of ours."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfbench.drivers.redis import bound
from bpfbench.drivers.redis_crash import Loss, Promise, Writer, look, value_of
from bpfbench.drivers.redis_disk import QUICKEST, doubts, mount_of
from bpfbench.drivers.redis_load import COLUMNS, LoadError, commands, parse
from bpfbench.drivers.redis_server import Connection, RedisError, encoded

HEAD = ",".join(f'"{name}"' for name in COLUMNS)


class Store(socketserver.ThreadingTCPServer):
    """A store that keeps what it is told, and acknowledges so many updates."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, most: int) -> None:
        super().__init__(("127.0.0.1", 0), Client)
        self.most, self.kept, self.lock = most, {}, threading.Lock()


class Client(socketserver.StreamRequestHandler):
    """One connection to it."""

    def handle(self) -> None:
        while line := self.rfile.readline():
            words = []
            for _ in range(int(line[1:])):
                size = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(size + 2)[:-2].decode())
            self.wfile.write(self.answer(words))

    def answer(self, words: list[str]) -> bytes:
        store = self.server
        if words[0] == "MGET":
            found = [store.kept.get(key) for key in words[1:]]
            items = (b"$-1\r\n" if one is None else b"$%d\r\n%s\r\n" % (len(one), one.encode()) for one in found)
            return b"*%d\r\n" % len(found) + b"".join(items)
        with store.lock:
            if len(store.kept) >= store.most:
                return b"-MISCONF the disk is full\r\n"
            store.kept[words[1]] = words[2]
        return b"+OK\r\n"


@contextmanager
def serving(most: int) -> Iterator[Store]:
    with Store(most) as store:
        threading.Thread(target=store.serve_forever, args=(0.02,), daemon=True).start()
        yield store
        store.shutdown()


def written(store: Store, clients: int) -> Writer:
    """Let clients write until each was refused."""
    writer = Writer(store.server_address[1], clients)
    writer.start()
    writer.join(20)
    assert not writer.is_alive()
    return writer


def test_every_acknowledged_update_is_recorded_and_found():
    with serving(most=700) as store:
        writer = written(store, clients=3)
        assert writer.acknowledged.keys() == store.kept.keys()
        assert len(writer.acknowledged) == 700, "more than are asked for at once"
        assert writer.refused == ["-MISCONF the disk is full"] * 3
        with Connection(store.server_address[1]) as connection:
            assert look(connection, writer.acknowledged, 0.0) == Loss(700, 0, 0.0)


def test_what_is_lost_is_counted_and_dated_and_what_is_wrong_is_named():
    with serving(most=20) as store:
        writer = written(store, clients=2)
        in_order = sorted(writer.acknowledged, key=lambda key: writer.acknowledged[key])
        for key in in_order[-3:]:
            del store.kept[key]
        store.kept[in_order[0]] = "something else"
        crash = writer.acknowledged[in_order[-1]] + 1
        with Connection(store.server_address[1]) as connection:
            loss = look(connection, writer.acknowledged, crash)
        assert (loss.acknowledged, loss.lost, loss.wrong) == (20, 3, (in_order[0],))
        assert loss.age == crash - writer.acknowledged[in_order[-3]] >= 1


def test_a_server_that_goes_away_ends_the_writing():
    with serving(most=10**9) as store:
        writer = Writer(store.server_address[1], 2)
        writer.start()
        writer.stop()
        assert writer.acknowledged.keys() <= store.kept.keys()
    with pytest.raises(RedisError, match="gets no connection"):
        Writer(store.server_address[1], 1)


def test_errors_and_torn_answers_are_errors():
    with serving(most=0) as store, Connection(store.server_address[1]) as connection:
        with pytest.raises(RedisError, match="MISCONF"):
            connection.ask("SET", "a", "b")
        assert connection.ask("MGET", "a", "b") == [None, None]
    with pytest.raises(RedisError, match="no connection"):
        Connection(store.server_address[1])


@given(st.lists(st.text(max_size=8), min_size=1, max_size=4))
def test_words_are_sent_with_their_length_in_bytes(words):
    assert encoded(*words).count(b"$") >= len(words)
    assert sum(len(word.encode()) for word in words) < len(encoded(*words))


@given(lost=st.integers(0, 50), age=st.floats(0, 5), updates=st.integers(0, 50), seconds=st.floats(0.1, 5))
def test_a_promise_is_broken_by_what_exceeds_it(lost, age, updates, seconds):
    loss = Loss(1000, lost, age)
    assert (Promise(updates=updates).broken_by(loss) is not None) == (lost > updates)
    assert (Promise(seconds=seconds).broken_by(loss) is not None) == (age > seconds)
    assert Promise().broken_by(loss) is None, "who promises nothing breaks nothing"


def test_a_broken_promise_says_what_was_lost():
    assert "3 of 10 acknowledged" in str(Promise(updates=2).broken_by(Loss(10, 3, 0.1)))
    assert "2.50 s before" in str(Promise(seconds=2).broken_by(Loss(10, 3, 2.5)))


def test_the_bound_is_all_that_can_be_under_way_in_the_time_of_a_flush():
    assert bound(5, 0, 1000) == 5000
    assert bound(5, 2, 1000) == 7000
    assert bound(5, 1000, 200) == pytest.approx(5_025_000)


def test_the_values_of_a_key_are_its_own():
    assert value_of("a") != value_of("b")


def test_what_redis_benchmark_prints():
    row = parse(f'{HEAD}\n"SET","71684.59","0.568","0.080","0.559","0.863","1.207","3.487"\n')
    assert (row["rps"], row["p50_latency_ms"], row["p99_latency_ms"]) == ("71684.59", "0.559", "1.207")


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEAD,
        "ERR something",
        f'{HEAD}\n"GET","1","1","1","1","1","1","1"',
        f'{HEAD}\n"SET","nan","1","1","1","1","1","1"',
        f'{HEAD}\n"SET","0.00","0","0","0","0","0","0"',
        f'{HEAD}\n"SET","many","1","1","1","1","1","1"',
        f'{HEAD}\n"SET","1","1","1","1","1","1","1"\n"SET","1","1","1","1","1","1","1"',
    ],
)
def test_whatever_else_it_prints_is_no_result(text):
    with pytest.raises(LoadError):
        parse(text)


def test_what_the_server_says_of_its_commands():
    text = "# Commandstats\r\ncmdstat_set:calls=20,usec=86,usec_per_call=4.30,rejected_calls=1,failed_calls=2\r\n"
    assert commands(text) == {"set": {"calls": 20, "rejected_calls": 1, "failed_calls": 2}}
    assert commands("# Commandstats\r\n") == {}
    with pytest.raises(RedisError):
        commands("cmdstat_set:calls=many")


MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 22 0:26 / /tmp rw,nosuid - tmpfs none rw,size=1024k
31 30 8:1 / /tmp/a\\040b rw,noatime - xfs /dev/sda1 rw,nobarrier
"""


def test_a_path_lies_where_the_longest_mount_point_above_it_is(tmp_path):
    inside = {place: mount_of(type(tmp_path)(place), MOUNTS) for place in ("/home/x", "/tmp/x", "/tmp/a b/x", "/tmpx")}
    assert [found["device"] for found in inside.values()] == ["/dev/vda", "none", "/dev/sda1", "/dev/vda"]
    assert inside["/tmp/a b/x"] == {"device": "/dev/sda1", "file_system": "xfs", "options": "rw,noatime,nobarrier"}


def test_a_disk_whose_flush_cannot_be_honest_is_named():
    assert "in memory" in str(doubts("tmpfs", [], 500.0))
    assert "nobarrier" in str(doubts("xfs", ["rw", "nobarrier"], 500.0))
    assert "barrier=0" in str(doubts("ext4", ["barrier=0"], 500.0))
    assert "µs" in str(doubts("ext4", ["rw"], QUICKEST / 2))
    assert doubts("ext4", ["rw", "relatime"], 500.0) is None
