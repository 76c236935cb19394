"""The seed of methods that draw by lot."""

from compress_explorer.spec.parameter import Parameter


def seed_parameter(text: str, when: tuple[str, tuple[str, ...]] | None = None) -> Parameter:
    """The declaration of a seed.

    Args:
        text: what it decides.
        when: the choice of another parameter for which it counts; None: always.
    """
    return Parameter(
        name="seed",
        label="Seed",
        kind="integer",
        default=0,
        minimum=0,
        maximum=2**31 - 1,
        soft_maximum=20,
        when=when,
        help=text,
    )
