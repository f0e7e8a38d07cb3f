"""The audit trail: what was done, by whom, in an order and with contents nobody can change unseen.

    record ──> record ──> record      each hash is an HMAC over the one before it   chain.py
       every 1,000 or hour: checkpoint, signed with Ed25519                         checkpoints.py

`trail` appends, in the transaction of what it speaks of or by itself; `verify` walks the chain
with the audit key; `export` writes it out for `standalone`, which needs no more than the public
key; `prune` removes what an export holds and leaves a signed anchor in its place.
docs/audit-trail.md gives the format byte by byte.
"""
