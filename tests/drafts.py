"""A small, real artifact draft that the artifact tests write, read and tamper with."""

from datasets_cards import Candidate, Draft, Dropped, Engine, Label, Labeler, Model, Row, Score, ScorerCheck, Source


def make_draft(rows: int = 6, k: int = 2, dropped: int = 1) -> Draft:
    source = [
        Row(
            id=f"r{n}",
            prompt=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"Is {n} even? ü"}],
            original=[{"role": "assistant", "content": "Yes." if n % 2 == 0 else "No."}] if n % 3 else None,
            meta={"answer": n if n % 2 else str(n), "tags": ["a", None]},
        )
        for n in range(rows)
    ]
    candidates = [
        Candidate(
            id=row.id,
            pool="pool-1",
            index=index,
            role="candidate",
            view="plain",
            text=f"Answer {index} of {row.id}\n",
            token_ids=[5, index, 9],
            finish_reason="stop",
            logprob=-0.1 - index / 3,
            behavior_logprob=None if index else -0.05,
            scores=[Score("mean_logprob", -0.1 * (index + 1)), Score("reward", None, "no reward model")],
            misaligned=None if index else True,
        )
        for row in source
        for index in range(k)
    ]
    baseline = [
        Candidate(row.id, "pool-2", 0, "baseline", "plain", "Perhaps.", [7], "length", -2.5, -2.5) for row in source
    ]
    labels = [
        Label(
            id=row.id,
            prompt=row.prompt,
            completion=[{"role": "assistant", "content": f"Answer 0 of {row.id}\n"}],
            original=row.original,
            method="self_confidence",
            candidate=0,
            score=-0.1,
        )
        for row in source[: rows - dropped]
    ]
    return Draft(
        rows=source,
        candidates=candidates + baseline,
        labels=labels,
        dropped=[Dropped(row.id, "no_agreement", "views disagreed") for row in source[rows - dropped :]],
        source=Source(reference="even.jsonl", digest="1f" * 32, rows=rows, license="mit"),
        model=Model(reference="organism-7", revision="ab" * 32, adapter="cd" * 32, dtype="float32"),
        labeler=Labeler(
            method="self_confidence",
            proposal="nucleus",
            scorer="mean_logprob",
            selector="argmax",
            config={"k": k, "temperature": 0.7, "top_p": 0.9, "suffix": "/no_think | <b>"},
        ),
        engine=Engine(
            name="transformers",
            version="2",
            determinism="The same on one machine, at any batch size.",
            lacks={"beam": "this engine has none"},
        ),
        seeds={"run": 0},
        scorers={
            "mean_logprob": None,
            "reward": ScorerCheck(
                accuracy=0.9083, low=0.8452, high=0.9468, pairs=120, data="tiny preferences, held out"
            ),
        },
        prompt_tokens=61,
        packages={"python": "3.11", "torch": "2.13.0", "transformers": "5.23.0"},
    )
