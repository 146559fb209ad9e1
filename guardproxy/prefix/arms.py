"""Several prefixes at work side by side, or a prefix and none: which conversation gets which. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from guardproxy.model import Request
from guardproxy.prefix.artifact import PrefixArtifact

MAIN = "main"  # where nothing is compared


@dataclass(frozen=True, slots=True)
class Arm:
    """`artifacts` are by model, the first that fits; without any it is the arm to compare with. `weight` is its share
    of the conversations beside the others'. `shadow`: what it would do is worked out and counted, and not done."""

    name: str
    artifacts: tuple[PrefixArtifact, ...]
    weight: float = 1.0
    shadow: bool = False


def arm_of(arms: Sequence[Arm], request: Request, identity: str) -> Arm:
    """The same for every request of a conversation, in every process, with nothing remembered: by a digest of whose it
    is and of how it began. Conversations of one client that begin with the same words share an arm."""
    if len(arms) == 1:
        return arms[0]
    began = next((message.text for message in request.messages if message.role == "user"), "")
    digest = blake2b(f"{identity}\n{began}".encode("utf-8", "surrogatepass"), digest_size=8, person=b"gp-prefix-arm")
    place = int.from_bytes(digest.digest()) / 2**64 * sum(arm.weight for arm in arms)
    for arm in arms:
        place -= arm.weight
        if place < 0:
            return arm
    return arms[-1]
