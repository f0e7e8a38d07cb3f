"""What is tried at every door with every provider; what comes of it depends on neither."""

from collections.abc import Mapping, Sequence
from typing import Final

from tests.conformance.gateway import (
    about_failures,
    about_lists,
    about_media,
    about_parameters,
    about_talk,
    about_thinking,
    about_tools,
)
from tests.conformance.gateway.scenario import Scenario

#: By what they are about, as the document has them.
SECTIONS: Final[Mapping[str, Sequence[Scenario]]] = {
    "Conversation": about_talk.SCENARIOS,
    "Tools": about_tools.SCENARIOS,
    "Images, files, forms": about_media.SCENARIOS,
    "Thinking": about_thinking.SCENARIOS,
    "Fields and usage": about_parameters.SCENARIOS,
    "Failures": about_failures.SCENARIOS,
    "Beside calls": about_lists.SCENARIOS,
}
SCENARIOS: Final = tuple(scenario for section in SECTIONS.values() for scenario in section)
