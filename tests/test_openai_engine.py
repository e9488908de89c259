"""The openai engine against a server whose whole distribution can be enumerated: what it asks, records and refuses."""

import json
import math
from collections import Counter
from dataclasses import replace

import pytest
from scipy import stats
from stub_server import SAID, WORDS, Stub, distribution, draw

from datasets_cards.errors import EngineError, InputError
from labelers.engines import load_engine
from labelers.engines.openai_api.client import ChatClient
from labelers.engines.openai_api.engine import OpenAIEngine
from labelers.engines.openai_api.format import Dialect, Reported, completion_of, fold_seed
from labelers.engines.openai_api.retries import Retries
from labelers.engines.protocol import SampleRequest, Sampling, derive_seed

GREEDY, PLAIN, NUCLEUS, HOT = Sampling(0, 1, 8), Sampling(1, 1, 8), Sampling(0.7, 0.9, 8), Sampling(1.3, 1, 8)
QUICK = Retries(first=0.002, longest=0.01)


def ask(content, sampling=PLAIN, index=0):
    messages = [{"role": "user", "content": content}]
    return SampleRequest(content, messages, sampling, derive_seed(0, content, "candidate/plain", index), index)


def sample(engine, requests):
    return [c for _, c in sorted(engine.sample(requests), key=lambda pair: pair[0])]


def engine_for(stub, **options):
    return OpenAIEngine("stub", base_url=stub.url, retries=options.pop("retries", QUICK), **options)


@pytest.fixture(scope="module")
def stub():
    with Stub() as server:
        yield server


def body_of(request):
    return json.loads(Dialect().body("stub", request))


def exact(request, sampling):
    """The log-probability of what the stub draws for a request, under a setting of choice."""
    tokens, states, _ = draw(body_of(request))
    return sum(distribution(s, sampling.temperature, sampling.top_p)[t] for s, t in zip(states, tokens, strict=True))


# What a sample is.


def test_every_request_is_answered_once_in_any_order_with_its_own_draw(stub):
    before = stub.asked.copy()
    engine = engine_for(stub, concurrency=7)
    requests = [ask(f"q{i}", s, k) for i in range(10) for s in (GREEDY, PLAIN, NUCLEUS, HOT) for k in range(2)]
    pairs = list(engine.sample(requests))
    assert sorted(position for position, _ in pairs) == list(range(len(requests)))
    for position, completion in pairs:
        tokens, _, finish = draw(body_of(requests[position]))
        assert completion.token_ids == tokens and completion.token_count == len(tokens)
        assert completion.text == "".join(WORDS[t] for t in tokens) and completion.finish_reason == finish
    asked = stub.asked - before
    assert asked.total() == len(requests) + 4  # and the probes
    assert engine.commit_every == 1


def test_load_engine_finds_it(stub):
    engine = load_engine("openai", "stub", base_url=stub.url, concurrency=3)
    assert isinstance(engine, OpenAIEngine) and engine.concurrency == 3
    with pytest.raises(InputError, match="no batch_size"):
        load_engine("openai", "stub", base_url=stub.url, batch_size=3)


def test_frequencies_are_those_of_the_server(stub):
    engine = engine_for(stub)
    drawn = sample(engine, [ask("one prompt", Sampling(0.7, 0.9, 1), k) for k in range(600)])
    state = draw(body_of(ask("one prompt")))[1][0]
    expected = [600 * math.exp(x) for x in distribution(state, 0.7, 0.9)]
    counts = Counter(c.token_ids[0] for c in drawn)
    kept = [t for t, n in enumerate(expected) if n > 0]
    assert set(counts) <= set(kept)
    assert stats.chisquare([counts[t] for t in kept], [expected[t] for t in kept]).pvalue > 1e-3


def test_seeds_fit_every_server_and_keep_samples_apart():
    seeds = [derive_seed(0, "row", "candidate/plain", k) for k in range(10_000)]
    folded = {fold_seed(seed) for seed in seeds}
    assert len(folded) == len(seeds)
    assert min(folded) >= 0 and max(folded) < 2**31
    assert fold_seed(1) == 1 and fold_seed(1 << 32) == 1 and fold_seed(2**64 - 1) == 0


def test_a_request_names_what_would_otherwise_be_the_servers_choice():
    assert body_of(ask("q", NUCLEUS)) == {
        "model": "stub",
        "messages": [{"role": "user", "content": "q"}],
        "temperature": 0.7,
        "top_p": 0.9,
        "seed": fold_seed(ask("q", NUCLEUS).seed),
        "max_tokens": 8,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "return_token_ids": True,
        "logprobs": True,
    }


# Log-probabilities: raw, or those drawn from, found out by asking.


