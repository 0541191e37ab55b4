"""A module together with the state of the optimiser that trains it."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
import optax
from jaxtyping import Array, Float, PyTree

from onebody.core.nets import trainable

Module = TypeVar("Module")
Loss = Callable[[Module], tuple[Float[Array, ""], Any]]
"""module -> loss, and further results of its computation, such as metrics"""


class TrainState(eqx.Module, Generic[Module]):
    """A module, whose normalisers are no parameters, and the state of its optimiser."""

    module: Module
    optimizer_state: PyTree

    @classmethod
    def create(cls, module: Module, optimizer: optax.GradientTransformation) -> "TrainState[Module]":
        """A module before its first gradient step."""
        return cls(module, optimizer.init(eqx.filter(module, trainable(module))))

    def with_module(self, module: Module) -> "TrainState[Module]":
        """Another module with parameters of the same shapes, such as a renormalised one; the same optimiser state."""
        return TrainState(module, self.optimizer_state)

    def minimize(
        self, loss: Loss[Module], optimizer: optax.GradientTransformation, scale: Float[Array, ""] | float = 1.0
    ) -> tuple["TrainState[Module]", Any]:
        """One gradient step down a loss.

        Args:
            scale: factor of the step.

        Returns:
            The new state, and what the loss returned besides its value.
        """
        gradient, (_, rest) = gradient_and_value(loss, self.module)
        return self.apply(gradient, optimizer, scale), rest

    def apply(
        self, gradient: PyTree, optimizer: optax.GradientTransformation, scale: Float[Array, ""] | float = 1.0
    ) -> "TrainState[Module]":
        """One step of the optimiser from a gradient with respect to the module's parameters.

        Args:
            scale: factor of the step.
        """
        parameters, fixed = eqx.partition(self.module, trainable(self.module))
        updates, optimizer_state = optimizer.update(gradient, self.optimizer_state, parameters)
        updates = jax.tree.map(lambda x: scale * x, updates)
        module: Any = eqx.combine(optax.apply_updates(parameters, updates), fixed)
        return TrainState(module, optimizer_state)


def gradient_and_value(loss: Loss[Module], module: Module) -> tuple[PyTree, tuple[Float[Array, ""], Any]]:
    """The gradient of a loss with respect to a module's parameters, its value, and what it returned besides."""
    parameters, fixed = eqx.partition(module, trainable(module))
    value, gradient = jax.value_and_grad(lambda free: loss(eqx.combine(free, fixed)), has_aux=True)(parameters)
    return gradient, value
