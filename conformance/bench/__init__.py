"""What takes how long, measured side by side; never a gate."""
