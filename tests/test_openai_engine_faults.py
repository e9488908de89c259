"""The openai engine on servers that fail: every request ends answered or recorded, and nothing is left open."""

import asyncio
import gc
import random
import threading
import time
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stub_server import FAULTS, Stub, http_date, key_of
from test_openai_engine import NUCLEUS, QUICK, ask, body_of, engine_for, sample

from datasets_cards.errors import EngineError
from labelers.engines.openai_api.client import ChatClient
from labelers.engines.openai_api.concurrency import Window, iterate
from labelers.engines.openai_api.format import Reported, _alternatives
from labelers.engines.openai_api.retries import Retries, retry_after
from labelers.engines.protocol import Sampling


def keys(requests):
    return [key_of(body_of(request)) for request in requests]


@pytest.mark.parametrize("fault", FAULTS)
def test_one_kind_of_fault_is_overcome(fault):
    with Stub() as server:
        requests = [ask(f"q{i}", NUCLEUS) for i in range(60)]
        expected = sample(engine_for(server), requests)
        engine = engine_for(
            server, timeout=1.0 if fault == "hang" else 60.0, retries=Retries(attempts=20, first=0.002, longest=0.01)
        )
        server.faults, server.fault_rate = (fault,), 0.3
        server.asked.clear()
        assert sample(engine, requests) == expected
        assert server.statuses[fault.removesuffix("-after")] > 5
        for key in keys(requests):  # no more often than it had to be asked
            tries = next(n for n in range(99) if server.fault_of(key, n) is None) + 1
            assert server.asked[key] == tries


def test_a_fifth_of_all_requests_failing_changes_no_result():
    with Stub() as server:
        requests = [ask(f"q{i}", NUCLEUS, k) for i in range(150) for k in range(2)]
        expected = sample(engine_for(server), requests)
        server.fault_rate, server.dead_rate = 0.2, 0.03
        engine = engine_for(server, timeout=1.5, retries=Retries(attempts=8, first=0.002, longest=0.01))
        server.asked.clear()
        drawn = sample(engine, requests)
        dead = [key for key in keys(requests) if {server.fault_of(key, n) for n in range(9)} == {"500"}]
        assert 2 < len(dead) < 30
        for key, completion, undisturbed in zip(keys(requests), drawn, expected, strict=True):
            if key in dead:
                assert completion.error == "server_error: 500 fault 500 after 8 attempts"
                assert server.asked[key] == 8
            else:
                assert completion == undisturbed


def test_what_keeps_failing_is_recorded_in_one_line_with_its_code():
    with Stub() as server:
        engine = engine_for(server, timeout=0.5, retries=Retries(attempts=2, busy_attempts=3, first=0.001))
        server.fault_rate = 1.0
        for fault, reason in {
            "500": "server_error: 500 fault 500 after 2 attempts",
            "hang": "timeout: no answer within 0.5 s after 2 attempts",
            "malformed": "malformed_response: 42 bytes that are not JSON after 2 attempts",
            "reset": "connection_lost: ",
            "close": "connection_lost: ClientPayloadError",
            "429": "rate_limited: 429 fault 429 after 3 attempts",
            "503": "server_busy: 503 fault 503 after 3 attempts",
        }.items():
            server.faults = (fault,)
            (c,) = sample(engine, [ask("q")])
            assert c.finish_reason == "error" and c.error and c.error.startswith(reason) and "\n" not in c.error
            assert c.error.endswith("attempts")


def test_a_server_that_is_gone_ends_the_run_and_one_that_was_never_there_at_once():
    with Stub() as server:
        engine = engine_for(server, retries=Retries(attempts=3, first=0.001))
        drawn = engine.sample([ask(f"q{i}") for i in range(2000)])
        assert [next(drawn) for _ in range(5)]
    with pytest.raises(EngineError, match="can't be reached.*finished samples are kept"):
        list(drawn)


