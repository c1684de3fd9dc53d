"""`python -m toys.video COMMAND --flag=value ...`: lisa_jax's commands, with the toy video family registered."""

from lisa_jax import __main__ as lisa_jax
from lisa_jax.families import registry
from toys.members import FAMILIES

registry.FAMILIES = FAMILIES
lisa_jax.main()
