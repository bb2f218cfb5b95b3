"""The protocols, pure: requests are read into intents, rules decide, outcomes are rendered. No I/O, no clock."""
