"""What recording, searching and gathering cost; bench/results/recorder.json."""
