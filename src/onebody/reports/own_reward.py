"""Control of the playground for a reward of the user's own."""

from collections.abc import Callable
from typing import Any

from onebody.core.errors import OnebodyError
from onebody.reports import controls
from onebody.tasks import expression
from onebody.tasks.family import Reward, TaskFamily


def add(
    gui: Any,
    family: TaskFamily,
    seconds: float,
    optimise: Callable[[str, Reward], None],
    send: Callable[[Callable[[], None]], None],
) -> None:
    """A field for a reward expression, a button, and the names that may be in the expression.

    Args:
        seconds: of policy optimisation, as the button says.
        optimise: takes the expression and its reward.
        send: gets a call of it when the button is pressed, unless the expression is wrong, which the page says.
    """
    with gui.add_folder("a reward of your own", expand_by_default=False):
        field = gui.add_text("reward", "")
        button = gui.add_button(f"optimise for {seconds:.0f} s")
        wrong = gui.add_html("")
        names = (f"{name}: {meaning}" for name, meaning in expression.names(family).items())
        gui.add_html(controls.text(f"The reward of a step: {expression.ALLOWED}. The names:", *names))

    @button.on_click
    def _(_: Any) -> None:
        text = field.value.strip()
        try:
            reward = expression.parse(text, family)
        except OnebodyError as error:
            wrong.content = controls.text(str(error))
        else:
            wrong.content = ""
            send(lambda: optimise(text, reward))