@pytest.mark.parametrize(
    ("kind", "raw_known", "behavior_known"),
    [
        ("raw", (PLAIN, NUCLEUS, HOT, GREEDY), (PLAIN,)),
        ("processed", (PLAIN, GREEDY), (PLAIN, NUCLEUS, HOT)),
        ("scaled", (PLAIN, GREEDY), (PLAIN, HOT)),
        ("none", (), ()),
        ("refused", (), ()),
    ],
)
def test_log_probabilities_are_exact_where_they_are_known_and_none_elsewhere(kind, raw_known, behavior_known):
    with Stub(logprobs=kind) as server:
        engine = engine_for(server)
        for sampling in (PLAIN, NUCLEUS, HOT, GREEDY):
            requests = [ask(f"q{i}", sampling) for i in range(12)]
            for request, c in zip(requests, sample(engine, requests), strict=True):
                expected = exact(request, PLAIN) if sampling in raw_known else None
                assert c.logprob == (expected if expected is None else pytest.approx(expected, abs=1e-9))
                expected = (
                    0.0 if sampling is GREEDY else exact(request, sampling) if sampling in behavior_known else None
                )
                assert c.behavior_logprob == (expected if expected is None else pytest.approx(expected, abs=1e-9))
        lacks = {"logprob": NUCLEUS not in raw_known, "behavior_logprob": NUCLEUS not in behavior_known}
        for ability, lacking in lacks.items():
            assert (ability in engine.lacks) == lacking
            assert not lacking or server.url in engine.lacks[ability]
        assert {"beam", "score", "uncertainty", "adapter"} <= engine.lacks.keys()


def test_a_sum_that_is_not_of_every_token_is_not_given():
    answer = {
        "choices": [
            {
                "message": {"content": "a b"},
                "finish_reason": "stop",
                "logprobs": {"content": [{"logprob": -1.0}, {"logprob": -2.0}]},
            }
        ],
        "usage": {"completion_tokens": 2},
    }
    reported = Reported(True, "raw", "raw", True)
    assert completion_of(answer, PLAIN, reported).logprob == -3.0
    answer["usage"]["completion_tokens"] = 3
    assert completion_of(answer, PLAIN, reported).logprob is None
    answer["usage"] = None
    assert completion_of(answer, PLAIN, reported).logprob == -3.0
    answer["choices"][0]["logprobs"]["content"][0]["logprob"] = None
    assert completion_of(answer, PLAIN, reported).logprob is None
    answer["choices"][0]["logprobs"]["content"][0]["logprob"] = -1.0
    answer["choices"][0]["message"]["reasoning_content"] = "hidden"
    assert completion_of(answer, PLAIN, reported).logprob is None


# Servers that know less.


@pytest.mark.parametrize("habit", ["ignored", "refused"])
def test_servers_without_token_ids(habit):
    with Stub(token_ids=habit) as server:
        engine = engine_for(server)
        assert "token_ids" in engine.lacks
        (c,) = sample(engine, [ask("q")])
        assert c.token_ids == [] and c.token_count == len(draw(body_of(ask("q")))[0]) and c.logprob is not None
        refused = server.statuses["400"]
        sample(engine, [ask(f"q{i}") for i in range(5)])
        assert server.statuses["400"] == refused == (habit == "refused")
        server.usage = False
        assert sample(engine, [ask("other")])[0].token_count is None


def test_everything_optional_refused():
    with Stub(token_ids="refused", logprobs="refused", usage=False) as server:
        (c,) = sample(engine_for(server), [ask("q", NUCLEUS)])
    assert c.text and (c.token_ids, c.token_count, c.logprob, c.behavior_logprob) == ([], None, None, None)


def test_the_newer_name_of_the_longest_completion():
    refusal = (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    )
    dialect = Dialect().without(refusal)
    assert dialect and json.loads(dialect.body("m", ask("q")))["max_completion_tokens"] == 8
    assert "max_tokens" not in json.loads(dialect.body("m", ask("q")))


# Answers that are none, and odd ones.


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("[refusal]", "refused: I can't help with that."),
        ("[filtered]", "content_filter: the server withheld the answer"),
        ("[tool]", "tool_calls: the model called a tool instead of answering"),
        ("[thought]", "no_answer: every token went into the model's reasoning"),
        ("[refuse]", "request_refused: 400 roles must alternate"),
    ],
)
def test_what_is_no_answer_is_recorded_with_its_reason(stub, said, error):
    (c,) = sample(engine_for(stub), [ask(said)])
    assert (c.finish_reason, c.text, c.error) == ("error", "", error)
    assert c.logprob is None and c.behavior_logprob is None


@pytest.mark.parametrize("said", ["[nothing]", "[null]"])
def test_a_model_that_says_nothing_says_nothing(stub, said):
    (c,) = sample(engine_for(stub), [ask(said)])
    assert (c.finish_reason, c.text, c.error) == ("stop", "", None)
    assert c.token_count


def test_essays_and_control_characters_are_text(stub):
    essay, control = sample(engine_for(stub), [ask("[essay]"), ask("[control]")])
    assert essay.text == SAID["[essay]"][0]
    assert control.text == "a\x00b\x1b[31m\u2028?"