def test_retry_after_in_seconds_and_as_a_date_is_waited_for():
    with Stub(faults=("429-after",)) as server:
        engine = engine_for(server)
        for wait, said in ((0.3, "0.3"), (1.0, None)):
            server.retry_after = said or http_date(int(time.time()) + 2)
            server.fault_rate = 1.0
            threading.Timer(0.1, setattr, (server, "fault_rate", 0.0)).start()
            asked, began = server.asked.total(), time.monotonic()
            sample(engine, [ask(f"{said} {i}") for i in range(8)])
            assert wait * 0.95 < time.monotonic() - began < wait + 2
            # Those on their way when it was said come again after the pause; nobody asks during it.
            assert server.asked.total() - asked <= 16


def test_a_pause_of_hours_ends_the_run_in_one_line():
    with Stub(faults=("429-after",), retry_after="7200") as server:
        engine = engine_for(server)
        server.fault_rate = 1.0
        with pytest.raises(EngineError, match="asks to wait 7200 s.*Run again then: finished samples are kept"):
            list(engine.sample([ask("q")]))


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("3", 3),
        ("0.5", 0.5),
        ("-1", 0),
        ("", None),
        ("soon", None),
        ("inf", None),
        (http_date(1000), 40),
        ("nan", None),
    ],
)
def test_reading_retry_after(said, seconds):
    assert retry_after({"Retry-After": said}, now=960) == seconds
    assert retry_after({}) is None


@settings(deadline=None)
@given(st.integers(1, 40), st.none() | st.floats(0, 100))
def test_waits_are_jittered_bounded_and_never_shorter_than_asked(failures, asked):
    wait = Retries(first=0.5, longest=8).wait(failures, asked)
    assert (asked or 0) <= wait <= (asked or 0) + min(8, 0.5 * 2 ** (failures - 1))


def test_jitter_neither_uses_nor_moves_the_common_generator():
    random.seed(0)
    state = random.getstate()
    waits = {Retries().wait(9, None) for _ in range(20)}
    assert len(waits) == 20 and random.getstate() == state


# The window.


def test_the_window_falls_to_what_the_server_bears_and_recovers():
    with Stub(latency=0.005) as server:
        engine = engine_for(server, concurrency=32, retries=Retries(busy_attempts=99, first=0.01, longest=0.05))
        server.capacity = 4
        assert not [c for c in sample(engine, [ask(f"q{i}") for i in range(300)]) if c.error]
        assert engine.window < 10
        refused = server.statuses["429"]
        assert refused < 300  # without the window: 28 of 32 at a time
        server.capacity = 1 << 20
        sample(engine, [ask(f"r{i}") for i in range(700)])
        assert engine.window == 32 and server.statuses["429"] == refused


def test_one_wave_of_refusals_halves_once():
    window = Window(16)
    for _ in range(16):
        window.shrink(0)
    assert window.size == 8
    window.shrink(1)
    assert window.size == 4
    for _ in range(100):
        window.grow()
    assert 14 < window.size <= 16


def test_a_pause_holds_back_everybody():
    async def run():
        window = Window(4)
        await window.enter()
        window.pause(0.2)
        window.pause(0.1)  # a shorter one takes nothing off
        began = time.monotonic()
        await asyncio.gather(window.enter(), window.enter())
        return time.monotonic() - began

    assert 0.19 < asyncio.run(run()) < 2


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.lists(st.sampled_from(["good", "busy", "fault"]), max_size=60))
def test_no_more_are_in_than_the_window_holds_and_nobody_waits_for_ever(most, fates):
    async def run():
        window, inside = Window(most), 0

        async def one(fate):
            nonlocal inside
            entered = await window.enter()
            inside += 1
            assert inside <= int(window.size) or fate  # shrinking throws nobody out
            assert inside <= most
            await asyncio.sleep(0)
            inside -= 1
            {"good": window.grow, "busy": lambda: window.shrink(entered), "fault": lambda: None}[fate]()
            window.leave()

        await asyncio.wait_for(asyncio.gather(*map(one, fates)), 10)
        assert window.open == 0 and 1 <= window.size <= most

    asyncio.run(run())


