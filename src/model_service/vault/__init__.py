"""The vault: users' provider keys at rest, and the keys that protect them.

    ENCRYPTION_SECRET
      │  scrypt, a salt per wrap; once, when the process starts            wrap.py
      ├─ HKDF "kcv" ─> check value, stored: tells a wrong secret from a corrupt keyring
      └─ HKDF "kek" ─> KEK, never stored
           │  AES-256-GCM, bound to the wrap and the term
           └─> DEK of each term, random, stored wrapped                    keyring.py
                 │  HKDF "rec/v1", a salt per record
                 ├─> K_commit, stored: names the one key that opens the record
                 └─> K_enc
                       │  AES-256-GCM, bound to the row the record belongs to
                       └─> record, stored in base64                        envelope.py

`primitives` is the only module that calls the cryptography library, `encoding` holds the two
encodings everything above relies on to be unambiguous, `selftest` checks the primitives
before the first key is touched, and `legacy` reads what the earlier service wrote.
docs/vault-format.md gives the format byte by byte.
"""
