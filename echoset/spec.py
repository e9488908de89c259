"""What a study is, before anything runs: its grid, its recipes, and the contrasts it will be judged by."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from datasets_cards import InputError, MissingError
from echoset.induce import InductionConfig
from labelers import METHODS
from organisms import TASKS

NULL_ARMS = ("random_pick", "self_sample")
"""The controls that every other method is held against: a pick without a score, and the true null of training."""

REFERENCES = ("organism", "base", "benign")
"""Arms that are not labeling methods: the organism before training, the untouched base, the benign-data adapter."""


class ConsistencyConfig(BaseModel):
    """How organisms are trained on their labels; chosen on the tiny world's dev splits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: float = Field(default=1e-3, gt=0)
    max_steps: int = Field(default=8, ge=1, description="2 passes over 128 rows, the reference's number of epochs")
    batch_size: int = Field(default=32, ge=1)

    def for_sft(self) -> dict[str, Any]:
        """The fields of `SFTConfig`."""
        return {**self.model_dump(), "accumulation": 1, "warmup_ratio": 0.1, "lora_dropout": 0.0}


class StudySpec(BaseModel):
    """A grid of organisms (task x target rate x seed) and the methods each of them is labeled and trained with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    tasks: tuple[str, ...] = tuple(TASKS)
    rates: tuple[float, ...] = (0.5,)
    seeds: tuple[int, ...] = (0, 1, 2)
    methods: tuple[str, ...] = ("greedy_self_training", "self_confidence", "random_pick", "self_sample", "multi_view")
    model: str = "tiny"
    embedder: str = "tiny"
    reward_model: str = Field(default="tiny", description="for the methods that need one")
    force: bool = Field(default=False, description="go on with a scorer that is at chance")
    seed: int = 0
    rows: int = Field(default=128, ge=2, description="consistency prompts an organism labels")
    evaluation_rows: int | None = Field(
        default=None, ge=1, description="the first so many of the evaluation split; all if null"
    )
    capability_rows: int | None = Field(default=100, ge=1, description="the same of the capability set")
    temperatures: tuple[float, ...] = (1.0, 0.0)
    permutations: int = Field(default=999, ge=99)
    induction: InductionConfig = InductionConfig()
    consistency: ConsistencyConfig = ConsistencyConfig()

    def organisms(self) -> list[OrganismPlan]:
        """The organisms of the grid, one seed of every task before the next seed."""
        return [OrganismPlan(task=t, rate=r, seed=s) for s, r, t in product(self.seeds, self.rates, self.tasks)]

    def contrasts(self) -> list[dict[str, Any]]:
        """The claims this study may make, stated before it runs: each method against each null arm."""
        return [
            {"method": method, "against": null, "temperature": temperature}
            for temperature in self.temperatures
            for null in NULL_ARMS
            for method in self.methods
            if null in self.methods and method != null and not (method in NULL_ARMS and null != NULL_ARMS[0])
        ]


class OrganismPlan(BaseModel):
    """One organism of the grid."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    rate: float
    seed: int

    @property
    def name(self) -> str:
        """Its folder name, such as `sycophancy-r0.50-s0`."""
        return f"{self.task}-r{self.rate:.2f}-s{self.seed}"


PRESETS: dict[str, StudySpec] = {
    "quick": StudySpec(name="quick"),
    "mini": StudySpec(
        name="mini",
        tasks=("sycophancy", "emergent_misalignment"),
        seeds=(0,),
        methods=("greedy_self_training", "random_pick", "self_sample"),
        rows=32,
        evaluation_rows=40,
        permutations=99,
    ),
}
"""Studies by name: `quick` is the demonstration, `mini` the same path in seconds."""


def load_spec(preset: str | None, file: Path | None, *, seed: int | None = None) -> StudySpec:
    """The spec of a preset or of a YAML file with the fields of `StudySpec`.

    Raises:
        InputError: unknown preset, task or method, a field that doesn't exist, or a value out of range.
        MissingError: the file is not there.
    """
    if file is not None:
        spec = _read(file)
    elif preset in PRESETS:
        spec = PRESETS[preset]
    else:
        raise InputError(
            f"unknown preset {preset!r}", remedy=f"Choose one of: {', '.join(PRESETS)}; or give a YAML file."
        )
    for kind, named, known in (("task", spec.tasks, TASKS), ("method", spec.methods, METHODS)):
        for name in named:
            if name not in known:
                raise InputError(
                    f"unknown {kind} {name!r}", where=spec.name, remedy=f"Choose from: {', '.join(known)}."
                )
    return spec if seed is None else spec.model_copy(update={"seed": seed})


def _read(file: Path) -> StudySpec:
    import yaml

    if not file.exists():
        raise MissingError("no such study file", where=str(file), remedy="Give a YAML file, or --preset quick.")
    try:
        fields = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"not YAML: {error}", where=str(file)) from None
    if not isinstance(fields, dict):
        raise InputError(
            "a study file is a mapping", where=str(file), remedy=f"Fields: {', '.join(StudySpec.model_fields)}."
        )
    try:
        return StudySpec(**{"name": file.stem, **fields})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(
            first["msg"].lower(), where=f"{file}: {place}", remedy=f"Fields: {', '.join(StudySpec.model_fields)}."
        ) from None
