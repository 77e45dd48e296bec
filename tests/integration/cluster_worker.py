"""A worker of a cluster in a process of its own, for the tests to kill.

`python -m tests.integration.cluster_worker REDIS NAMESPACE SERVER SESSION` owns that session, says its id, and serves
until its standard input ends.
"""

import sys

import anyio
import anyio.to_thread

from actors import ClusterSettings, PoolSettings, Upstream, open_pool

SETTINGS = PoolSettings(identity_secret=b"a secret of this deployment alone")


async def main(redis: str, namespace: str, server: str, session_id: str) -> None:
    cluster = ClusterSettings(namespace=namespace)
    async with open_pool(SETTINGS, cluster=redis, cluster_settings=cluster) as pool:
        upstream, headers = Upstream(server, mode="legacy"), {"x-soak-owner": session_id}
        count = {"name": "count"}
        await pool.call(upstream, "tools/call", count, headers=headers, user="ada", session_id=session_id)
        sys.stdout.write(f"{pool.worker}\n")
        sys.stdout.flush()
        await anyio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4])
