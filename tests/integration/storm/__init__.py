"""A storm: workers of a cluster, each a process, on a real Redis, under kills, stalls, restarts and broken lines.

Callers have calls made in a few conversations by whichever worker comes next (`callers`), while workers are killed and
stopped, Redis is killed, emptied and frozen, and what lies between them delays, drops and swallows (`trouble`). Each
call and what came of it is noted (`record`), and so is each execution, by the MCP server that did it (`server`). In the
end the one is held against the other (`verdict`).

`python -m tests.integration.storm --seconds 120 --seed 7` raises one.
"""
