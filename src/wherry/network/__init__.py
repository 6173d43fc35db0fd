"""Networks: bridges, addresses, published ports, name files."""
