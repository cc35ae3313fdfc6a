"""Every table but those of lineage (`lineage_tables.py`): `resource` holds all kinds.

The rest exist only where SQL must filter, lock or count.

Times are seconds since the epoch (REAL / DOUBLE PRECISION), so that they compare alike on SQLite and PostgreSQL.
JSON is text, written and read by the store: key order and unknown fields survive.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, MetaData, Table, Text, false, text

metadata = MetaData()

SORTED = Text().with_variant(Text(collation="C"), "postgresql")  # byte by byte, so that what is below is one range

resource = Table(
    "resource",
    metadata,
    Column("id", Text, primary_key=True),  # lower case
    Column("written", Text, nullable=False),  # as first written
    Column("kind", Text, nullable=False),  # the type's path below its provider: workspaces/data/versions
    Column("parent", Text, nullable=False),  # lowered id of the resource above
    Column("name", Text, nullable=False),
    Column("spec", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("state", Text, nullable=False),  # provisioningState, or a job's status
    Column("generation", Integer, nullable=False),
    Column("observed", Integer, nullable=False),
    Column("archived", Boolean, nullable=False),
    Column("lookup", Text),  # the kind's own second key: a code's hash, a job's parent
    Column("deleting", Boolean, nullable=False),
    Column("due_at", Double),  # NULL: nothing to do
    Column("failures", Integer, nullable=False),
    Column("lease", Text),
    Column("lease_until", Double),
    Column("created_at", Double, nullable=False),
    Column("changed_at", Double, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("changed_by", Text, nullable=False),
    Column("ended_at", Double),  # when this generation came to its end; NULL: it has not
    Column(
        "counted", Boolean, nullable=False, server_default=false()
    ),  # what is above keeps count of it: a job's child
    Column("home", Text),  # the server (`server.id`) on whose machine its tasks are; NULL: any may step it
    Index("resource_list", "kind", "parent", "archived", "created_at"),
    Index("resource_state", "kind", "parent", "archived", "state", "created_at"),
    Index("resource_parent", "parent", "deleting"),
    Index(  # the kind first: else SQLite, without statistics, takes `resource_lookup` and reads every job there is
        "resource_due",
        "kind",
        "due_at",
        sqlite_where=text("due_at IS NOT NULL"),
        postgresql_where=text("due_at IS NOT NULL"),
    ),
    Index("resource_lookup", "kind", "lookup"),
)

child_count = Table(  # how many of a resource's counted children are in each state
    "child_count",
    metadata,
    Column("parent", Text, primary_key=True),
    Column("state", Text, primary_key=True),
    Column("number", Integer, nullable=False),
)

waiter = Table(  # who is made due when `on_id` comes to an end
    "waiter",
    metadata,
    Column("id", Text, primary_key=True),
    Column("on_id", Text, primary_key=True),
    Index("waiter_on", "on_id"),
)

shared_work = Table(  # who does a piece of work, or did it last (`shared_work.py`)
    "shared_work",
    metadata,
    Column("key", Text, primary_key=True),  # what has the same key has the same result
    Column("job", Text, nullable=False),  # `resource.id`
    Index("shared_work_job", "job"),
)

operation = Table(
    "operation",
    metadata,
    Column("id", Text, primary_key=True),
    Column("resource_id", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("error", Text),
    Column("generation", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("ended_at", Double),
    Index("operation_resource", "resource_id"),
    Index("operation_ended", "ended_at"),
)

change = Table(  # what happened, in order: the feed (`store/changes.py`)
    "change",
    metadata,
    Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("xid", BigInteger),  # on PostgreSQL: the transaction, by which readers keep the order of commits
    Column("at", Double, nullable=False),
    Column("scope", SORTED, nullable=False),  # the workspace, else the group or subscription; lower case
    Column("kind", Text, nullable=False),
    Column("resource_id", SORTED, nullable=False),
    Column("generation", Integer),
    Column("what", Text, nullable=False),
    Column("before", Text),  # states
    Column("after", Text),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("expires_at", Double, nullable=False),
    Index("change_scope", "scope", "sequence"),
    Index("change_resource", "resource_id", "sequence"),
    Index("change_expires", "expires_at"),
    Index("change_xid", "xid", sqlite_where=text("xid IS NOT NULL"), postgresql_where=text("xid IS NOT NULL")),
    sqlite_autoincrement=True,  # a number is never given again, also when all older ones are forgotten
)

# A cluster's nodes, `owner` is the job or the deployment that has it; and of each deployment (as `compute_id`) the
# instances that have GPUs or a part of a node (`sched/instances.py`, `sched/hosts.py`), `owner` is the task.
allocation = Table(
    "allocation",
    metadata,
    Column("compute_id", Text, primary_key=True),
    Column("node", Integer, primary_key=True),
    Column("owner", Text),
    Column("since", Double, nullable=False),
    Column("ports", Integer),  # the first of the block of ports that its owner has, where that asked for ports
    Column("gpus", Text),  # JSON: the indices of the GPUs that its owner alone has; NULL: none
    Column("preemptible", Boolean, nullable=False, server_default=false()),  # whether its owner gives way to others
    Column("reclaimed", Boolean, nullable=False, server_default=false()),  # whether it has been asked to
    Column("machine", Text),  # the machine (`node.name`) that it is; NULL: a share of the server's own
    Column("until", Double),  # when its owner has ended at the latest; NULL: nobody knows
    Column("family", Text),  # of its size, and its processors: what quotas count; of an instance on a node its size
    Column("cores", Integer),
    Index("allocation_owner", "owner"),
    Index(
        "allocation_gpus",
        "compute_id",
        sqlite_where=text("gpus IS NOT NULL"),
        postgresql_where=text("gpus IS NOT NULL"),
    ),
)

queue = Table(  # who waits for nodes of a compute
    "queue",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("compute_id", Text, nullable=False),
    Column("nodes", Integer, nullable=False),
    Column("since", Double, nullable=False),
    Column("rank", Integer, nullable=False, server_default=text("0")),  # a higher one is served before those below it
    Column("share", Text, nullable=False, server_default=""),  # whose jobs take turns with those of others
    Column("turn", BigInteger, nullable=False, server_default=text("0")),  # a lower one is served first
    Column("limit_s", Double, nullable=False, server_default=text("0")),  # it ends so long after its start; 0: no limit
    Column("lacks_gpus", Boolean, nullable=False, server_default=false()),  # there are nodes for it, and no GPUs
    Column("workspace", Text, nullable=False, server_default=""),  # whose quota of a family it needs
    Column("family", Text, nullable=False, server_default=""),
    Column("lacks_quota", Boolean, nullable=False, server_default=false()),  # its workspace has as much as it may have
    Index("queue_order", "compute_id", "lacks_quota", text("rank DESC"), "turn", "since", "owner"),
    Index("queue_places", "compute_id", "rank", "turn", "since", "owner"),
    Index("queue_share", "compute_id", "share", "rank", "since"),
    Index("queue_quota", "workspace", "family", "lacks_quota", text("rank DESC"), "since"),
    Index("queue_gpus", "rank", "since", sqlite_where=text("lacks_gpus"), postgresql_where=text("lacks_gpus")),
)

turn = Table(  # whose turn it is in a queue (`sched/turns.py`)
    "turn",
    metadata,
    Column("compute_id", Text, primary_key=True),
    Column("rank", Integer, primary_key=True),
    Column("share", Text, primary_key=True),
    Column("turn", BigInteger, nullable=False),
)

quota = Table(  # how many processors of a family of sizes the jobs of a workspace may have at once
    "quota",
    metadata,
    Column("workspace", Text, primary_key=True),  # the key of its id
    Column("family", Text, primary_key=True),  # as Azure spells it
    Column("cores", Integer, nullable=False),
)

node = Table(  # the machines that are the nodes of clusters, beside the server's own
    "node",
    metadata,
    Column("name", Text, primary_key=True),
    Column("engine", Text, nullable=False),  # who runs its tasks: remote (a node service that dials in)
    Column("compute_id", Text, nullable=False),  # the cluster whose node it is, and its number there
    Column("number", Integer, nullable=False),
    Column("token_hash", Text, nullable=False, unique=True),
    Column("cpus", Integer, nullable=False),  # these six as it said itself
    Column("memory_bytes", BigInteger, nullable=False),
    Column("gpus", Integer, nullable=False),
    Column("isolation", Text, nullable=False),
    Column("incarnation", Text, nullable=False),  # of its root; empty: it has never dialled in
    Column("version", Text, nullable=False),
    Column("labels", Text, nullable=False),  # JSON, as the operator gave them
    Column("state", Text, nullable=False),  # New, Connected, Silent
    Column("seen_at", Double),
    Column("created_at", Double, nullable=False),
    Column("server", Text),  # the one that it dialled last
    Column("address", Text),  # where the other nodes of a job find it, as it said itself
    Index("node_compute", "compute_id", "number", unique=True),
)

server = Table(  # the servers that work on this database, each with a root of its own; none on SQLite
    "server",
    metadata,
    Column("id", Text, primary_key=True),  # random, in its root
    Column("url", Text, nullable=False),
    Column("seen_at", Double, nullable=False),
)

node_task = Table(  # tasks that were given to machines: what is wanted, and what they last said
    "node_task",
    metadata,
    Column("id", Text, primary_key=True),  # the name and a random end: a name that is used again is another task
    Column("name", Text, nullable=False),
    Column("node", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("refs", Text, nullable=False),  # JSON: the blobs and folders that it names, and those that it writes
    Column("state", Text),  # JSON: TaskState; NULL: the machine has not said that it has it
    Column("grace_s", Double),  # it was asked to stop
    Column("removing", Boolean, nullable=False, server_default=false()),  # until the machine says that it is gone
    Column("since", Double, nullable=False),
    Index("node_task_name", "name"),
    Index("node_task_node", "node"),
)

series = Table(  # one number over time: of a resource, or of the platform itself (no scope)
    "series",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("scope", Text, nullable=False),  # lowered id
    Column("name", Text, nullable=False),
    Column("labels", Text, nullable=False),  # JSON, keys in order
    Index("series_name", "scope", "name", "labels", unique=True),
)

rollup = Table(  # what was recorded of a series within a minute, and within an hour
    "rollup",
    metadata,
    Column("series", Integer, primary_key=True),
    Column("grain", Integer, primary_key=True),  # seconds: 60 or 3600
    Column("at", BigInteger, primary_key=True),  # where the minute or hour begins
    Column("count", BigInteger, nullable=False),
    Column("sum", Double, nullable=False),
    Column("min", Double, nullable=False),
    Column("max", Double, nullable=False),
    Column("last", Double, nullable=False),
    Column("buckets", Text),  # JSON: upper bound → how many, where the spread was recorded
    Index("rollup_age", "grain", "at"),
    sqlite_with_rowid=False,
)

watermark = Table(  # how far a counter of another process had come when it was last taken over
    "watermark",
    metadata,
    Column("name", Text, primary_key=True),
    Column("epoch", Text, nullable=False),  # that process: another one counts from zero
    Column("totals", Text, nullable=False),  # JSON
)

secret = Table(  # what must never be in a resource's document
    "secret",
    metadata,
    Column("resource_id", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("key_id", Text),  # the key that seals `value`; NULL: not sealed yet
)

used_link = Table(  # what works once and was used: login links, assertions signed with a client certificate
    "used_link",
    metadata,
    Column("nonce", Text, primary_key=True),
    Column("ends_at", Double, nullable=False),
)

identity = Table(
    "identity",
    metadata,
    Column("oid", Text, primary_key=True),
    Column("kind", Text, nullable=False),  # servicePrincipal, managedIdentity, assignedIdentity
    Column("name", Text, nullable=False),
    Column("client_id", Text, nullable=False, unique=True),
    Column("scope", Text, nullable=False),
    Column("federation", Text, nullable=False),  # JSON: [{"issuer", "subject", "audiences", "jwks"}]
    Column("created_at", Double, nullable=False),
)

identity_secret = Table(
    "identity_secret",
    metadata,
    Column("id", Text, primary_key=True),
    Column("oid", Text, nullable=False),
    Column("salted_hash", Text, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("created_at", Double, nullable=False),
    Index("identity_secret_oid", "oid"),
)

ended_identity = Table(  # deleted, and its tokens may not have run out yet
    "ended_identity",
    metadata,
    Column("oid", Text, primary_key=True),
    Column("ended_at", Double, nullable=False),
)

identity_certificate = Table(
    "identity_certificate",
    metadata,
    Column("oid", Text, primary_key=True),
    Column("thumbprint", Text, primary_key=True),  # SHA-1 in hex, as Azure shows it
    Column("pem", Text, nullable=False),  # the public part
    Column("created_at", Double, nullable=False),
)

account = Table(  # storage accounts
    "account",
    metadata,
    Column("name", Text, primary_key=True),
    Column("key1", Text, nullable=False),
    Column("key2", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("key_id", Text),  # the key that seals both; NULL: not sealed yet
    Column("key1_at", Double, nullable=False, server_default=text("0")),  # when each was made: the younger signs
    Column("key2_at", Double, nullable=False, server_default=text("0")),
)

container = Table(
    "container",
    metadata,
    Column("account", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("etag", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("changed_at", Double, nullable=False),
)

blob = Table(  # what a file cannot say of itself; a row counts only while `size` and `version` are the file's
    "blob",
    metadata,
    Column("account", Text, primary_key=True),
    Column("container", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column(
        "version", BigInteger, primary_key=True
    ),  # the file's mtime in ns; written before the file is renamed in place
    Column("size", BigInteger, nullable=False),
    Column("etag", Text, nullable=False),
    Column("properties", Text, nullable=False),  # JSON: type, content headers, md5, metadata, created
    Column("blocks", Text, nullable=False),  # JSON: the committed block list, [[id, size], …]; else empty
)

blob_lease = Table(  # those of containers have no name
    "blob_lease",
    metadata,
    Column("account", Text, primary_key=True),
    Column("container", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("id", Text, nullable=False),
    Column("duration_s", Integer, nullable=False),  # -1: without an end
    Column("expires_at", Double, nullable=False),  # 0: not set
    Column("breaks_at", Double, nullable=False),
)

blob_tag = Table(  # where blobs are found by their index tags; the truth is in `blob.properties`
    "blob_tag",
    metadata,
    Column("account", Text, primary_key=True),
    Column("container", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Index("blob_tag_value", "account", "key", "value"),
)

blob_snapshot = Table(
    "blob_snapshot",
    metadata,
    Column("account", Text, primary_key=True),
    Column("container", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("snapshot", Text, primary_key=True),  # its time, as Azure writes it
    Column("object", Text, nullable=False),  # the name of its bytes in `.snapshots/ACCOUNT/CONTAINER`
    Column("version", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("etag", Text, nullable=False),
    Column("properties", Text, nullable=False),  # as those of `blob`
    Column("blocks", Text, nullable=False),
)