def test_a_long_prompt_is_sent_and_one_too_long_is_recorded(stub):
    with Stub(context=100_500) as server:
        fits, not_ = sample(engine_for(server), [ask("x" * 100_000), ask("x" * 101_000)])
    assert fits.finish_reason != "error"
    assert not_.error == "prompt_too_long: 400 This model's maximum context length is 100500 tokens."


def test_a_prompt_that_is_no_text_is_recorded_and_the_others_go_on(stub):
    engine = engine_for(stub)
    half = replace(ask("half"), messages=[{"role": "user", "content": "half \ud83d"}])
    bad, good = sample(engine, [half, ask("good")])
    assert bad.error and bad.error.startswith("prompt_refused: ") and good.text
    with pytest.raises(InputError):
        engine.prompt([{"role": "user", "content": "half \ud83d"}])


# What it is, and what it isn't.


def test_identity_and_prompt(stub):
    engine = engine_for(stub)
    identity = engine.identity
    assert (identity.backend, identity.base_url, identity.model) == ("openai/1", stub.url, "stub")
    assert not any((identity.revision, identity.adapter, identity.dtype, identity.quantization, identity.end_tokens))
    assert "fp_stub" in engine.determinism
    one, two = ([{"role": "user", "content": c}] for c in "ab")
    assert engine.prompt(one) == engine.prompt(list(one)) != engine.prompt(two)
    assert engine.prompt(one).tokens is None and len(engine.prompt(one).digest) == 64


def test_what_it_lacks_is_an_error_of_one_line(stub, tmp_path):
    engine = engine_for(stub)
    assert engine.with_adapter(None) is engine
    messages = [{"role": "user", "content": "q"}]
    for refused in (
        lambda: engine.with_adapter(tmp_path),
        lambda: engine.score([(messages, [1])]),
        lambda: engine.uncertainty([(messages, [1])]),
        lambda: list(engine.sample([ask("q", Sampling(0, 1, 8, beams=4))])),
    ):
        with pytest.raises(InputError) as caught:
            refused()
        assert "\n" not in str(caught.value) and caught.value.remedy


SECRET = "sk-planted-9f2c"


def test_secrets_are_shown_nowhere(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with Stub(api_key=SECRET) as server:
        address = server.url.replace("http://", "http://user:pass-word@").replace("/v1", "/v1?token=in-the-query")
        with pytest.raises(EngineError) as caught:  # the address' own credentials go first, and are wrong here
            OpenAIEngine("stub", base_url=address)
        shown = [str(caught.value), repr(caught.value.__dict__)]
        engine = engine_for(server)
        shown += [repr(engine.identity), repr(vars(engine)), repr(vars(engine._client)), str(dict(engine.lacks))]
        server.api_key = "another"  # its refusal quotes the headers, the key in them
        with pytest.raises(EngineError, match=r"refuses the key \(401\).*OPENAI_API_KEY") as caught:
            list(engine.sample([ask("q")]))
        shown += [str(caught.value), repr(caught.value.__dict__), repr(caught.value.__cause__)]
        server.api_key = ""
        (c,) = sample(engine, [ask("q")])
        shown.append(repr(c))
        shown.append(engine._client._said(f"it says {SECRET} again"))
    assert not any(secret in text for text in shown for secret in (SECRET, "pass-word", "in-the-query"))


def test_credentials_in_the_address_are_used_and_not_part_of_it(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    client = ChatClient("https://me:pa%20ss@host.example:8443/v1/?token=t", 1, QUICK)
    assert client.where == "https://host.example:8443/v1"
    assert client._endpoint == "https://host.example:8443/v1/chat/completions?token=t"
    assert client._basic == "me:pa ss"


# Servers that can't be used, said in one line with a remedy.


def test_no_address_and_bad_ones(monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    for address in (None, "", "localhost:8000", "ftp://host/v1", "http://", "http://host:port/v1"):
        with pytest.raises(InputError, match="base_url.*OPENAI_BASE_URL"):
            OpenAIEngine("m", base_url=address)


def test_the_address_may_come_from_the_environment(stub, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", stub.url + "/")
    assert OpenAIEngine("stub").identity.base_url == stub.url


def test_nobody_there():
    with Stub() as server:
        address = server.url
    with pytest.raises(EngineError, match="can't be reached.*check the address") as caught:
        OpenAIEngine("stub", base_url=address)
    assert address in str(caught.value) and "\n" not in str(caught.value)


def test_another_model_another_path_and_no_key(stub, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(EngineError, match="404 The model `other` does not exist.*ends in /v1"):
        OpenAIEngine("other", base_url=stub.url)
    with Stub(api_key=SECRET) as server, pytest.raises(EngineError, match="without a key .401.*OPENAI_API_KEY"):
        OpenAIEngine("stub", base_url=server.url)
