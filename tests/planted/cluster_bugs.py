"""Bugs of clusters that the simulator finds within two hundred seeds, among them those that INVARIANTS.md quotes."""

from tests.planted.bugs import Bug

CLUSTERS = "tests/simulation/test_clusters.py -k whatever_befalls"

CLUSTER = [
    Bug(
        "what another worker owns runs here in silence when that cannot be reached (C6)",
        "actors/membership.py",
        "            except OwnerUnreachable as error:\n                failure = error\n",
        "            except OwnerUnreachable:\n                return await here(left)\n",
        CLUSTERS,
    ),
    Bug(
        "what may have run is run again (C3)",
        "actors/membership.py",
        "                if not wanted.idempotent:\n                    raise\n",
        "                pass\n",
        CLUSTERS,
    ),
    Bug(
        "a claim is not atomic: whoever claims has it (C1)",
        "protocol/bus_records.py",
        "                if held is not None and held.token not in (holding.token, *over):\n",
        "                if held is not None and held.token == holding.principal:\n",
        CLUSTERS,
    ),
    Bug(
        "anybody releases what is held (C1)",
        "protocol/bus_records.py",
        "                if held is not None and held.token == token:\n                    del",
        "                if held is not None:\n                    del",
        CLUSTERS,
    ),
    Bug(
        "a worker whose time is over starts what it owned (C1)",
        "protocol/claims.py",
        "        return entry.state is Tenure.OURS and now < min(entry.until, self._alive_until)\n",
        "        return entry.state is Tenure.OURS\n",
        CLUSTERS,
    ),
    Bug(
        "an owner does what was meant for one that it succeeded (C1)",
        "actors/serving.py",
        "        return held is not None and held.token == request.token",
        "        return held is not None or bool(request.token)",
        CLUSTERS,
    ),
    Bug(
        "a request begins before anybody has heard that it is accepted (C3)",
        "actors/serving.py",
        "        if job.is_cancelled or not out.receivers or isinstance(out.receivers, BusUnavailable):",
        "        if job.is_cancelled:",
        CLUSTERS,
    ),
    Bug(
        "what comes twice is done twice (C8)",
        "protocol/freshness.py",
        "        if mark in self._admitted:\n",
        "        if mark in self._by_age:\n",
        CLUSTERS,
    ),
    Bug(
        "that an owner accepted is not heard where the clocks are apart (C3)",
        "actors/mail.py",
        "            if not (_can_be_late(envelope, refusal) and is_awaited(envelope.correlation)):",
        "            if refusal.reason:",
        CLUSTERS,
    ),
    Bug(
        "nobody listening is believed right after Redis has come back (C5)",
        "protocol/forwards.py",
        "        self._believed_from = max(self._mature_at, now + self._terms.settle)",
        "        self._believed_from = now",
        CLUSTERS,
    ),
    Bug(
        "a bus that has forgotten all is believed at once (C5)",
        "protocol/ownership.py",
        "        self._mature_at = now + max(0.0, self._terms.beat - age)",
        "        self._mature_at = now",
        CLUSTERS,
    ),
    Bug(
        "who takes over does not tell that the state is lost (L9)",
        "actors/cluster.py",
        "                if is_taken_over:\n",
        "                if is_taken_over and not session_id:\n",
        CLUSTERS,
    ),
    Bug(
        "a worker that leaves gives its conversations up (L9)",
        "actors/cluster.py",
        "        self.departure.begin()\n",
        "        self._depart(ownership.GiveUp())\n",
        CLUSTERS,
    ),
    Bug(
        "a loss is told to the first of a conversation's servers alone (L9)",
        "actors/conversations.py",
        "        return key.session_id in self._taken and key not in self._taken[key.session_id]",
        "        return key.session_id in self._taken and not self._taken[key.session_id]",
        CLUSTERS,
    ),
    Bug(
        "what was lost to another worker keeps its upstream session (C1)",
        "actors/cluster.py",
        "                self._told(OwnershipLost(session_id))",
        "                pass",
        CLUSTERS,
    ),
    Bug(
        "a call waits for ever for an owner that stands still (C5)",
        "protocol/forwards.py",
        "        self._believed_from = max(self._mature_at, now + self._terms.settle)",
        "        self._believed_from = float('inf')",
        CLUSTERS,
    ),
]
