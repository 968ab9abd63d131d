"""A history of rotations, policies, codes and endpoints, recorded row by row, for the tests that put rows back.

past = carry_out(node, clock, attacker)
attacker.put_rows(past.held["policy changed", 1])
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from keyturn.bootstrap import Node
from keyturn.domain.lifecycle import RevocationReason
from keyturn.domain.rotation.policy import RotationFrequency, RotationPolicy, RotationStrategy
from keyturn.domain.rotation.selection import KeySelection
from keyturn.domain.secret import Secret
from keyturn.errors import KeyturnError
from keyturn.key_generator import SecureKeyGenerator
from keyturn.ports.ledger import Row
from keyturn.verifier.decision import Demand
from tests.security.attacker import Attacker, Image
from tests.security.history import HandClock, by

URL: Final = "https://hooks.example.org/keys"
KEYS: Final = ("overlapping", "rolled back", "completed", "compromised", "waiting", "picked up", "neighbour")
POLICIES: Final = ("kept", "changed", "deleted")


@dataclass(kw_only=True)
class Past:
    """What happened.

    Attributes:
        names: what each row is called, by its id; the other way round in `ids`.
        held: every row that the store ever held, by name and revision.
        tokens: those that were handed out, by key and version.
        code: one for which the secret was handed out.
        moments: the whole store, after each step.
        end: the store once the node had ended in order.
    """

    names: dict[str, str] = field(default_factory=dict)
    held: dict[tuple[str, int], Row] = field(default_factory=dict)
    tokens: dict[tuple[str, int], Secret] = field(default_factory=dict)
    code: Secret = field(default_factory=lambda: Secret("none"))
    moments: list[Image] = field(default_factory=list)

    @property
    def end(self) -> Image:
        return self.moments[-1]

    @property
    def ids(self) -> Mapping[str, str]:
        return {name: row_id for row_id, name in self.names.items()}

    def now(self, name: str) -> Row:
        return self.end.rows[self.ids[name]]


def policy_of(name: str) -> RotationPolicy:
    return RotationPolicy(
        policy_id=name,
        frequency=RotationFrequency.MONTHLY,
        strategy=RotationStrategy.OVERLAPPING,
        keys=KeySelection(every_key=True),
    )


def _keys(node: Node, past: Past) -> None:
    generator = SecureKeyGenerator(clock=node.clock)
    for name in KEYS:
        key = generator.generate_api_key(name=name)
        node.issuer.issue(key, by())
        past.tokens[name, 1] = key.secret
        past.names |= {key.key_id: name} | {f"{key.key_id}.{n}": f"{name}, version {n}" for n in (1, 2)}


def _policies(node: Node, past: Past) -> None:
    for name in POLICIES:
        kept = node.rotation.policies.create(policy_of(name), by())
        past.names[kept.row_id] = f"policy {name}"
    node.rotation.policies.assign(past.ids["neighbour"], "kept", by())


def _rotations(node: Node, past: Past) -> None:
    def rotate(name: str, strategy: RotationStrategy | None, **how: Any) -> None:
        started = node.rotation.requests.rotate(past.ids[name], by(), strategy=strategy, **how)
        past.names[started.rotation.rotation_id] = f"rotation of {name}"
        if started.secret is not None:
            past.tokens[name, 2] = started.secret

    for name in ("overlapping", "rolled back", "completed"):
        rotate(name, RotationStrategy.OVERLAPPING)
    for name in ("waiting", "picked up"):
        rotate(name, RotationStrategy.OVERLAPPING, keeps_secret=True)
    rotate("compromised", None, is_compromised=True)


def _later(node: Node, past: Past) -> None:
    node.rotation.mover.complete(past.ids["rotation of completed"], by())
    node.rotation.mover.roll_back(past.ids["rotation of rolled back"], by())
    node.rotation.policies.update("changed", by(), {"overlap": 3_600})
    node.rotation.policies.delete("deleted", by())
    node.lifecycle.revoke(past.ids["neighbour"], by(), reason=RevocationReason.SUPERSEDED)


def _code(node: Node, past: Past) -> None:
    past.code = node.rotation.pick_ups.offer(past.ids["rotation of picked up"], by()).code
    past.names |= {row.id: "code" for row in node.ledger.list_rows("pku_", 9) if row.kind == "pickup"}


def _code_used(node: Node, past: Past) -> None:
    past.tokens["picked up", 2] = node.rotation.pick_ups.redeem(past.code).secret


def _endpoints(node: Node, past: Past) -> None:
    for name in ("kept", "changed", "deleted"):
        made = node.notices.endpoints.create(URL, by(), every_event=True)
        past.names[made.endpoint.endpoint_id] = f"endpoint {name}"


def _endpoints_changed(node: Node, past: Past) -> None:
    node.notices.endpoints.update(past.ids["endpoint changed"], by(), {"url": f"{URL}/anew"})
    node.notices.endpoints.delete(past.ids["endpoint deleted"], by())


def _endpoints_changed_again(node: Node, past: Past) -> None:
    node.notices.endpoints.rotate_secret(past.ids["endpoint changed"], by(), overlap=0)


STEPS: Final = (
    _keys,
    _policies,
    _rotations,
    _later,
    _code,
    _code_used,
    _endpoints,
    _endpoints_changed,
    _endpoints_changed_again,
)


def carry_out(node: Node, clock: HandClock, attacker: Attacker) -> Past:
    """Let it all happen on a node, which is closed then, while the attacker takes notes after each step."""
    past = Past()
    for step in STEPS:
        step(node, past)
        clock.wait(60)
        past.moments.append(attacker.image())
    node.close()
    past.moments.append(attacker.image())
    for image in past.moments:
        past.held |= {
            (past.names[row.id], row.revision): row for row in image.rows.values() if row.id in past.names
        }
    return past


def told(node: Node, token: Secret) -> str:
    """The code that a token is answered."""
    return node.verifier.authenticate(token.reveal(), Demand.of(tenant="default")).code


def use(node: Node, past: Past, name: str) -> str:
    """Reach for what a row says, as management does: `ok`, or the code of the refusal."""
    row_id = past.ids[name]
    try:
        if name.startswith("policy"):
            node.rotation.policies.get(name.removeprefix("policy "), by())
        elif name.startswith("rotation"):
            node.rotation.mover.get(row_id, by())
        elif name.startswith("endpoint"):
            endpoint = node.notices.endpoints.get(row_id, by())
            node.notices.endpoints.secrets(endpoint, endpoint.updated_at)
        elif ", version" in name:
            node.records.get(row_id)
        elif name == "code":
            node.rotation.pick_ups.redeem(past.code)
        else:
            node.rotation.requests.preview(row_id, by())
    except KeyturnError as error:
        return error.code
    return "ok"
