"""The engine: requests, one loop, and the room that their keys and values take. Import from the parts."""
