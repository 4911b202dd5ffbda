"""From annotations to figures: a system's metrics, two systems compared, a place on the leaderboard."""
