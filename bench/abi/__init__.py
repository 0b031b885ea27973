"""What a call and an event cost by the guest ABI, and by the ways of other ABIs on the same host."""
