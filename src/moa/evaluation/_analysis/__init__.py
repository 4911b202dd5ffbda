"""What an evaluation found: quality, cost, what is wrong with answers, and the verdict."""