def test_never_more_at_once_than_asked_for():
    with Stub(latency=0.01) as server:
        sample(engine_for(server, concurrency=5), [ask(f"q{i}") for i in range(60)])
        assert server.most_at_once == 5


# Nothing is left open.


def test_a_consumer_that_stops_leaves_no_task_no_socket_and_no_loop():
    with Stub(latency=0.02) as server:
        engine = engine_for(server, concurrency=20)
        requests = [ask(f"q{i}") for i in range(400)]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            drawn = engine.sample(requests)
            assert next(drawn)
            assert len(server.connections) == 20
            drawn.close()
            gc.collect()
        assert not caught
        deadline = time.monotonic() + 5
        while server.connections and time.monotonic() < deadline:
            time.sleep(0.01)
        asked = server.asked.total()
        assert not server.connections and asked < 100
        time.sleep(0.1)
        assert server.asked.total() == asked


def test_nothing_is_asked_before_the_first_is_wanted_nor_far_ahead():
    with Stub() as server:
        engine = engine_for(server, concurrency=4)
        before = server.asked.total()
        drawn = engine.sample([ask(f"q{i}") for i in range(500)])
        time.sleep(0.05)
        assert server.asked.total() == before
        for _ in range(10):
            next(drawn)
            time.sleep(0.01)
        assert server.asked.total() - before <= 10 + 2 * 4
        drawn.close()


def test_it_works_where_an_event_loop_runs_already():
    async def notebook(server):
        engine = engine_for(server)
        drawn = engine.sample([ask(f"q{i}") for i in range(20)])
        first = next(drawn)
        return [first, *drawn]

    with Stub() as server:
        pairs = asyncio.run(notebook(server))
        assert [c for _, c in sorted(pairs, key=lambda p: p[0])] == sample(
            engine_for(server), [ask(f"q{i}") for i in range(20)]
        )


def test_iterate_hands_on_everything_and_then_the_error():
    async def produce(emit):
        emit(None)
        emit(0)
        await asyncio.sleep(0)
        emit(2)
        raise ValueError("at the end")

    def taken():
        got = []
        with pytest.raises(ValueError, match="at the end"):
            for item in iterate(produce):
                got.append(item)
        return got

    assert taken() == [None, 0, 2]

    async def inside():
        return taken()

    assert asyncio.run(inside()) == [None, 0, 2]


def test_a_fault_while_the_engine_is_made_is_overcome_too():
    with Stub(fault_rate=0.5, faults=("500", "close", "malformed")) as server:
        engine = engine_for(server, retries=Retries(attempts=30, first=0.001, longest=0.002))
        assert engine.reported.temperature == "raw" and engine.reported.top_p == "raw"
    assert QUICK.attempts == 6


def test_no_part_of_an_address_that_is_secret_is_repeated():
    client = ChatClient("https://tok%40en-user:p%40ssw0rd-secret@h/v1?api-version=1&api-key=SECRETKEY12345", 1, QUICK)
    said = client._said("bad key SECRETKEY12345 for tok@en-user, p@ssw0rd-secret or p%40ssw0rd-secret")
    assert said == "bad key *** for ***, *** or ***"


def test_an_answer_too_deep_to_read_is_a_malformed_one():
    from labelers.engines.openai_api.client import _message

    deep = b"[" * 200_000
    assert _message(deep).startswith("[[[")


def test_alternatives_of_no_probability_are_passed_over():
    tops = [{"token": "a", "logprob": None}, {"logprob": -1.0}, {"token": "b", "logprob": -0.5}, "odd"]
    answer = {"choices": [{"logprobs": {"content": [{"top_logprobs": tops}]}}]}
    assert _alternatives(answer) == {"b": -0.5}
    assert not Reported().raw(Sampling()) and not Reported().behavior(Sampling())
