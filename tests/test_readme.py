"""What the README says, against what it is taken from."""

from __future__ import annotations

import client_matrix


def test_the_table_of_clients_is_up_to_date() -> None:
    """`python tests/support/client_matrix.py --write` writes it anew; `make conformance` runs each of its cells."""
    assert client_matrix.readme_block(client_matrix.README.read_text()) == client_matrix.render(client_matrix.declared)
