"""The process: `daemon` builds and runs the rooms, and around it signals, upkeep, heartbeat and control."""
