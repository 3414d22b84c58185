"""What the gateway costs and adds, beside direct, nginx and other gateways in the same run."""
