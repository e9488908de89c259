"""A labeling method: proposal x scorer x selector, under a name and a checked configuration."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from datasets_cards.errors import InputError
from labelers.proposals import Proposal
from labelers.scorers import Scorer
from labelers.selectors import Selector


class MethodConfig(BaseModel):
    """What every method can be told; each method's own configuration extends it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    max_new_tokens: int = Field(256, ge=1, description="a completion that reaches it is cut")


class SamplesConfig(MethodConfig):
    """The nucleus pool that `self_confidence` and `random_pick` share by default."""

    k: int = Field(4, ge=1, description="samples a row")
    temperature: float = Field(0.7, ge=0, description="0 is greedy")
    top_p: float = Field(0.9, gt=0, le=1, description="nucleus mass, 1 keeps everything")


class Method:
    """The parts of a method. A method is a subclass that names itself and its configuration and sets the three parts.

    Attributes:
        name: as on the command line.
        proposal: what candidates are drawn from.
        scorer: what scores them, or None.
        selector: what chooses.
    """

    name: ClassVar[str]
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
