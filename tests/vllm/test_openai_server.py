"""The openai engine against vLLM's own server on loopback, which serves the embedded model."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from labelers.engines.openai_api.engine import OpenAIEngine
from labelers.engines.protocol import SampleRequest, Sampling, derive_seed

GREEDY, PLAIN, NUCLEUS = Sampling(0, 1, 16), Sampling(1, 1, 16), Sampling(0.7, 0.9, 16)
PATIENCE = 240
"""Seconds for a server to start."""


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="module")
def server(tiny_base, tmp_path_factory):
    from labelers.engines.vllm_offline.model import ON_CPU

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(tiny_base), "--served-model-name",
        "embedded", "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--enforce-eager",
        "--no-enable-chunked-prefill",
    ]  # fmt: skip
    environment = {**ON_CPU, **os.environ, "VLLM_NO_USAGE_STATS": "1"}
    with log.open("w") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        deadline = time.monotonic() + PATIENCE
        while not answers(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it started and left behind
        process.wait()


@pytest.fixture(scope="module")
def served(server):
    return OpenAIEngine("embedded", base_url=server)


def test_greedy_text_and_its_log_probability_equal_the_transformers_engine(
    served, reference, messages, requests_for, draw, gap_of
):
    ours, theirs = (draw(e, requests_for(messages, GREEDY)) for e in (served, reference))
    clear = 0
    for m, a, b in zip(messages, ours, theirs, strict=True):
        if gap_of(reference, reference.prompt_ids(m), b.token_ids) > 1e-4:
            clear += 1
            assert (a.text, a.finish_reason, a.token_count) == (b.text, b.finish_reason, b.token_count)
            assert a.logprob == pytest.approx(b.logprob, abs=1e-4)
            assert a.behavior_logprob == 0
    assert clear > 40


def test_samples_carry_the_raw_log_probabilities_of_their_tokens(served, reference, messages, requests_for, draw):
    assert "token_ids" not in served.lacks and "logprob" not in served.lacks and "behavior_logprob" in served.lacks
    for sampling in (PLAIN, NUCLEUS):
        drawn = draw(served, requests_for(messages, sampling))
        scores = reference.score([(m, c.token_ids) for m, c in zip(messages, drawn, strict=True)])
        assert [c.logprob for c in drawn] == pytest.approx([sum(s) for s in scores], abs=1e-4)
        assert [c.behavior_logprob for c in drawn] == ([c.logprob for c in drawn] if sampling is PLAIN else [None] * 48)


def test_a_seed_is_a_sample_and_other_seeds_are_others(served, messages, requests_for, draw):
    requests = requests_for(messages[:6], Sampling(1.5, 1, 16), 6)
    first = [c.text for c in draw(served, requests)]
    assert [c.text for c in draw(served, requests[::-1])][::-1] == first
    assert sum(len(set(first[i : i + 6])) for i in range(0, len(first), 6)) > 28


def test_short_answers_are_as_frequent_as_with_the_transformers_engine(served, reference, messages, draw):
    short = Sampling(0.7, 0.9, 3)
    for m in messages[:2]:
        requests = [SampleRequest("r", m, short, derive_seed(3, "r", "candidate/plain", i), i) for i in range(300)]
        counts = [Counter(c.text for c in draw(e, requests)) for e in (served, reference)]
        common = sorted(key for key in counts[0] | counts[1] if counts[0][key] + counts[1][key] >= 10)
        table = np.array([[c[key] for key in common] + [300 - sum(c[key] for key in common)] for c in counts])
        table = table[:, table.sum(0) > 0]
        assert table.shape[1] < 2 or stats.chi2_contingency(table).pvalue > 1e-4


def test_a_prompt_longer_than_the_context_is_recorded(served, messages, requests_for, draw):
    long = [{"role": "user", "content": "Where is the fox? " * 200}]
    drawn = draw(served, requests_for([messages[0], long, messages[1]], PLAIN))
    assert [c.finish_reason == "error" for c in drawn] == [False, True, False]
    assert drawn[1].error.startswith("prompt_too_long") and "\n" not in drawn[1].error
