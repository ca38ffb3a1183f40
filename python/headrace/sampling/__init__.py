"""Who reads what, when: order, partition over ranks, position."""
