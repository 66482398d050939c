import secrets


def new_sid(prefix: str) -> str:
    """Two letters and 32 hex digits.

    Never seeded: a simulator that is started again beside a database that was kept must not repeat itself.
    """
    return prefix + secrets.token_hex(16)
