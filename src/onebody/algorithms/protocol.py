"""What every algorithm is: three functions and a state (Landolfi, Thomas, Ma 2019, §2.2)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

from jaxtyping import Array, Float

from onebody.core.gaussian import Gaussian
from onebody.core.types import Key, Transitions
from onebody.learning.policies import Policy, Remembering
from onebody.tasks.family import TaskFamily
from onebody.worlds.simulator import Simulator

State = TypeVar("State")
Metrics = dict[str, float]

ADAPTATION_STAGES = 4
"""Stages of adaptation that a replay buffer has room for in addition to the data of training; later ones replace the
oldest data"""


def iterations_held(n_iterations: int) -> int:
    """Number of iterations that a replay buffer has room for: `n_iterations`, or more.

    It is a power of two, and at least 32, so that training runs of different lengths share their compiled programs.
    """
    return max(32, 1 << (n_iterations - 1).bit_length())


class Adapted(NamedTuple):
    """One stage of adaptation, for all tasks at once."""

    policies: Policy
    """One per task, stacked"""
    predicted_return: Float[Array, " task"] | None = None
    """Mean return of the deterministic policy in the model, or the median over an ensemble; None without a model"""
    predicted_interval: Float[Array, "task 2"] | None = None
    """Lower and upper bound of the expected return; NaN before real episodes calibrate it, None without an ensemble"""
    novelty: Float[Array, " task"] | None = None
    """The ensemble's disagreement on the states that the policy visits, relative to that on the data: 1 is usual"""
    belief: Gaussian | None = None
    """Distribution of the latent that stands for each hidden task; None for algorithms without one"""


@runtime_checkable
class Algorithm(Protocol[State]):
    """An algorithm never sees paths, loggers or clocks; its simulator counts the real samples that it takes."""

    task_is_known: ClassVar[bool]
    """Whether adaptation is told ψ, or sees only rewards"""
    family: TaskFamily
    config: Any
    """A frozen dataclass; its `n_iterations` is the number of calls of `step` in a whole training run"""
    simulator: Simulator

    def init(self, key: Key) -> State:
        """The state before training: a pytree with everything in it.

        Raises:
            OnebodyError: the algorithm does not take the family, or settings do not suit it; says why.
        """
        ...

    def step(self, state: State, key: Key) -> tuple[State, Metrics]:
        """One outer iteration."""
        ...

    def adapt(self, state: State, tasks: Float[Array, "task feature"], key: Key) -> Iterator[Adapted]:
        """Stages 0, 1, 2 … of adaptation to each of the tasks, for as long as the caller asks. The state does not
        change; all tasks take equally many real samples."""
        ...


@runtime_checkable
class Refining(Algorithm[Any], Protocol):
    """An algorithm that improves a policy for one task inside its model, whatever the reward."""

    refine_updates: ClassVar[int]
    """Policy updates between two policies of `refine`"""

    def rewarded(self, state: Any, family: TaskFamily) -> tuple["Refining", Any]:
        """The algorithm and its state for a family that differs by its reward."""
        ...

    def refine(self, state: Any, task: Float[Array, " feature"], key: Key) -> Iterator[Adapted]:
        """Better and better policies for the task, without real samples, for as long as the caller asks."""
        ...


@runtime_checkable
class LearnsFromLogs(Algorithm[Any], Protocol):
    """An algorithm whose training can begin with logged transitions, and go on without real samples.

    Its configuration has `logged_transitions`, the number of them that the state has room for.
    """

    logs_alone: ClassVar[Mapping[str, Any]]
    """Fields of the configuration with which training takes no real samples; they need logged transitions"""

    def with_logs(self, state: Any, transitions: Transitions, starts: Float[Array, "start observation"]) -> Any:
        """The state with logged transitions [1, time, 1] added.

        Args:
            transitions: consecutive steps; their reward is not used.
            starts: the initial states of imagined episodes, which replace those of the state.
        """
        ...


@runtime_checkable
class InfersOnline(Algorithm[Any], Protocol):
    """An algorithm that adapts to a hidden task episode by episode, and can also do so within one policy's memory."""

    def online(self, state: Any) -> Remembering:
        """A policy that infers its task from rewards as it acts, stacked, as if for one task."""
        ...


Told = Literal["task", "reward function", "nothing"]
"""What adaptation is told: ψ; the family's reward function, but not ψ; or neither, so that it sees rewards alone"""
KINDS: dict[Told, str] = {
    "task": "known task",
    "reward function": "hidden task, known reward function",
    "nothing": "hidden task",
}
"""Names of these three kinds of algorithms, in the order of lists and tables"""


def told(algorithm: type[Any]) -> Told:
    """What an algorithm's adaptation is told. One that infers ψ by the reward function has `reward_is_known = True`."""
    if algorithm.task_is_known:
        return "task"
    return "reward function" if getattr(algorithm, "reward_is_known", False) else "nothing"


@dataclass(frozen=True)
class AlgorithmSpec:
    """An algorithm as it is listed by name: its class, its presets, and what they change for single families.

    Another package adds an algorithm by an entry point of the group `onebody.algorithms` that names its spec.
    """

    algorithm: type[Any]
    """an `Algorithm`, built as `algorithm(family, config, simulator)`"""
    presets: Mapping[str, Any]
    """configurations by the name of their preset; `laptop` is the default of the command line"""
    family_settings: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    """fields of the configuration that differ, by preset and family id; `laptop` has those of `released`, too"""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """fields of the configuration that the algorithm's name stands for, and that no user may change"""
    general: str = ""
    """name of the algorithm that takes other values of them"""
