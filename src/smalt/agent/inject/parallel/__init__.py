"""The driver of parallel jobs: it splits an input into mini-batches, and worker processes on all nodes pull them.

One driver runs on each node, with one worker process for each of its slots. The first node's is the coordinator, too:
it knows all mini-batches, gives them out, and keeps what came back in a ledger, from which a job goes on that lost its
nodes. Everything runs in the job's own interpreter, any CPython from 3.8 on, with the standard library only; pandas is
needed for tables. It knows nothing of pipelines: whatever starts it gives it a `Settings` as JSON.

    driver       what is started on a node, and how it ends
    splitting    input → mini-batches; tables: `table`
    coordinator  who gets what next, retries, thresholds: no processes, no sockets
    ledger       what is done, on disk
    meeting      nodes ↔ coordinator, over TCP; `frames`: what is said
    slots        a node's worker processes; `worker`: what such a process does; `entry`: the user's script
    mlflow_batch an MLflow model in place of that script
    reports      the files in `logs/` that people read; `words`: errors in short
"""
