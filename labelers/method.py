"""A labeling method: proposal x scorer x selector, under a name and a checked configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from datasets_cards.errors import InputError
from labelers.proposals import PROPOSALS, Proposal, settings
from labelers.scorers import AGREEMENTS, SCORERS, Scorer, make_scorer
from labelers.selectors import SELECTORS, Selector


class MethodConfig(BaseModel):
    """What every method can be told; each method's own configuration extends it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    max_new_tokens: int = Field(256, ge=1, description="a completion that reaches it is cut")


class SamplesConfig(MethodConfig):
    """k independent samples; by default the nucleus pool of `self_confidence`."""

    k: int = Field(4, ge=1, description="samples a row")
    temperature: float = Field(0.7, ge=0, description="0 is greedy")
    top_p: float = Field(0.9, gt=0, le=1, description="nucleus mass, 1 keeps everything")


class Method:
    """The parts of a method. A method is a subclass that names itself and its configuration and sets the three parts.

    Attributes:
        name: as on the command line.
        any_pool: whether it can choose from a pool of any proposal, as controls of selection do.
        proposal: what candidates are drawn from.
        scorer: what scores them, or None.
        selector: what chooses.
    """

    name: str
    any_pool: ClassVar[bool] = False
    config_class: ClassVar[type[MethodConfig]] = MethodConfig
    proposal: Proposal
    scorer: Scorer | None = None
    selector: Selector

    def __init__(self, config: MethodConfig | None = None) -> None:
        self.config = config or self.config_class.model_validate({})
        self.compose()

    def compose(self) -> None:
        """Set proposal, scorer and selector from the configuration."""
        raise NotImplementedError

    @classmethod
    def from_options(cls, **options: Any) -> Self:
        """A method from plain options; those that are None are left at their defaults.

        Raises:
            InputError: an option that the method doesn't have, or a value out of its range.
        """
        given = {name: value for name, value in options.items() if value is not None}
        try:
            return cls(cls.config_class(**given))
        except ValidationError as error:
            problem = error.errors()[0]
            option = ".".join(map(str, problem["loc"]))
            if problem["type"] == "extra_forbidden":
                known = ", ".join(cls.config_class.model_fields)
                raise InputError(
                    f"{cls.name} has no option {option!r}", where=option, remedy=f"It has: {known}"
                ) from None
            raise InputError(f"{problem['msg']}, not {problem['input']!r}", where=f"{cls.name}: {option}") from None

    @property
    def needs(self) -> frozenset[str]:
        """What it can't do without, see `Tools.check`."""
        needs = self.proposal.needs | (self.scorer.needs if self.scorer else frozenset())
        # The log-probability of what was drawn under another prompt is scored under the plain one.
        return needs | {"score"} if "logprob" in needs and self.proposal.rescored else needs

    @property
    def scorer_name(self) -> str | None:
        """The column of its scores, or None where it has no scorer."""
        return self.scorer.name if self.scorer else None

    def scorers_beside(self, names: Sequence[str]) -> list[Scorer]:
        """Scorers by name at their defaults, each once; the method's own, which has its settings, is not among them.

        Raises:
            InputError: no such scorer.
        """
        return [make_scorer(name) for name in dict.fromkeys(names) if name != self.scorer_name]


class Crossed(Method):
    """A method with some of its parts exchanged, named by its three parts."""

    def __init__(self, proposal: Proposal, scorer: Scorer | None, selector: Selector, config: MethodConfig) -> None:
        self.proposal, self.scorer, self.selector, self.config = proposal, scorer, selector, config
        self.name = ".".join((proposal.name, scorer.name if scorer else "none", selector.name))


def crossed(
    method: Method, *, proposal: str | None = None, scorer: str | None = None, selector: str | None = None
) -> Method:
    """A method with other parts in place of its own: the factorial that tells labeling from selection.

    Args:
        method: where the parts that are not named come from.
        proposal: one of `PROPOSALS`; it takes those of the method's options that it has.
        scorer: one of `SCORERS`, or `none`.
        selector: one of `SELECTORS`.

    Returns:
        A method called `proposal.scorer.selector`; the method itself where nothing is exchanged.

    Raises:
        InputError: no such part, or a selector that goes by scores without a scorer, or by agreement with another.
    """
    if proposal is None and scorer is None and selector is None:
        return method
    # A part that the method has already keeps its settings.
    new_proposal = proposal if proposal != method.proposal.name else None
    new_scorer = scorer if scorer != method.scorer_name else None
    new_selector = selector if selector != method.selector.name else None
    parts = (
        _proposal(new_proposal, method) if new_proposal else method.proposal,
        None if scorer == "none" else _part("scorer", SCORERS, new_scorer)() if new_scorer else method.scorer,
        _part("selector", SELECTORS, new_selector)() if new_selector else method.selector,
    )
    made = Crossed(*parts, method.config)
    if made.selector.needs_scores and not made.scorer:
        raise InputError(
            f"the selector {made.selector.name} goes by scores",
            where="scorer",
            remedy=f"Name one: {', '.join(SCORERS)}",
        )
    if made.selector.name == "keep_if_agrees" and not isinstance(made.scorer, AGREEMENTS):
        raise InputError(
            f"the selector keep_if_agrees goes by a count of agreement, which {made.scorer_name} is not",
            where="scorer",
            remedy=f"Name one: {', '.join(each.name for each in AGREEMENTS)}",
        )
    return made


def _part(kind: str, known: dict[str, Any], name: str) -> Any:
    if name not in known:
        raise InputError(f"no {kind} is called {name!r}", where=kind, remedy=f"Choose one of: {', '.join(known)}")
    return known[name]


def _proposal(name: str, method: Method) -> Proposal:
    chosen: Any = _part("proposal", PROPOSALS, name)
    known, asked = set(chosen.__dataclass_fields__), method.config.model_fields_set
    if unused := (asked - known) & set(settings(method.proposal)):
        raise InputError(f"the proposal {name} has no {min(unused)}", where=min(unused), remedy="Leave it out")
    return chosen(**method.config.model_dump(include=known & asked))
